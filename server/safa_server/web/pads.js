/** The prompt pads of the chosen layer: a text and a weight each, and the surface that blends them. */

import { byId, element, setText, slider, throttled } from "./dom.js";
import { MOST_PADS, keyOf, parseLine, toPads, toPrompts } from "./prompts.js";
import { Surface } from "./surface.js";

const PAUSE = 300; // ms between two changes of the prompts while a hand moves
const HELD = 700; // ms in which the server's prompts do not overwrite what was just set here and may wait to be sent

export class Pads {
  #layers = new Map(); // layer -> {pads: [{text, weight}], key: of the prompts last agreed with the server}
  #layer = 0;
  #rows = [];
  #changedAt = -Infinity;
  #list = byId("pads");
  #hint = byId("prompts-hint");
  #send;
  #surface = new Surface(byId("surface"), (weights, settled) => this.#weigh(weights, settled));
  #sendSoon;

  /** send(layer, prompts): tell the server. eager(): whether changes are sent while a hand still moves. */
  constructor({ line, send, eager }) {
    this.#send = send;
    this.#layers.set(0, { pads: toPads(parseLine(line)), key: "" });
    const soon = throttled(PAUSE, () => this.#tell());
    this.#sendSoon = (settled) => (settled || eager()) && soon();
    byId("pad-add").addEventListener("submit", (event) => this.#add(event));
    this.#draw();
  }

  get #pads() {
    return this.#layers.get(this.#layer)?.pads ?? [];
  }

  /** The prompts to begin a session with. */
  get prompts() {
    return toPrompts(this.#pads);
  }

  get layer() {
    return this.#layer;
  }

  select(layer) {
    this.#layer = layer;
    this.say("");
    this.#draw();
  }

  /** What the server says: [{layer, prompts, heard}]; waiting: prompts wait for a line of the tempo's grid. Pads that weigh
   * nothing are known here only and stay. */
  show(layers, frozen, waiting) {
    const before = keyOf(this.#pads);
    const fresh = performance.now() - this.#changedAt < HELD;
    for (const { layer, prompts } of layers) {
      const key = keyOf(prompts);
      const own = this.#layers.get(layer);
      // What is asked of a frozen scene waits, or for a line: until then the server has the prompts of before.
      if (own && (key === own.key || frozen || waiting || (fresh && layer === this.#layer))) continue;
      const same = own && key === keyOf(toPrompts(own.pads));
      this.#layers.set(layer, { pads: same ? own.pads : toPads(prompts), key });
    }
    const there = layers.map(({ layer }) => layer);
    for (const layer of this.#layers.keys()) if (!there.includes(layer)) this.#layers.delete(layer);
    if (!this.#layers.has(this.#layer) && there.length) this.select(there[0]);
    else if (before !== keyOf(this.#pads)) this.#draw();
    const morphing = layers.find(({ layer }) => layer === this.#layer)?.heard?.length > 1;
    const doing = frozen ? ", frozen: changes wait" : morphing ? ", morphing" : "";
    setText(byId("prompts-layer"), `Layer ${this.#layer + 1}${doing}`);
  }

  /** One line below the pads. */
  say(text) {
    setText(this.#hint, text);
  }

  #weigh(weights, settled) {
    this.#pads.forEach((pad, n) => (pad.weight = weights[n]));
    this.#rows.forEach(({ weight }, n) => weight.show(weights[n]));
    this.#changed(settled);
  }

  #changed(settled) {
    this.#changedAt = performance.now();
    this.#surface.show(this.#pads);
    this.#sendSoon(settled);
  }

  #tell() {
    const prompts = this.prompts;
    if (!prompts.length) return this.say("Nothing would be heard: give one prompt a weight.");
    this.say("");
    const own = this.#layers.get(this.#layer);
    const key = keyOf(prompts);
    if (key === own.key) return;
    own.key = key;
    this.#send(this.#layer, prompts);
  }

  #add(event) {
    event.preventDefault();
    const input = byId("pad-text");
    const added = parseLine(input.value);
    if (!added.length) return input.focus();
    if (this.#pads.length + added.length > MOST_PADS) return this.say(`A layer has up to ${MOST_PADS} prompts here; remove one first.`);
    this.#pads.push(...toPads(added));
    input.value = "";
    this.#draw();
    this.#changed(true);
  }

  #edit(n, input) {
    const [first, ...others] = parseLine(input.value);
    if (!first || this.#pads.length + others.length > MOST_PADS) {
      input.value = this.#pads[n].text;
      return this.say(first ? `A layer has up to ${MOST_PADS} prompts here.` : "A prompt needs words; to take it away, remove it.");
    }
    const typed = input.value.includes(":") || others.length;
    this.#pads.splice(n, 1, typed ? first : { text: first.text, weight: this.#pads[n].weight }, ...others);
    this.#draw();
    this.#changed(true);
  }

  #remove(n) {
    if (this.#pads.length === 1) return this.say("A layer needs one prompt; write over this one, or remove the layer.");
    this.#pads.splice(n, 1);
    this.#draw();
    (this.#rows[Math.min(n, this.#rows.length - 1)]?.input ?? byId("pad-text")).focus();
    this.#changed(true);
  }

  #draw() {
    this.#rows = this.#pads.map((pad, n) => this.#row(pad, n));
    this.#list.replaceChildren(...this.#rows.map(({ root }) => root));
    this.#surface.show(this.#pads);
  }

  #row(pad, n) {
    const input = element("input", { type: "text", value: pad.text, maxLength: 200, autocomplete: "off", "aria-label": `Prompt ${n + 1}` });
    input.addEventListener("change", () => this.#edit(n, input));
    const weight = slider({
      label: `Weight of ${pad.text}`, hidden: true, min: 0, max: 1, step: 0.01, value: pad.weight, reset: 1,
      words: (value) => value.toFixed(2),
      input: (value) => this.#set(n, value, false),
      change: (value) => this.#set(n, value, true),
    }); // prettier-ignore
    const remove = element("button", { type: "button", className: "quiet icon", title: "Remove", "aria-label": `Remove ${pad.text}` }, "×");
    remove.addEventListener("click", () => this.#remove(n));
    return { input, weight, root: element("li", { className: "pad" }, input, weight.root, remove) };
  }

  #set(n, value, settled) {
    this.#pads[n].weight = value;
    this.#changed(settled);
  }
}
