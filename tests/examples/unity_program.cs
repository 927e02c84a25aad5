using System;
using System.IO;
using System.Threading;
using SafaStream;

/// <summary>The client without an engine: plays a session into a file as an audio thread would, and steers it.
/// Arguments: url, session, token, layer, frames, file.</summary>
static class Program
{
    static int Main(string[] arguments)
    {
        Checks();
        int layer = int.Parse(arguments[3]), wanted = 2 * int.Parse(arguments[4]);
        var client = SafaClient.Join(arguments[0], arguments[1], arguments[2], 48000, 2, layer, seconds: 4);
        var sparing = new Sparing();
        var block = new float[2 * 1024];
        var bytes = new byte[4 * block.Length];
        client.Start();
        int heard = 0, said = 0;
        using (var file = File.Create(arguments[5]))
        {
            DateTime begun = DateTime.UtcNow;
            while (heard < wanted)
            {
                if (client.Ended != null) return Over(client.Ended);
                double now = (DateTime.UtcNow - begun).TotalSeconds;
                if (now > 100) return Over("no sound");
                string message;
                while (client.Messages.TryDequeue(out message)) Console.WriteLine(message.Substring(0, Math.Min(90, message.Length)));
                // A game's state in every picture: a gain that glides down to -6 dB.
                double gain = -Math.Min(6, 6 * heard / (double)wanted * 2);
                if (heard > 0 && sparing.Due("fire", gain, now) && client.Say("mix", Json.Fields("layer", layer, "gain", gain)) > 0) said++;
                int got = client.Ring.Read(block);
                Buffer.BlockCopy(block, 0, bytes, 0, 4 * got);
                file.Write(bytes, 0, 4 * got);
                heard += got;
                Thread.Sleep(5);
            }
        }
        client.Dispose();
        Console.WriteLine("heard {0} lost {1} dropped {2} resumed {3} said {4}", heard / 2, client.Lost, client.Ring.Dropped, client.Resumed, said);
        return 0;
    }

    static int Over(string reason)
    {
        Console.WriteLine("over: " + reason);
        return 1;
    }

    static void Checks()
    {
        string text = Json.Message("prompt", 3, Json.Fields("prompts", "a \"b\"\n", "morph", 1.5, "now", true));
        Expect(text, "{\"type\":\"prompt\",\"id\":3,\"prompts\":\"a \\\"b\\\"\\u000a\",\"morph\":1.5,\"now\":true}");
        Expect(Json.Text(text, "prompts"), "a \"b\"\n");
        Expect(Json.Text(text, "morph"), "1.5");
        Expect(Json.Text(text, "type"), "prompt");
        Expect(Json.Text("{\"token\": null}", "token"), null);
        var ring = new SampleRing(8);
        var data = new float[3];
        ring.Write(Bytes(1, 2, 3), 0, 3);
        Expect(ring.Read(data), 0);
        ring.Write(Bytes(4, 5), 0, 2);
        Expect(ring.Read(data), 3);
        Expect(string.Join(" ", data), "1 2 3");
        ring.Write(Bytes(6, 7, 8, 9, 10, 11), 0, 6);
        ring.Write(Bytes(12), 0, 1);
        Expect(ring.Dropped, 1L);
        data = new float[10];
        Expect(ring.Read(data), 8);
        Expect(string.Join(" ", data), "4 5 6 7 8 9 10 11 0 0");
        Expect(ring.Missing, 2L);
    }

    static byte[] Bytes(params float[] values)
    {
        var bytes = new byte[4 * values.Length];
        Buffer.BlockCopy(values, 0, bytes, 0, bytes.Length);
        return bytes;
    }

    static void Expect(object found, object wanted)
    {
        if (!Equals(found, wanted)) throw new Exception("found " + found + ", wanted " + wanted);
    }
}
