/**
 * The blend surface: prompts stand on a circle, a point between them says how much of each is heard.
 *
 * A slider with two dimensions: the pointer drags the point; arrow keys move it (with Shift in small steps), 1 to 6 go
 * to a prompt, 0 to the middle. Its value in words is the blend.
 */

import { element } from "./dom.js";
import { blend, centre, places } from "./prompts.js";

const STEP = 0.05;
const SMALL_STEP = 0.01;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PER_CENT = 100;

export class Surface {
  #root;
  #change;
  #point = { x: 0.5, y: 0.5 };
  #texts = [];
  #dragging = false;
  #marks = [];
  #cursor = element("span", { className: "cursor" });

  /** change(weights, settled): a weight for each prompt that is shown; settled once the point rests. */
  constructor(root, change) {
    this.#root = root;
    this.#change = change;
    root.addEventListener("pointerdown", (event) => this.#grab(event));
    root.addEventListener("pointermove", (event) => this.#dragging && this.#drag(event, false));
    for (const type of ["pointerup", "pointercancel"]) root.addEventListener(type, (event) => this.#release(event));
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show pads as [{text, weight}]; the point goes where their weights pull it, unless it is being dragged. */
  show(pads) {
    const texts = pads.map(({ text }) => text);
    if (texts.join("\n") !== this.#texts.join("\n")) this.#build(texts);
    const weights = pads.map(({ weight }) => weight);
    if (!this.#dragging && !this.#means(weights)) this.#point = centre(places(texts.length), weights);
    this.#draw(weights);
  }

  /** Whether the point already stands for these weights: then it stays where the hand put it. */
  #means(weights) {
    const mine = blend(places(this.#texts.length), this.#point);
    const sum = weights.reduce((total, weight) => total + weight, 0) || 1;
    return mine.every((weight, n) => Math.abs(weight - weights[n] / sum) < 0.015);
  }

  #build(texts) {
    this.#texts = texts;
    this.#marks = texts.map((text) => element("span", { className: "mark" }, element("span", { className: "mark-text" }, text)));
    places(texts.length).forEach(({ x, y }, n) => {
      this.#marks[n].style.left = `${x * PER_CENT}%`;
      this.#marks[n].style.top = `${y * PER_CENT}%`;
      this.#marks[n].classList.toggle("low", y > 0.5);
      this.#marks[n].classList.toggle("left", x < 0.3);
      this.#marks[n].classList.toggle("right", x > 0.7);
    });
    this.#root.replaceChildren(...this.#marks, this.#cursor);
    this.#root.setAttribute("aria-disabled", String(texts.length < 2));
  }

  #draw(weights) {
    const sum = weights.reduce((total, weight) => total + weight, 0) || 1;
    this.#marks.forEach((mark, n) => mark.style.setProperty("--share", (weights[n] / sum).toFixed(3)));
    this.#cursor.style.left = `${this.#point.x * PER_CENT}%`;
    this.#cursor.style.top = `${this.#point.y * PER_CENT}%`;
    const heard = this.#texts.map((text, n) => [text, Math.round((weights[n] / sum) * PER_CENT)]).filter(([, share]) => share > 0);
    this.#root.setAttribute("aria-valuenow", String(Math.round(this.#point.x * PER_CENT)));
    this.#root.setAttribute("aria-valuetext", heard.map(([text, share]) => `${text} ${share} per cent`).join(", ") || "nothing");
  }

  #grab(event) {
    if (this.#texts.length < 2 || event.button !== 0 || this.#root.closest("fieldset:disabled")) return;
    this.#dragging = true;
    this.#root.setPointerCapture(event.pointerId);
    this.#drag(event, false);
  }

  #drag(event, settled) {
    const { left, top, width, height } = this.#root.getBoundingClientRect();
    this.#move((event.clientX - left) / width, (event.clientY - top) / height, settled);
  }

  #release(event) {
    if (!this.#dragging) return;
    this.#dragging = false;
    this.#drag(event, true);
  }

  #key(event) {
    if (this.#texts.length < 2 || this.#root.closest("fieldset:disabled") || event.ctrlKey || event.metaKey || event.altKey) return;
    const points = [{ x: 0.5, y: 0.5 }, ...places(this.#texts.length)];
    const [x, y] = MOVES[event.key] ?? [];
    const step = event.shiftKey ? SMALL_STEP : STEP;
    if (x !== undefined) this.#move(this.#point.x + x * step, this.#point.y + y * step, true);
    else if (/^[0-6]$/.test(event.key) && points[event.key]) this.#move(points[event.key].x, points[event.key].y, true);
    else return;
    event.preventDefault();
  }

  #move(x, y, settled) {
    const inside = (value) => Math.min(1, Math.max(0, value));
    this.#point = { x: inside(x), y: inside(y) };
    const weights = blend(places(this.#texts.length), this.#point);
    this.#draw(weights);
    this.#change(weights, settled);
  }
}
