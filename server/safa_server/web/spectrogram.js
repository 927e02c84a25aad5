/**
 * A live spectrogram of what is played: one column after the other, low sounds at the bottom, on a logarithmic scale.
 *
 * Columns follow the clock of the sound, not that of the screen. Where the visitor wants less motion the picture does
 * not scroll: new columns overwrite old ones from left to right.
 */

const COLUMNS_A_SECOND = 25;
const LOWEST = 40; // Hz
const HIGHEST = 20000; // Hz
const FLOOR = -100; // dB of the analyser that are drawn as nothing
const CEILING = -25;
const SHADES = 256;
const LABELS = { 100: "100 Hz", 1000: "1 kHz", 10000: "10 kHz" };
const MOST_COLUMNS = 8; // drawn at once after the page was hidden

export class Spectrogram {
  #canvas;
  #ring = document.createElement("canvas");
  #at = 0; // next column of the ring
  #drawnUntil = 0; // seconds of the audio clock
  #shades = [];
  #rows = [];
  #levels = new Float32Array(0);
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #player = null;

  /** scale: the list that frequencies are written into, beside the canvas. */
  constructor(canvas, scale) {
    this.#canvas = canvas;
    for (const [frequency, text] of Object.entries(LABELS)) {
      const label = document.createElement("li");
      label.textContent = text;
      label.style.bottom = `${(100 * Math.log(frequency / LOWEST)) / Math.log(HIGHEST / LOWEST)}%`;
      scale.append(label);
    }
    new ResizeObserver(() => this.#resize(true)).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#resize(false));
    this.#resize(false);
  }

  /** Draw what a player plays from now on. */
  follow(player) {
    this.#player = player;
    this.#levels = new Float32Array(player.analyser.frequencyBinCount);
    this.#drawnUntil = player.context.currentTime;
    this.#resize(false);
    const frame = () => {
      if (this.#player !== player) return;
      if (player.running) this.#advance(player);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  #advance({ analyser, context }) {
    const due = Math.floor((context.currentTime - this.#drawnUntil) * COLUMNS_A_SECOND);
    if (due < 1) return;
    this.#drawnUntil += due / COLUMNS_A_SECOND;
    analyser.getFloatFrequencyData(this.#levels);
    const width = this.#columnWidth();
    const painter = this.#ring.getContext("2d");
    const column = painter.createImageData(width, this.#ring.height);
    for (let y = 0; y < this.#ring.height; y += 1) {
      const [from, to] = this.#rows[y];
      let level = -Infinity;
      for (let bin = from; bin <= to; bin += 1) level = Math.max(level, this.#levels[bin]);
      const shade = this.#shades[Math.max(0, Math.min(SHADES - 1, Math.round(((level - FLOOR) / (CEILING - FLOOR)) * (SHADES - 1))))];
      for (let x = 0; x < width; x += 1) column.data.set(shade, 4 * (y * width + x));
    }
    for (let n = 0; n < Math.min(due, MOST_COLUMNS); n += 1) {
      painter.putImageData(column, this.#at, 0);
      this.#at = (this.#at + width) % this.#ring.width;
    }
    this.#show();
  }

  #show() {
    const { width, height } = this.#canvas;
    const painter = this.#canvas.getContext("2d");
    if (this.#still.matches) {
      painter.drawImage(this.#ring, 0, 0);
      painter.fillStyle = getComputedStyle(this.#canvas).color;
      painter.fillRect(this.#at, 0, this.#columnWidth(), height);
      return;
    }
    painter.drawImage(this.#ring, this.#at, 0, width - this.#at, height, 0, 0, width - this.#at, height);
    if (this.#at) painter.drawImage(this.#ring, 0, 0, this.#at, height, width - this.#at, 0, this.#at, height);
  }

  #columnWidth() {
    return Math.max(1, Math.round(devicePixelRatio));
  }

  /** Fit the canvas's size and the page's colours. kept: go on with the picture as it is; else with an empty one. */
  #resize(kept) {
    const { clientWidth, clientHeight } = this.#canvas;
    const scale = this.#columnWidth();
    const [width, height] = [Math.max(1, clientWidth) * scale, Math.max(1, clientHeight) * scale];
    if (kept && width === this.#canvas.width && height === this.#canvas.height) return;
    const before = document.createElement("canvas");
    Object.assign(before, { width: this.#canvas.width, height: this.#canvas.height });
    before.getContext("2d").drawImage(this.#canvas, 0, 0);
    for (const canvas of [this.#canvas, this.#ring]) Object.assign(canvas, { width, height });
    this.#at = 0;
    this.#shades = gradient(getComputedStyle(this.#canvas));
    const painter = this.#ring.getContext("2d");
    painter.fillStyle = `rgb(${this.#shades[0].slice(0, 3).join(" ")})`;
    painter.fillRect(0, 0, width, height);
    if (kept) painter.drawImage(before, width - before.width, 0, before.width, height);
    this.#rows = rows(height, this.#player?.context.sampleRate ?? 48000, this.#player?.analyser.fftSize ?? 4096);
    this.#show();
  }
}

/** The analyser's bins [first, last] that each row of the picture stands for, from the top. */
function rows(height, rate, size) {
  const bin = (y) => (LOWEST * (HIGHEST / LOWEST) ** (1 - y / height) * size) / rate;
  return Array.from({ length: height }, (_, y) => {
    const last = Math.min(size / 2 - 1, Math.round(bin(y)));
    return [Math.min(last, Math.round(bin(y + 1))), last];
  });
}

/** Shades [r, g, b, 255] from the stylesheet's --shade-0 (nothing) to --shade-4 (loud), written as "r g b". */
function gradient(style) {
  const stops = Array.from({ length: 5 }, (_, n) => style.getPropertyValue(`--shade-${n}`).trim().split(/\s+/).map(Number));
  return Array.from({ length: SHADES }, (_, n) => {
    const place = (n / (SHADES - 1)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(place));
    const mixed = stops[low].map((value, c) => Math.round(value + (stops[low + 1][c] - value) * (place - low)));
    return [...mixed, 255];
  });
}
