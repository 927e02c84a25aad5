/** Level meters: bars on a scale from -60 dB to 0 dB; their values reach screen readers once a second at most. */

import { element, setText } from "./dom.js";

const FLOOR = -60; // dB
const SPOKEN_EVERY = 1000; // ms
const HOLD = 1500; // ms that a peak stays marked

const share = (level) => Math.min(1, Math.max(0, 1 - level / FLOOR));
export const toDecibels = (amplitude) => (amplitude > 0 ? 20 * Math.log10(amplitude) : -Infinity);

export class LevelBar {
  #bar = element("span", { className: "bar" });
  #spokenAt = -Infinity;

  constructor(label = "Level") {
    this.root = element("div", { className: "meter", role: "meter", "aria-label": label, "aria-valuemin": FLOOR, "aria-valuemax": 0 }, this.#bar);
    this.show(undefined);
  }

  /** level: dB, or undefined where none is known. */
  show(level) {
    this.root.hidden = level === undefined || level === null;
    if (this.root.hidden) return;
    this.#bar.style.transform = `scaleX(${share(level).toFixed(3)})`;
    if (performance.now() - this.#spokenAt < SPOKEN_EVERY) return;
    this.#spokenAt = performance.now();
    const whole = Math.round(Math.max(FLOOR, level));
    this.root.setAttribute("aria-valuenow", String(whole));
    this.root.setAttribute("aria-valuetext", whole === FLOOR ? "silent" : `${whole} dB`);
  }
}

/** The meter of what is played: a bar for each channel, the highest peak of late, and whether samples reached full scale. */
export class OutputMeter {
  #bars = [new LevelBar("Output, left"), new LevelBar("Output, right")];
  #peak = element("span", { className: "peak" }, "silent");
  #highest = 0;
  #since = 0;

  constructor(root) {
    root.append(...this.#bars.map((bar) => bar.root), this.#peak);
    this.show([0, 0]);
  }

  show(peaks) {
    const now = performance.now();
    const loudest = Math.max(...peaks);
    if (loudest >= this.#highest || now - this.#since > HOLD) [this.#highest, this.#since] = [loudest, now];
    this.#bars.forEach((bar, channel) => bar.show(Math.max(FLOOR, toDecibels(peaks[channel] ?? peaks[0]))));
    const level = toDecibels(this.#highest);
    setText(this.#peak, level < FLOOR ? "silent" : `${level.toFixed(1)} dB`);
    this.#peak.classList.toggle("full", this.#highest >= 1);
  }
}
