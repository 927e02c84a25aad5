/**
 * The sound output: an AudioContext at the session's rate and the worklet that plays its frames unchanged.
 *
 *     const player = await Player.create();          // in answer to a click or a key, as browsers want it
 *     safa.addEventListener("audio", ({ detail }) => player.push(detail));
 *     player.addEventListener("stats", ({ detail }) => show(detail));
 *
 * `stats`: {played, underruns, missing, skipped, buffered, heard, filling, peaks}; frames, except underruns (how often
 * the buffer ran dry) and peaks (largest absolute sample of each channel since the last report). `heard` is the
 * session's sample that is played next.
 */

const CAPACITY = 4; // seconds
const MOST = 1.5; // seconds above the target before the sound is brought back to it

export const NO_STATS = Object.freeze({
  played: 0, underruns: 0, missing: 0, skipped: 0, buffered: 0, heard: 0, filling: true, peaks: [0, 0],
}); // prettier-ignore

export class Player extends EventTarget {
  stats = NO_STATS;
  #node;

  /** target: seconds of sound that are kept ready. Rejects where the browser has no AudioWorklet. */
  static async create({ rate = 48000, channels = 2, target = 0.25 } = {}) {
    const context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    if (!context.audioWorklet) throw new Error("this page needs https:// or localhost: browsers allow no sound worklet elsewhere");
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    return new Player(context, channels, target);
  }

  constructor(context, channels, target) {
    super();
    const frames = (seconds) => Math.round(seconds * context.sampleRate);
    this.context = context;
    this.#node = new AudioWorkletNode(context, "safa-player", {
      numberOfInputs: 0,
      outputChannelCount: [channels],
      processorOptions: { channels, capacity: frames(CAPACITY), target: frames(target), most: frames(MOST) },
    });
    this.analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
    this.#node.connect(context.destination);
    this.#node.connect(this.analyser);
    this.#node.port.onmessage = ({ data }) => {
      this.stats = data;
      this.dispatchEvent(new CustomEvent("stats", { detail: data }));
    };
  }

  /** Play a frame of `Safa`; its samples are handed over and cannot be read afterwards. */
  push({ samples, start }) {
    this.#node.port.postMessage({ block: samples, start }, [samples.buffer]);
  }

  /** Seconds of sound that are kept ready against late frames. */
  setTarget(seconds) {
    this.#node.port.postMessage({ target: Math.round(seconds * this.context.sampleRate) });
  }

  /** Forget what has not been played. */
  clear() {
    this.#node.port.postMessage({ clear: true });
  }

  resume() {
    return this.context.resume();
  }

  suspend() {
    return this.context.suspend();
  }

  get running() {
    return this.context.state === "running";
  }

  /** Seconds from the arrival of a frame to the ear. */
  get latency() {
    const { baseLatency = 0, outputLatency = 0, sampleRate } = this.context;
    return this.stats.buffered / sampleRate + baseLatency + outputLatency;
  }
}
