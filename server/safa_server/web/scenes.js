/** Scenes: kept in this browser as the server wrote them, and recalled from there. */

import { byId, element } from "./dom.js";

const KEPT = "safa.scenes";
const MOST = 50;

export class Scenes {
  #list = byId("scenes");
  #steer;

  /** steer: {save(name) -> whether it was taken, recall(content)} */
  constructor(steer) {
    this.#steer = steer;
    byId("scene-save").addEventListener("submit", async (event) => {
      event.preventDefault();
      const input = byId("scene-name");
      if (await steer.save(input.value.trim())) input.value = "";
    });
    this.#draw();
  }

  /** The event scene.saved: `content` is the scene's JSON object. */
  saved({ scene, content }) {
    const others = this.#kept.filter(({ name }) => name !== scene);
    localStorage.setItem(KEPT, JSON.stringify([{ name: scene, content }, ...others].slice(0, MOST)));
    this.#draw();
  }

  get #kept() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
      return Array.isArray(kept) ? kept : [];
    } catch {
      return [];
    }
  }

  #remove(name) {
    localStorage.setItem(KEPT, JSON.stringify(this.#kept.filter((scene) => scene.name !== name)));
    this.#draw();
    byId("scene-name").focus();
  }

  #draw() {
    const kept = this.#kept;
    byId("scenes-hint").hidden = kept.length > 0;
    this.#list.replaceChildren(
      ...kept.map(({ name, content }) =>
        element(
          "li", {}, element("span", { className: "name" }, name),
          element("button", { type: "button", "aria-label": `Recall ${name}`, onclick: () => this.#steer.recall(content) }, "Recall"),
          element("button", { type: "button", className: "quiet icon", title: "Delete", "aria-label": `Delete ${name}`, onclick: () => this.#remove(name) }, "×"),
        ),
      ),
    ); // prettier-ignore
  }
}
