using UnityEngine;

namespace SafaStream
{
    /// <summary>
    /// Plays a session of `safa-stream serve` through the AudioSource beside it, and steers it. Without a session it opens
    /// one; a second source `follows` a first one and hears one layer of it, placed in space by its own AudioSource (Spatial
    /// Blend 3D): rain here, fire there.
    /// </summary>
    [RequireComponent(typeof(AudioSource))]
    public class SafaStreamSource : MonoBehaviour
    {
        [SerializeField] string url = "ws://127.0.0.1:8600/ws";
        [SerializeField] string serverToken = "";
        [SerializeField] string prompt = "rain on a tent, distant thunder:0.4";
        [Tooltip("Hear a layer of this one's session instead of opening one.")]
        [SerializeField] SafaStreamSource follows;
        [Tooltip("Hear this layer alone; -1: all.")]
        [SerializeField] int layer = -1;

        readonly Sparing sparing = new Sparing();
        AudioSource source;
        volatile SafaClient client;
        int rate;

        /// <summary>The connection, null until there is one.</summary>
        public SafaClient Client { get { return client; } }

        void Start()
        {
            rate = AudioSettings.outputSampleRate;
            source = GetComponent<AudioSource>();
            if (follows == null) Begin(SafaClient.Open(url, prompt, rate, 2, serverToken: Given(serverToken)));
        }

        void Update()
        {
            if (client == null && follows != null && follows.client != null && follows.client.Session != null)
                Begin(SafaClient.Join(url, follows.client.Session, follows.client.Token, rate, 2, layer,
                    serverToken: Given(serverToken)));
        }

        void OnDestroy()
        {
            if (client != null) client.Dispose();
        }

        /// <summary>Move a layer to other words.</summary>
        public void Morph(string words, float seconds = 4, int itsLayer = 0)
        {
            client.Say("prompt", Json.Fields("prompts", words, "morph", seconds, "layer", itsLayer));
        }

        /// <summary>A gain (dB) that changes in every picture: said ten times a second at most.</summary>
        public void Glide(int itsLayer, float gain)
        {
            if (client != null && client.Session != null && sparing.Due("gain " + itsLayer, gain, Time.timeAsDouble))
                client.Say("mix", Json.Fields("layer", itsLayer, "gain", gain, "ramp", 0.1));
        }

        void Begin(SafaClient made)
        {
            client = made;
            made.Start();
            // A streamed clip, and not OnAudioFilterRead: what comes from a clip is placed in space by the AudioSource.
            source.clip = AudioClip.Create("safa-stream", rate, 2, rate, true, data => client.Ring.Read(data));
            source.loop = true;
            source.Play();
        }

        static string Given(string text)
        {
            return string.IsNullOrEmpty(text) ? null : text;
        }
    }
}
