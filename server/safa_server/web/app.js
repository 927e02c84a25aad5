/** The page: puts the connection, the sound output and the controls together. */

import { byId, milliseconds, slider } from "./dom.js";
import { keepKey, keepLink, readLink, socketUrl } from "./link.js";
import { Listening } from "./listening.js";
import { Loops } from "./loops.js";
import { OutputMeter } from "./meters.js";
import { Mixer } from "./mixer.js";
import { Notices } from "./notices.js";
import { Pads } from "./pads.js";
import { NO_STATS, Player } from "./player.js";
import { parseLine } from "./prompts.js";
import { Readouts } from "./readouts.js";
import { Safa } from "./safa.js";
import { Scenes } from "./scenes.js";
import { Share } from "./share.js";
import { Spectrogram } from "./spectrogram.js";
import { Transport } from "./transport.js";

const FIRST_PROMPTS = "rain on a tent, distant thunder:0.4, wind in trees:0.2";
const RATE = 48000; // Hz, of the sound that is asked for
const LOOK_EVERY = 250; // ms between two looks at the session's state
const PLAYHEAD_EVERY = 1000; // ms between two reports of what is heard
const PAUSED_FOR_GOOD = 1000; // ms after which frames that still come while the sound stands are not kept

class App {
  #safa = new Safa(socketUrl());
  #player = null;
  #session = null; // the server's answer to "open" or "join"
  #link;
  #key;
  #state = null;
  #asking = false;
  #commands = 0; // sent so far
  #listening = false;
  #pausedAt = 0;
  #stale = false;
  #lost = 0; // samples
  #roundTrip = undefined;
  #failed = ""; // the type of the message whose refusal is shown
  #stamp = null; // the latest frame
  #notices = new Notices();
  #readouts = new Readouts();
  #meter = new OutputMeter(byId("output-meter"));
  #share = new Share();
  #desk = new Listening();
  #spectrogram = new Spectrogram(byId("spectrogram"), byId("scale"));
  #target;
  #transport;
  #pads;
  #mixer;
  #scenes;
  #loops;

  constructor() {
    ({ link: this.#link, key: this.#key } = readLink());
    this.#target = slider({
      label: "Jitter buffer", min: 0.05, max: 1, step: 0.05, value: 0.25, reset: 0.25, words: milliseconds,
      change: (value) => this.#player?.setTarget(value),
    }); // prettier-ignore
    byId("buffer").append(this.#target.root);
    byId("catch-up").addEventListener("click", () => this.#player?.setTarget(this.#target.value));
    this.#transport = new Transport({
      play: () => this.#play(),
      pause: () => this.#pause(),
      freeze: (on) => this.#command("freeze", { on }),
      rewind: (seconds) => this.#command("rewind", { to: Math.max(0, Math.round(this.#heard() - seconds * this.#session.session_rate)) }),
    });
    this.#pads = new Pads({
      line: FIRST_PROMPTS,
      eager: () => !this.#transport.now && !this.#transport.lines.quantise,
      send: (layer, prompts) => this.#session && this.#command("prompt", { layer, prompts, ...this.#change() }),
    });
    this.#mixer = new Mixer({
      mix: (layer, fields) => this.#command("mix", { layer, ...fields }),
      add: (line) => this.#command("layer.add", { prompts: parseLine(line) }),
      remove: (layer) => this.#command("layer.remove", { layer }),
      select: (layer) => {
        this.#pads.select(layer);
        this.#show(this.#state);
      },
    });
    this.#scenes = new Scenes({
      save: (scene) => this.#command("scene.save", { scene }),
      recall: (scene) => this.#command("scene.recall", { scene, morph: this.#transport.morph, ...this.#transport.lines }),
    });
    this.#loops = new Loops({
      capture: async (seconds) => (await this.#command("loop.capture", { seconds }))?.command ?? null,
      session: () => this.#safa.session,
      failed: (error) => this.#refused(error),
    });
    this.#listen();
    this.#steerable();
  }

  #change() {
    return { morph: this.#transport.morph, now: this.#transport.now, ...this.#transport.lines };
  }

  #listen() {
    this.#safa.addEventListener("audio", ({ detail }) => this.#take(detail));
    this.#safa.addEventListener("connection", ({ detail }) => this.#connection(detail));
    this.#safa.addEventListener("clock", ({ detail }) => (this.#roundTrip = detail.roundTrip));
    this.#safa.addEventListener("event", ({ detail }) => this.#event(detail));
    byId("access").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#key = byId("access-key").value;
      keepKey(this.#key);
      if (this.#link && !this.#link.mine && !this.#link.control) this.#link.token = ""; // it was refused
      byId("access").hidden = true;
      this.#play();
    });
    addEventListener("hashchange", () => location.reload());
    setInterval(() => this.#look(), LOOK_EVERY);
    setInterval(() => this.#reportPlayhead(), PLAYHEAD_EVERY);
  }

  // Sound ------------------------------------------------------------------------------------------------------------

  async #play() {
    this.#transport.playing(false, true);
    try {
      this.#player ??= await this.#output();
      await this.#player.resume();
      if (!this.#session) await this.#begin();
      if (this.#stale) this.#player.clear();
      this.#stale = false;
      this.#listening = true;
      if (this.#session.control) await this.#command("play");
    } catch (error) {
      this.#refused(error);
    }
    this.#transport.playing(this.#listening);
  }

  async #pause() {
    this.#listening = false;
    this.#pausedAt = performance.now();
    this.#transport.playing(false);
    await this.#player.suspend();
    this.#meter.show([0, 0]);
    if (this.#session?.control) await this.#command("pause");
  }

  async #output() {
    const player = await Player.create({ rate: RATE, target: this.#target.value });
    player.addEventListener("stats", ({ detail }) => this.#meter.show(detail.peaks));
    this.#spectrogram.follow(player);
    byId("spectrogram-hint").hidden = true;
    return player;
  }

  #take(frame) {
    this.#lost += frame.lost;
    this.#stale ||= !this.#listening && performance.now() - this.#pausedAt > PAUSED_FOR_GOOD;
    if (!this.#stale) this.#player.push(frame);
    this.#stamp = frame;
  }

  /** The sample of the session's clock that is being heard. */
  #heard() {
    const { heard } = this.#player?.stats ?? NO_STATS;
    return Math.round((heard * this.#session.session_rate) / RATE);
  }

  // Session ----------------------------------------------------------------------------------------------------------

  async #begin() {
    const wanted = { rate: RATE, channels: 2, format: "f32" };
    const token = this.#key || undefined;
    const scene = { format: "safa-scene-1", prompts: this.#pads.prompts };
    this.#session = (await this.#joinLinked(wanted)) ?? (await this.#safa.open({ scene, pacing: "live", token, ...wanted }));
    const { session, token: secret, control } = this.#session;
    this.#link = { session, token: secret ?? this.#link?.token ?? "", control, mine: control };
    keepLink(this.#link);
    this.#lost = 0;
    this.#notices.connection("open", !control);
    this.#steerable();
    this.#share.show(this.#session, this.#link.token);
    this.#show(this.#session.state);
  }

  /** Whether this page only listens, now or once it is played. */
  get #only() {
    return this.#session ? !this.#session.control : Boolean(this.#link) && !this.#link.control;
  }

  /** The session that the address or this tab names; null where there is none, or where this tab's own has ended. */
  async #joinLinked(wanted) {
    if (!this.#link) return null;
    const { session, token, control, mine } = this.#link;
    try {
      const key = this.#key || undefined;
      return await this.#safa.join({ session, token: token || key, key, control, ...wanted });
    } catch (error) {
      if (error.code === "closed" || (error.code === "token" && !mine)) throw error; // worth another try
      keepLink(null);
      if (!control) throw error; // a page that was opened to listen stays so
      this.#link = null;
      this.#steerable();
      if (mine) return null;
      throw error;
    }
  }

  #steerable() {
    this.#desk.show({ only: this.#only, control: Boolean(this.#session?.control) });
    this.#pads.say("");
  }

  #connection({ state, reason, resumed }) {
    this.#notices.connection(state, this.#session && !this.#session.control);
    if (state === "resuming") this.#failed = "connection";
    if (state === "open" && resumed) this.#notices.clear();
    if (state !== "closed" || !this.#session) return;
    const only = this.#only;
    this.#session = null;
    this.#listening = false;
    keepLink(null);
    if (!only) this.#link = null;
    this.#transport.playing(false);
    this.#share.show(null);
    this.#mixer.clear();
    this.#steerable();
    this.#refused({ message: `${reason}. Play ${only ? "tries again" : "begins a new session"}.` });
  }

  async #command(type, fields) {
    this.#commands += 1;
    try {
      const answer = await this.#safa.send(type, fields);
      if (this.#failed === type) this.#notices.clear();
      this.#look();
      return answer;
    } catch (error) {
      this.#refused(error, type);
      this.#look();
      return null;
    }
  }

  #refused(error, type = "") {
    this.#failed = type;
    if (error.code === "token") {
      byId("access").hidden = false;
      byId("access-key").focus();
    } else {
      this.#notices.error(error.message);
    }
  }

  #event(event) {
    this.#notices.event(event, this.#session?.session_rate ?? RATE);
    if (event.type === "scene.saved") this.#scenes.saved(event);
    if (event.type === "loop.ready") this.#loops.ready(event);
    if (event.type === "refused") this.#loops.refused(event);
    if (event.type === "error") this.#refused({ message: event.reason });
    if (event.type === "closing") this.#refused({ message: `The server closes the session: ${event.reason}` });
    if (event.type === "applied" && event.unknown_words.length) {
      this.#pads.say(`No sound is known for: ${event.unknown_words.join(", ")}.`);
    }
  }

  // What is shown ----------------------------------------------------------------------------------------------------

  async #look() {
    this.#figures();
    if (this.#asking || !this.#session || document.hidden) return;
    this.#asking = true;
    const known = this.#commands;
    const answer = await this.#safa.send("state").catch(() => null);
    this.#asking = false;
    // A command that was sent meanwhile is not in this answer: showing it would put the control back for a moment.
    if (answer && this.#session && known === this.#commands) this.#show(answer.state);
  }

  #show(state) {
    if (!state) return;
    this.#state = state;
    const layers = state.layers.map((layer) => ({ ...layer, prompts: parseLine(layer.prompts) }));
    this.#pads.show(layers, state.frozen, state.waiting.some(({ type }) => type === "prompt"));
    this.#mixer.show({ layers, master: state.master }, this.#pads.layer);
    this.#transport.frozen(state.frozen);
    this.#desk.heard(layers);
  }

  #figures() {
    if (!this.#player || !this.#session) return;
    const { underruns, skipped, buffered } = this.#player.stats;
    const lead = this.#state ? this.#state.ready / this.#session.session_rate : undefined;
    const latency = this.#player.latency + (this.#roundTrip ?? 0) / 2;
    const dropped = (this.#lost + skipped) / RATE;
    const beat = this.#beat();
    this.#readouts.show({ latency, buffer: buffered / RATE, lead, dropped, underruns, roundTrip: this.#roundTrip, beat });
    this.#transport.time(this.#heard() / this.#session.session_rate);
  }

  /** {beat, bpm, beatsPerBar} of what is being heard, by the latest frame's own beat. */
  #beat() {
    if (!this.#stamp) return undefined;
    const { start, rate, beat, bpm, beatsPerBar } = this.#stamp;
    return { beat: beat - ((start / rate - this.#player.stats.heard / RATE) * bpm) / 60, bpm, beatsPerBar };
  }

  #reportPlayhead() {
    if (this.#listening && this.#session?.control) this.#safa.post("playhead", { position: this.#heard() });
  }
}

new App();
