/** Figures of the connection and of the sound output. */

import { byId, element, milliseconds, seconds, setText } from "./dom.js";

const FIGURES = {
  latency: ["Latency", "From the server's clock to your ear: network, buffer and sound card"],
  buffer: ["Buffer", "Sound that has arrived and waits to be played"],
  lead: ["Server lead", "Sound that the server has ready ahead"],
  dropped: ["Dropped", "Sound that was lost on the way, or skipped to catch up"],
  underruns: ["Underruns", "How often the buffer ran dry"],
  roundTrip: ["Round trip", "Of a message to the server and back"],
  beat: ["Bar and beat", "Of what you hear, and the tempo"],
};

export class Readouts {
  #values = {};

  constructor() {
    const list = byId("readouts");
    for (const [key, [name, title]] of Object.entries(FIGURES)) {
      this.#values[key] = element("dd", {}, "–");
      list.append(element("div", { title, "data-figure": key }, element("dt", {}, name), this.#values[key]));
    }
  }

  /** figures: {latency, buffer, lead, dropped, underruns, roundTrip, beat} in seconds, but underruns and beat, which is
   * {beat, bpm, beatsPerBar}; undefined: not known. */
  show(figures) {
    const times = { latency: milliseconds, buffer: milliseconds, roundTrip: milliseconds, lead: seconds };
    const words = { ...times, dropped: lost, underruns: String, beat: place };
    for (const [key, target] of Object.entries(this.#values)) {
      setText(target, figures[key] === undefined ? "–" : words[key](figures[key]));
      target.classList.toggle("bad", (key === "dropped" || key === "underruns") && figures[key] > 0);
    }
  }
}

const place = ({ beat, bpm, beatsPerBar }) => {
  const bar = Math.floor(beat / beatsPerBar);
  return `${bar + 1}.${Math.floor(beat - bar * beatsPerBar) + 1} · ${Math.round(bpm * 10) / 10} BPM`;
};
const lost = (value) => (value === 0 ? "none" : value < 1 ? milliseconds(value) : seconds(value));
