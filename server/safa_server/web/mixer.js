/** The mixer: a strip for every layer, and one for the sum of all. */

import { byId, setText } from "./dom.js";
import { inWords } from "./prompts.js";
import { Strip } from "./strip.js";

const MOST_LAYERS = 8;

export class Mixer {
  #strips = new Map(); // layer, or null for the master -> Strip
  #list = byId("strips");
  #steer;

  /** steer: {mix(layer, fields), add(line), remove(layer), select(layer)} */
  constructor(steer) {
    this.#steer = steer;
    byId("layer-add").addEventListener("submit", async (event) => {
      event.preventDefault();
      const input = byId("layer-text");
      if (await steer.add(input.value)) input.value = "";
    });
  }

  /** layers: as the server's state has them; chosen: the layer whose prompts are shown. */
  show({ layers, master }, chosen) {
    const numbers = layers.map(({ layer }) => layer);
    for (const [key, strip] of this.#strips) {
      if (key === null || numbers.includes(key)) continue;
      strip.root.remove();
      this.#strips.delete(key);
    }
    layers.forEach((layer, n) => {
      const strip = this.#strip(layer.layer, n);
      strip.show(layer, { words: layer.ending ? "fading out" : inWords(layer.prompts), chosen: layer.layer === chosen, others: numbers, only: layers.length === 1 });
    });
    this.#strip(null, layers.length).show(master, {});
    byId("layer-add").hidden = layers.length >= MOST_LAYERS;
    setText(byId("mixer-hint"), layers.length >= MOST_LAYERS ? `All ${MOST_LAYERS} layers are in use.` : "");
  }

  clear() {
    this.#strips.clear();
    this.#list.replaceChildren();
  }

  #strip(key, place) {
    const there = this.#strips.get(key);
    if (there) return there;
    const made = new Strip(key, this.#steer);
    this.#strips.set(key, made);
    this.#list.insertBefore(made.root, this.#list.children[place] ?? null);
    return made;
  }
}
