using System;
using System.Collections.Generic;

namespace SafaStream
{
    /// <summary>Values that change in every picture, said sparingly: when they have moved by `least`, and not sooner than
    /// `every` seconds after the last time.</summary>
    public sealed class Sparing
    {
        readonly double every, least;
        readonly Dictionary<string, KeyValuePair<double, double>> said = new Dictionary<string, KeyValuePair<double, double>>();

        public Sparing(double every = 0.1, double least = 0.5)
        {
            this.every = every;
            this.least = least;
        }

        /// <summary>Whether to say a value now, seconds; if so it counts as said.</summary>
        public bool Due(string name, double value, double now)
        {
            KeyValuePair<double, double> last;
            if (said.TryGetValue(name, out last) && (now - last.Key < every || Math.Abs(value - last.Value) < least))
                return false;
            said[name] = new KeyValuePair<double, double>(now, value);
            return true;
        }
    }
}
