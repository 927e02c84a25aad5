/**
 * A client of the protocol safa.v1 (server/PROTOCOL.md): sound and events in, commands out. No dependency, no DOM.
 *
 *     const safa = new Safa("ws://127.0.0.1:8765/ws");
 *     safa.addEventListener("audio", ({ detail }) => play(detail.samples));   // Float32Array, channels interleaved
 *     await safa.open({ scene: "rain on a tent, distant thunder:0.4", play: true });
 *     await safa.send("mix", { layer: 0, gain: -6 });
 *
 * Promises are kept by the server's answer, or broken with a SafaError that says in one line why. Events' details:
 *   audio       {sequence, start, frames, channels, rate, clock, provenance, lost, samples, beat, bpm, beatsPerBar}.
 *               `lost`: samples that are missing right before this frame; `clock`: the server's, ns (BigInt)
 *   connection  {state: "connecting" | "open" | "resuming" | "closed", reason, resumed}
 *   clock       {roundTrip, offset, position}: seconds; server clock minus this clock; the server's next sample
 *   event       any event of the session, with its `type`; it is also dispatched under that type ("scene.saved", ...)
 *
 * A dropped connection is taken up again with the session's token: the server sends whatever followed the last frame
 * that arrived, so no sample is lost or repeated while it still keeps the session (`resume_seconds`).
 */

export const PROTOCOL = "safa.v1";
const [HEADER, HEADER_BYTES, MAGIC] = [2, 64, 0x41464153]; // its version, with beat time; "SAFA", little-endian
const ACK_EVERY = 10; // frames
const [PING_EVERY, SILENCE] = [2000, 8000]; // ms; after so long without a word the connection counts as dropped
const RETRY = [200, 500, 1000, 2000, 4000]; // ms before each further attempt to resume
const ABSENCE = 600_000; // ms that a lost server is waited for: one that is started again may still have the session

/** What the server refused, or why it cannot be reached. `code` and `field` are the server's, where it gave them. */
export class SafaError extends Error {
  constructor(reason, code = "error", field = null) {
    Object.assign(super(reason), { name: "SafaError", code, field });
  }
}

/** Read one binary message (ArrayBuffer). Throws SafaError where it is no audio frame with a header of version 2. */
export function parseFrame(buffer) {
  const view = new DataView(buffer);
  const whole = buffer.byteLength >= HEADER_BYTES && view.getUint32(44, true) === buffer.byteLength - HEADER_BYTES;
  if (!whole || view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== HEADER) {
    throw new SafaError("the server sent a binary message that is no audio frame of safa.v1", "frame");
  }
  const [format, channels, frames] = [view.getUint8(5), view.getUint8(6), view.getUint32(12, true)];
  const [rate, provenance, clock] = [view.getUint32(8, true), view.getUint32(40, true), view.getBigUint64(32, true)];
  const [sequence, start] = [Number(view.getBigUint64(16, true)), Number(view.getBigInt64(24, true))];
  const [beat, bpm, beatsPerBar] = [view.getFloat64(48, true), view.getFloat32(56, true), view.getFloat32(60, true)];
  const samples = decode(buffer, format, frames * channels);
  return { sequence, start, frames, channels, rate, clock, provenance, lost: 0, samples, beat, bpm, beatsPerBar };
}

function decode(buffer, format, count) {
  if (format === 0) return new Float32Array(buffer, HEADER_BYTES, count);
  if (format === 1) return Float32Array.from(new Int16Array(buffer, HEADER_BYTES, count), (value) => value / 32768);
  if (format !== 2) throw new SafaError("this client reads f32, s16 and s24; ask for one of them", "format");
  const bytes = new Uint8Array(buffer, HEADER_BYTES);
  const whole = (at) => (bytes[at] << 8) | (bytes[at + 1] << 16) | (bytes[at + 2] << 24);
  return Float32Array.from({ length: count }, (_, n) => whole(3 * n) / 2147483648);
}

export class Safa extends EventTarget {
  #dial;
  #socket = null;
  #joined = null; // fields of "join" that take the session up again
  #waiting = new Map(); // id of a message -> {resolve, reject}
  #number = 0;
  #sequence = -1; // of the last frame that arrived
  #next = null; // the sample that should come next
  #arrived = 0; // frames
  #heard = 0; // when the server last said anything
  #timer = null;

  constructor(url, { WebSocket = globalThis.WebSocket } = {}) {
    super();
    if (!WebSocket) throw new SafaError("there is no WebSocket here: use Node 22, or new Safa(url, { WebSocket })");
    this.#dial = () => new WebSocket(url, PROTOCOL); // url: of the server's WebSocket
  }

  /** {id, token, key, control} of the session that is heard, null before `open` or `join`; key: as given to `join`. */
  get session() {
    return this.#joined && (({ session: id, token, key, control }) => ({ id, token, key, control }))(this.#joined);
  }

  /** Begin a session of one's own. fields: scene, and optionally pacing, format, rate, channels, layer, lead, name, token. */
  open(fields) {
    return this.#begin("open", { format: "f32", rate: 48000, channels: 2, ...fields, header: HEADER });
  }

  /** Listen to a session that exists. fields: session, token, and optionally key, control, format, rate, channels, layer. */
  join(fields) {
    return this.#begin("join", { control: false, format: "f32", rate: 48000, channels: 2, ...fields, header: HEADER });
  }

  /** Send a command or a question; resolves with the answer ("done", "state", "pong", ...). */
  send(type, fields = {}) {
    if (this.#socket?.readyState !== 1) return Promise.reject(new SafaError("not connected to the server", "closed"));
    const id = ++this.#number;
    this.post(type, { id, ...fields });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** Send without waiting for an answer (acknowledgements, playhead reports); lost where there is no connection. */
  post(type, fields = {}) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify({ type, ...fields }));
  }

  /** Disconnect. The server keeps the session for `resume_seconds`; send "close" first to end it. */
  close() {
    this.#joined = null;
    this.#release("closed", "");
  }

  async #begin(type, fields) {
    [this.#joined, this.#sequence, this.#next] = [null, -1, null];
    this.#tell("connection", { state: "connecting", reason: "", resumed: false });
    try {
      await this.#connect();
      const opened = await this.send(type, fields);
      const { format, rate, channels, layer = null, token, key = type === "open" ? token : undefined, control = true } = fields;
      this.#joined = { session: opened.session, token: opened.token ?? token, key, control, format, rate, channels, layer, header: HEADER };
      this.#tell("connection", { state: "open", reason: "", resumed: false });
      return opened;
    } catch (error) {
      this.#release("closed", error.message);
      throw error;
    }
  }

  async #connect() {
    const socket = (this.#socket = this.#dial());
    Object.assign(socket, { binaryType: "arraybuffer", onmessage: ({ data }) => this.#receive(data) });
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = ({ reason }) => reject(new SafaError(reason || "the server cannot be reached", "closed"));
      socket.onerror = socket.onclose; // all that Node 20 says where nobody answers
    });
    socket.onclose = ({ code, reason }) => this.#dropped(reason || `the connection dropped (code ${code})`);
    [this.#heard, this.#timer] = [performance.now(), setInterval(() => this.#ping(), PING_EVERY)];
  }

  #receive(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") return this.#audio(parseFrame(data));
    const message = JSON.parse(data);
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (!waiting) return [message.type, "event"].forEach((type) => this.#tell(type, message));
    if (message.type === "error") waiting.reject(new SafaError(message.reason, message.code, message.field));
    else waiting.resolve(message);
  }

  #audio(frame) {
    if (frame.sequence <= this.#sequence) return; // sent again at a resumption, and here already
    if (this.#next !== null) frame.lost = Math.max(0, frame.start - this.#next);
    [this.#sequence, this.#next] = [frame.sequence, frame.start + frame.frames];
    if ((this.#arrived += 1) % ACK_EVERY === 0) this.post("ack", { sequence: frame.sequence });
    this.#tell("audio", frame);
  }

  async #ping() {
    const sent = performance.now();
    if (sent - this.#heard > SILENCE) return this.#dropped("the server has fallen silent");
    const pong = await this.send("ping", { client_clock: sent / 1000 }).catch(() => null);
    const now = performance.now();
    const offset = pong?.server_clock_ns / 1e9 - (sent + now) / 2000;
    if (pong) this.#tell("clock", { roundTrip: (now - sent) / 1000, offset, position: pong.position });
  }

  async #dropped(reason) {
    const joined = this.#joined;
    const deadline = performance.now() + ABSENCE;
    this.#release(joined ? "resuming" : "closed", reason);
    for (let attempt = 0; joined && joined === this.#joined; attempt += 1) {
      await new Promise((resolve) => setTimeout(resolve, RETRY[Math.min(attempt, RETRY.length - 1)]));
      if (joined !== this.#joined) return; // closed, or another session begun, meanwhile
      try {
        await this.#connect();
        await this.send("join", { ...joined, ...(this.#sequence < 0 ? {} : { from: this.#sequence }) });
        return this.#tell("connection", { state: "open", reason: "", resumed: true });
      } catch (error) {
        const over = error.code !== "closed" || performance.now() > deadline;
        if (over) this.#joined = null;
        this.#release(over ? "closed" : "resuming", over ? `the session cannot be resumed: ${error.message}` : reason);
      }
    }
  }

  /** Let go of the socket and of everything that waits for an answer. */
  #release(state, reason) {
    clearInterval(this.#timer);
    if (this.#socket) this.#socket.onclose = this.#socket.onmessage = null;
    this.#socket?.close();
    this.#socket = null;
    for (const { reject } of this.#waiting.values()) reject(new SafaError(reason || "the connection ended", "closed"));
    this.#waiting.clear();
    this.#tell("connection", { state, reason, resumed: false });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
