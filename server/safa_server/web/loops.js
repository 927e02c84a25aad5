/** Loops of what was heard: asked for, waited for, downloaded. */

import { byId, element, setText } from "./dom.js";

const MOST = 8;

export class Loops {
  #list = byId("loops");
  #waiting = new Map(); // number of the command -> its line
  #steer;

  /** steer: {capture(seconds) -> number of the command or null, session() -> {id, token, key}, failed(error)} */
  constructor(steer) {
    this.#steer = steer;
    byId("loop-capture").addEventListener("submit", async (event) => {
      event.preventDefault();
      const seconds = byId("loop-seconds").valueAsNumber;
      const command = await steer.capture(seconds);
      if (command !== null) this.#wait(command, seconds);
    });
  }

  #wait(command, seconds) {
    byId("loops-hint").hidden = true;
    const line = element("li", {}, element("span", { className: "name", role: "status" }, `${seconds} s, being closed …`));
    this.#waiting.set(command, line);
    this.#list.prepend(line);
    while (this.#list.children.length > MOST) this.#list.lastChild.remove();
  }

  /** The event loop.ready: {command, loop, seconds}. Loops that others captured are listed as well. */
  ready({ command, loop, seconds }) {
    if (!this.#waiting.has(command)) this.#wait(command, seconds);
    const line = this.#waiting.get(command);
    this.#waiting.delete(command);
    const name = `loop-${loop}.wav`;
    const save = element("button", { type: "button", "aria-label": `Download ${name}` }, "Download");
    save.addEventListener("click", () => this.#save(loop, name, save));
    setText(line.firstChild, `${Number(seconds.toFixed(1))} s`);
    line.append(save);
  }

  /** The event refused: a loop that could not be made after all. */
  refused({ command }) {
    this.#waiting.get(command)?.remove();
    this.#waiting.delete(command);
  }

  async #save(loop, name, button) {
    button.disabled = true;
    try {
      const href = URL.createObjectURL(await fetchLoop(this.#steer.session(), loop));
      element("a", { href, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10_000);
    } catch (error) {
      this.#steer.failed(error);
    }
    button.disabled = false;
  }
}

/** The loop as a file. The token goes in a header: addresses end up in histories and logs. */
async function fetchLoop({ id, token, key }, loop) {
  const path = `sessions/${encodeURIComponent(id)}/loops/${encodeURIComponent(loop)}.wav`;
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${key || token}` } });
  if (!answer.ok) throw new Error(`The loop cannot be fetched: ${(await answer.text()).trim() || answer.statusText}`);
  return answer.blob();
}
