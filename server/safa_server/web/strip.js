/** One strip of the mixer: meter, gain, pan, mute, solo; behind "Tone and ducking" shelves and ducking. */

import { decibels, element, panning, setText, slider, throttled, toggle, uniqueId } from "./dom.js";
import { LevelBar } from "./meters.js";

const PAUSE = 50; // ms between two values of a slider that moves
const [LOWEST, SILENT] = [-60, -90]; // dB: where the sliders of gain end, and what silence is to the server

export class Strip {
  #layer;
  #controls = {}; // field of the command `mix` -> what shows it
  #meter = new LevelBar();
  #pick = null;
  #words = element("p", { className: "words" });
  #duckBy = null;
  #remove = null;

  /** layer: its number, or null for the master. steer: see Mixer. */
  constructor(layer, steer) {
    this.#layer = layer;
    const name = layer === null ? "Master" : `Layer ${layer + 1}`;
    const mix = throttled(PAUSE, (fields) => steer.mix(layer, fields));
    const fader = (field, label, [min, max, step], words) => {
      const made = slider({
        label, min, max, step, value: 0, words,
        input: (value) => mix({ [field]: field === "gain" && value === LOWEST ? SILENT : value }),
      }); // prettier-ignore
      made.range.setAttribute("aria-label", `${label}, ${name}`);
      return (this.#controls[field] = made).root;
    };
    const button = (field, label, title) => {
      const made = toggle({ label, title: `${title} ${name.toLowerCase()}`, press: (on) => steer.mix(layer, { [field]: on }) });
      return (this.#controls[field] = made).root;
    };
    const gain = fader("gain", "Gain", [LOWEST, 12, 0.5], (value) => (value === LOWEST ? "off" : decibels(value)));
    const pan = fader("pan", "Pan", [-1, 1, 0.02], panning);
    const buttons = element("div", { className: "buttons" }, button("mute", "Mute", "Mute"));
    const tone = element("details", {}, element("summary", {}, layer === null ? "Tone" : "Tone and ducking"));
    tone.append(fader("low", "Low", [-24, 24, 0.5], decibels), fader("high", "High", [-24, 24, 0.5], decibels));
    if (layer !== null) {
      this.#remove = element("button", { type: "button", className: "quiet", "aria-label": `Remove ${name}` }, "Remove");
      this.#remove.addEventListener("click", () => steer.remove(layer));
      buttons.append(button("solo", "Solo", "Solo"), this.#remove);
      tone.append(fader("duck", "Duck", [0, 40, 0.5], (value) => (value ? `${value.toFixed(1)} dB` : "off")), this.#duckChoice(name, steer));
    }
    this.root = element("li", { className: "strip" }, this.#head(name, steer), this.#words, this.#meter.root, gain, pan, buttons, tone);
    this.root.setAttribute("data-layer", layer === null ? "master" : String(layer));
  }

  #head(name, steer) {
    if (this.#layer === null) return element("h3", {}, name);
    this.#pick = element("button", { type: "button", className: "pick", "aria-pressed": "false", title: "Show its prompts" }, name);
    this.#pick.addEventListener("click", () => steer.select(this.#layer));
    return element("h3", {}, this.#pick);
  }

  #duckChoice(name, steer) {
    const id = uniqueId("duck-by");
    this.#duckBy = element("select", { id, "aria-label": `Ducked by, ${name}` });
    this.#duckBy.addEventListener("change", () => steer.mix(this.#layer, { duck_by: Number(this.#duckBy.value) }));
    return element("div", { className: "choice" }, element("label", { htmlFor: id }, "Under"), this.#duckBy);
  }

  /** values: the strip as in the server's state, and `level` in dB where it is known. */
  show(values, { words = "", chosen = false, others = [], only = false }) {
    for (const [field, control] of Object.entries(this.#controls)) {
      const value = values[field] ?? (field === "gain" ? 0 : false);
      control.show(typeof value === "number" ? Math.max(LOWEST, value) : value);
    }
    setText(this.#words, words);
    this.#meter.show(values.level);
    this.root.classList.toggle("chosen", chosen);
    this.#pick?.setAttribute("aria-pressed", String(chosen));
    if (this.#remove) this.#remove.disabled = only;
    if (this.#duckBy) this.#showDucking(others, values.duck_by);
  }

  #showDucking(layers, by) {
    const others = layers.filter((layer) => layer !== this.#layer);
    const wanted = others.join();
    if (this.#duckBy.dataset.layers !== wanted) {
      this.#duckBy.dataset.layers = wanted;
      const none = element("option", { value: "", disabled: true }, "no layer");
      this.#duckBy.replaceChildren(none, ...others.map((layer) => element("option", { value: layer }, `Layer ${layer + 1}`)));
    }
    this.#duckBy.disabled = !others.length;
    if (document.activeElement !== this.#duckBy) this.#duckBy.value = by ?? "";
  }
}
