// Stand-ins with the signatures of the Unity classes that the component uses (Unity 2020.2 and later), so that it compiles.
using System;

namespace UnityEngine
{
    public class Object { }

    public class Component : Object
    {
        public T GetComponent<T>() { return default(T); }
    }

    public class MonoBehaviour : Component { }

    public sealed class AudioSource : Component
    {
        public AudioClip clip { get; set; }
        public bool loop { get; set; }
        public void Play() { }
    }

    public sealed class AudioClip : Object
    {
        public delegate void PCMReaderCallback(float[] data);
        public static AudioClip Create(string name, int lengthSamples, int channels, int frequency, bool stream, PCMReaderCallback pcmreadercallback) { return null; }
    }

    public static class AudioSettings
    {
        public static int outputSampleRate { get { return 48000; } }
    }

    public static class Time
    {
        public static double timeAsDouble { get { return 0; } }
    }

    [AttributeUsage(AttributeTargets.Field)]
    public class SerializeField : Attribute { }

    [AttributeUsage(AttributeTargets.Field)]
    public class TooltipAttribute : Attribute
    {
        public TooltipAttribute(string tooltip) { }
    }

    [AttributeUsage(AttributeTargets.Class)]
    public class RequireComponent : Attribute
    {
        public RequireComponent(Type required) { }
    }
}
