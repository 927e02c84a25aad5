using System;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace SafaStream
{
    /// <summary>As much JSON as the protocol's small messages need: fields are written, and plain fields found again.</summary>
    public static class Json
    {
        /// <summary>Names and values in turn: texts, numbers, true and false.</summary>
        public static string Fields(params object[] pairs)
        {
            var text = new StringBuilder();
            for (int n = 0; n < pairs.Length; n += 2)
                text.Append(',').Append(Quoted((string)pairs[n])).Append(':').Append(Value(pairs[n + 1]));
            return text.ToString();
        }

        /// <summary>A whole message; id 0 wants no answer.</summary>
        public static string Message(string type, int id, string fields)
        {
            return "{\"type\":" + Quoted(type) + (id == 0 ? "" : ",\"id\":" + id) + fields + "}";
        }

        /// <summary>A field of a message's first level that is a text or a number; null where it has none.</summary>
        public static string Text(string message, string name)
        {
            Match found = Regex.Match(message, "\"" + Regex.Escape(name)
                + "\"\\s*:\\s*(?:\"((?:[^\"\\\\]|\\\\.)*)\"|(-?[0-9][-+.0-9eE]*))");
            if (!found.Success) return null;
            return found.Groups[2].Success ? found.Groups[2].Value : Regex.Unescape(found.Groups[1].Value);
        }

        static string Value(object value)
        {
            if (value is string) return Quoted((string)value);
            if (value is bool) return (bool)value ? "true" : "false";
            return Convert.ToString(value, CultureInfo.InvariantCulture);
        }

        static string Quoted(string text)
        {
            var quoted = new StringBuilder("\"");
            foreach (char letter in text)
            {
                if (letter == '"' || letter == '\\') quoted.Append('\\').Append(letter);
                else if (letter < ' ') quoted.Append("\\u").Append(((int)letter).ToString("x4"));
                else quoted.Append(letter);
            }
            return quoted.Append('"').ToString();
        }
    }
}
