using System;
using System.Threading;

namespace SafaStream
{
    /// <summary>
    /// Samples between the thread that receives and the one that plays, without locks: one writes, one reads. Reading always
    /// fills what it is given, with silence where nothing is there, and begins only when half of the ring is full.
    /// </summary>
    public sealed class SampleRing
    {
        readonly float[] samples;
        long written, read;
        bool primed;

        /// <summary>Samples that were missing when they should have been played; those that found no room.</summary>
        public long Missing, Dropped;

        public SampleRing(int capacity)
        {
            samples = new float[capacity];
        }

        /// <summary>Samples that wait to be played.</summary>
        public int Waiting
        {
            get { return (int)(Volatile.Read(ref written) - Volatile.Read(ref read)); }
        }

        /// <summary>The writer's thread: 32-bit floats at an offset of a packet. What finds no room is dropped whole.</summary>
        public void Write(byte[] packet, int offset, int count)
        {
            if (count > samples.Length - Waiting)
            {
                Dropped += count;
                return;
            }
            int at = (int)(written % samples.Length), whole = Math.Min(count, samples.Length - at);
            Buffer.BlockCopy(packet, offset, samples, 4 * at, 4 * whole);
            Buffer.BlockCopy(packet, offset + 4 * whole, samples, 0, 4 * (count - whole));
            Volatile.Write(ref written, written + count);
        }

        /// <summary>The player's thread: fill `data`; returns how much of it is sound.</summary>
        public int Read(float[] data)
        {
            int there = Waiting;
            if (!primed) primed = there >= samples.Length / 2;
            int count = primed ? Math.Min(there, data.Length) : 0;
            int at = (int)(read % samples.Length), whole = Math.Min(count, samples.Length - at);
            Array.Copy(samples, at, data, 0, whole);
            Array.Copy(samples, 0, data, whole, count - whole);
            Array.Clear(data, count, data.Length - count);
            if (primed) Missing += data.Length - count;
            Volatile.Write(ref read, read + count);
            return count;
        }
    }
}
