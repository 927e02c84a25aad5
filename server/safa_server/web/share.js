/** The dialog that hands on a link to the session. */

import { byId, setText } from "./dom.js";
import { makeLink } from "./link.js";

export class Share {
  #session = null;
  #guarded = false;

  constructor() {
    const dialog = byId("share-dialog");
    byId("share").addEventListener("click", () => {
      byId("share-control").checked = false;
      this.#draw();
      dialog.showModal();
      byId("share-link").select();
    });
    byId("share-control").addEventListener("change", () => this.#draw());
    byId("share-copy").addEventListener("click", () => this.#copy());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  /** session: {id, token, control}, or null while there is none. guarded: whether the server wants a token of everyone. */
  show(session, guarded = false) {
    this.#session = session;
    this.#guarded = guarded;
    byId("share").disabled = !session;
    byId("share-control").disabled = !session?.control;
  }

  #draw() {
    const control = byId("share-control").checked;
    const { id, token } = this.#session;
    // Who only listens gets no key where none is needed: it could steer as well.
    byId("share-link").value = makeLink({ session: id, token: control || this.#guarded ? token : "", control });
    setText(byId("share-hint"), control ? "Whoever has this link hears and steers this session." : "Whoever has this link hears what you hear.");
    setText(byId("share-done"), "");
  }

  async #copy() {
    const link = byId("share-link");
    try {
      await navigator.clipboard.writeText(link.value);
      setText(byId("share-done"), "Copied.");
    } catch {
      link.select();
      setText(byId("share-done"), "Copying is not allowed here; the link is selected.");
    }
  }
}
