using System;
using System.Collections.Concurrent;
using System.IO;
using System.Net.WebSockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace SafaStream
{
    /// <summary>
    /// A client of the protocol safa.v1 (server/PROTOCOL.md): sound and events in, commands out. No engine, no dependency:
    /// it runs wherever there is a ClientWebSocket. A connection that drops is taken up again with the session's token; the
    /// server sends what followed the last frame that came, so no sample is lost while it still keeps the session.
    /// </summary>
    /// <remarks>Make it, Start it, and from then on: Ring is read by the thread that plays, everything else may be called
    /// from any thread. Messages arrive in Messages, as JSON texts; take them where it suits.</remarks>
    public sealed class SafaClient : IDisposable
    {
        static readonly TimeSpan[] Pauses =
        {
            TimeSpan.FromSeconds(0.2), TimeSpan.FromSeconds(0.5), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2),
            TimeSpan.FromSeconds(4),
        };
        const int AckEvery = 10;

        readonly Uri url;
        readonly string serverToken;
        readonly SemaphoreSlim sending = new SemaphoreSlim(1);
        readonly CancellationTokenSource over = new CancellationTokenSource();
        readonly string first, fields;
        long next = -1;
        ClientWebSocket socket;
        Task saying = Task.CompletedTask;
        long sequence = -1;
        int number;

        /// <summary>The sound, ready to be played.</summary>
        public readonly SampleRing Ring;
        /// <summary>What the server said, as JSON objects with a "type".</summary>
        public readonly ConcurrentQueue<string> Messages = new ConcurrentQueue<string>();
        /// <summary>The session's id and token, null until it is open.</summary>
        public volatile string Session, Token;
        /// <summary>Why it ended, null while it goes on.</summary>
        public volatile string Ended;
        /// <summary>Samples that never came, and how often a connection was taken up again.</summary>
        public long Lost;
        public int Resumed;

        SafaClient(string url, string serverToken, string first, string fields, int rate, int channels, double seconds)
        {
            this.url = new Uri(url);
            this.serverToken = serverToken;
            this.first = first;
            this.fields = fields;
            Ring = new SampleRing((int)(seconds * rate) * channels);
        }

        /// <summary>A client that will open a session of its own. scene: a prompt line.</summary>
        public static SafaClient Open(string url, string scene, int rate, int channels, double seconds = 4,
            string serverToken = null)
        {
            string fields = Json.Fields("rate", rate, "channels", channels, "format", "f32");
            string first = Json.Message("open", 1, Json.Fields("scene", scene) + fields);
            return new SafaClient(url, serverToken, first, fields, rate, channels, seconds);
        }

        /// <summary>A client that will join a session. layer: hear this one alone, -1 hears all.</summary>
        public static SafaClient Join(string url, string session, string token, int rate, int channels, int layer = -1,
            double seconds = 4, string serverToken = null)
        {
            string fields = Json.Fields("rate", rate, "channels", channels, "format", "f32");
            if (layer >= 0) fields += Json.Fields("layer", layer);
            var client = new SafaClient(url, serverToken, null, fields, rate, channels, seconds);
            client.Session = session;
            client.Token = token;
            return client;
        }

        /// <summary>Connect, and stay connected until Dispose or until the session is over.</summary>
        public void Start()
        {
            Task.Run(Live);
        }

        /// <summary>Send a message of the protocol; returns its id. fields: made by Json.Fields. Nothing is sent where
        /// there is no connection; then 0.</summary>
        public int Say(string type, string fields = "")
        {
            ClientWebSocket to = socket;
            if (to == null || to.State != WebSocketState.Open) return 0;
            int id = Interlocked.Increment(ref number) + 1;
            string text = Json.Message(type, id, fields);
            // One after the other, in the order in which they were said.
            lock (sending) saying = saying.ContinueWith(_ => Send(to, text)).Unwrap();
            return id;
        }

        /// <summary>Disconnect. The server keeps the session for a while; Say("close") first to end it.</summary>
        public void Dispose()
        {
            over.Cancel();
        }

        async Task Live()
        {
            for (int attempt = 0; !over.IsCancellationRequested; attempt++)
            {
                long before = sequence;
                try
                {
                    await Converse();
                }
                catch (Exception error) when (error is WebSocketException || error is IOException
                    || error is ObjectDisposedException || error is System.Net.WebException
                    || error is OperationCanceledException || error is InvalidOperationException)
                {
                    // The connection broke, or could not be made: try again.
                }
                if (Ended != null || over.IsCancellationRequested) return;
                if (sequence != before) attempt = 0;
                try
                {
                    await Task.Delay(Pauses[Math.Min(attempt, Pauses.Length - 1)], over.Token);
                }
                catch (OperationCanceledException)
                {
                    return;
                }
            }
        }

        async Task Converse()
        {
            using (var connection = new ClientWebSocket())
            {
                connection.Options.AddSubProtocol("safa.v1");
                if (serverToken != null) connection.Options.SetRequestHeader("Authorization", "Bearer " + serverToken);
                await connection.ConnectAsync(url, over.Token);
                socket = connection;
                bool again = sequence >= 0;
                await Send(connection, Session == null ? first : Joining());
                var packet = new byte[1 << 16];
                int held = 0;
                while (connection.State == WebSocketState.Open)
                {
                    if (held == packet.Length) Array.Resize(ref packet, 2 * packet.Length);
                    var room = new ArraySegment<byte>(packet, held, packet.Length - held);
                    WebSocketReceiveResult got = await connection.ReceiveAsync(room, over.Token);
                    if (got.MessageType == WebSocketMessageType.Close)
                    {
                        if (connection.CloseStatus == WebSocketCloseStatus.NormalClosure) Ended = "the session was closed";
                        return;
                    }
                    held += got.Count;
                    if (!got.EndOfMessage) continue;
                    if (got.MessageType == WebSocketMessageType.Binary)
                    {
                        await Hear(connection, packet, held);
                        if (again) Resumed++;
                        again = false;
                    }
                    else
                    {
                        Heed(Encoding.UTF8.GetString(packet, 0, held));
                    }
                    held = 0;
                    if (Ended != null) return;
                }
            }
        }

        string Joining()
        {
            string joining = Json.Fields("session", Session) + fields;
            if (Token != null) joining += Json.Fields("token", Token, "control", true);
            if (sequence >= 0) joining += Json.Fields("from", sequence);
            return Json.Message("join", 1, joining);
        }

        async Task Send(ClientWebSocket to, string text)
        {
            await sending.WaitAsync();
            try
            {
                var bytes = new ArraySegment<byte>(Encoding.UTF8.GetBytes(text));
                await to.SendAsync(bytes, WebSocketMessageType.Text, true, over.Token);
            }
            catch (Exception error) when (error is WebSocketException || error is ObjectDisposedException
                || error is InvalidOperationException || error is OperationCanceledException || error is IOException)
            {
                // What is lost here is lost with its connection, which the reader notices.
            }
            finally
            {
                sending.Release();
            }
        }

        async Task Hear(ClientWebSocket from, byte[] packet, int length)
        {
            Frame frame;
            if (!Frame.TryRead(packet, length, out frame) || frame.Sequence <= sequence) return;
            if (next >= 0 && frame.Start > next) Lost += frame.Start - next;
            sequence = frame.Sequence;
            next = frame.Start + frame.Frames;
            Ring.Write(packet, Frame.Header, frame.Frames * frame.Channels);
            if (sequence % AckEvery == 0) await Send(from, Json.Message("ack", 0, Json.Fields("sequence", sequence)));
        }

        void Heed(string text)
        {
            string type = Json.Text(text, "type");
            if (type == "opened")
            {
                Token = Json.Text(text, "token") ?? Token;
                Session = Json.Text(text, "session");
            }
            if (type == "error" && Json.Text(text, "id") == "1") Ended = Json.Text(text, "reason");
            Messages.Enqueue(text);
        }
    }

    /// <summary>The header of a binary message; PROTOCOL.md "Audio frames". All of it is little-endian.</summary>
    public struct Frame
    {
        public const int Header = 48;
        public int Channels, Rate, Frames;
        public long Sequence, Start;

        /// <summary>False for what is no frame of 32-bit floats.</summary>
        public static bool TryRead(byte[] packet, int length, out Frame frame)
        {
            frame = new Frame();
            if (length < Header || BitConverter.ToUInt32(packet, 0) != 0x41464153 || packet[4] != 1 || packet[5] != 0)
                return false;
            frame.Channels = packet[6];
            frame.Rate = (int)BitConverter.ToUInt32(packet, 8);
            frame.Frames = (int)BitConverter.ToUInt32(packet, 12);
            frame.Sequence = BitConverter.ToInt64(packet, 16);
            frame.Start = BitConverter.ToInt64(packet, 24);
            return length == Header + 4 * frame.Frames * frame.Channels;
        }
    }
}
