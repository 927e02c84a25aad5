/** What the page is made with: elements, sliders, and calls that are not made too often. */

export const byId = (id) => document.getElementById(id);

/** An element; `properties` that begin with "on" are listeners, those with "aria-", "data-" or "role" attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (/^(aria-|data-|role$|for$|list$)/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

let made = 0;
export const uniqueId = (stem) => `${stem}-${(made += 1)}`;

/** Set text only where it differs, so that screen readers and the layout are left alone. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** `call` at most once in `pause` ms: at once, and once more with the latest arguments if it was called meanwhile. */
export function throttled(pause, call) {
  let timer = null;
  let waiting = null;
  return function limited(...values) {
    if (timer !== null) {
      waiting = values;
      return;
    }
    call(...values);
    timer = setTimeout(() => {
      timer = null;
      const last = waiting;
      waiting = null;
      if (last) limited(...last);
    }, pause);
  };
}

/** How long a slider that was just moved by hand is left alone: longer than its values wait to be sent. */
const HELD = 700; // ms

/**
 * A labelled slider with its value in words. `show(value)` sets it from outside, unless a hand is on it.
 * input(value) is called while it moves, change(value) when it has moved; a double click sets it to `reset`.
 */
export function slider({ label, min, max, step, value, words, reset = value, hidden = false, input, change }) {
  const id = uniqueId("slider");
  const range = element("input", { id, type: "range", min, max, step });
  const output = element("output", { "for": id, "aria-hidden": "true" });
  const name = element("label", { htmlFor: id, className: hidden ? "unseen" : "" }, label);
  const root = element("div", { className: "slider" }, name, range, output);
  let held = 0;
  const draw = () => {
    const text = words(range.valueAsNumber);
    range.setAttribute("aria-valuetext", text);
    range.style.setProperty("--share", String((range.valueAsNumber - min) / (max - min)));
    setText(output, text);
  };
  const moved = (call) => {
    held = performance.now() + HELD;
    draw();
    call?.(range.valueAsNumber);
  };
  range.addEventListener("input", () => moved(input));
  range.addEventListener("change", () => moved(change));
  range.addEventListener("dblclick", () => {
    range.value = reset;
    moved(input);
    moved(change);
  });
  const show = (next) => {
    const before = range.value;
    if (performance.now() < held || !Number.isFinite(next)) return;
    range.value = next;
    if (range.value !== before) draw();
  };
  range.value = value;
  draw();
  return { root, range, show, rename: (text) => setText(name, text), get value() { return range.valueAsNumber; } }; // prettier-ignore
}

/** A button that is on or off. press(on) is called when it was pressed. */
export function toggle({ label, title = label, press }) {
  const root = element("button", { type: "button", className: "toggle", "aria-pressed": "false", title }, label);
  if (title !== label) root.setAttribute("aria-label", title);
  const show = (on) => root.setAttribute("aria-pressed", String(Boolean(on)));
  root.addEventListener("click", () => {
    const on = root.getAttribute("aria-pressed") !== "true";
    show(on);
    press(on);
  });
  return { root, show };
}

export const decibels = (value) => `${value > 0 ? "+" : ""}${value.toFixed(1)} dB`;
export const seconds = (value) => `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} s`;
export const milliseconds = (value) => `${Math.round(value * 1000)} ms`;
export const panning = (value) => (Math.abs(value) < 0.005 ? "centre" : `${Math.round(Math.abs(value) * 100)} ${value < 0 ? "left" : "right"}`);

/** 3725 -> "1:02:05". */
export function clock(value) {
  const whole = Math.max(0, Math.floor(value));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:${two(Math.floor(whole / 60) % 60)}` : Math.floor(whole / 60)}:${two(whole % 60)}`;
}
