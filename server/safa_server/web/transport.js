/** Play and pause, freeze, rewind, and how changes come: over how long, just after the playhead, or on a beat or bar. */

import { byId, clock, seconds, setText, slider } from "./dom.js";

const LONGEST_MORPH = 60; // seconds
const USUAL_MORPH = 4; // seconds

export class Transport {
  #morph;

  /** steer: {play(), pause(), freeze(on), rewind(seconds)} */
  constructor(steer) {
    const play = byId("play");
    play.addEventListener("click", () => (play.dataset.playing === "true" ? steer.pause() : steer.play()));
    byId("freeze").addEventListener("click", () => {
      const on = byId("freeze").getAttribute("aria-pressed") !== "true";
      this.frozen(on);
      steer.freeze(on);
    });
    byId("rewind").addEventListener("click", () => steer.rewind(Number(byId("rewind-by").value)));
    const words = (value) => (value === 0 ? "at once" : seconds(value));
    this.#morph = slider({ label: "Morph time", min: 0, max: LONGEST_MORPH, step: 0.5, value: USUAL_MORPH, words });
    byId("morph").append(this.#morph.root);
  }

  /** Seconds over which prompts and scenes change. */
  get morph() {
    return this.#morph.value;
  }

  /** Whether prompts change just after the playhead instead of with the next view. */
  get now() {
    return byId("now").checked;
  }

  /** {quantise}: the lines of the tempo's grid that prompts and scenes wait for; {} for none. */
  get lines() {
    const quantise = byId("quantise").value;
    return quantise ? { quantise } : {};
  }

  playing(on, busy = false) {
    const play = byId("play");
    play.dataset.playing = String(on);
    play.setAttribute("aria-busy", String(busy));
    setText(play, busy ? "Starting" : on ? "Pause" : "Play");
  }

  frozen(on) {
    byId("freeze").setAttribute("aria-pressed", String(Boolean(on)));
  }

  time(value) {
    setText(byId("clock"), clock(value));
  }
}
