/** The dialog that hands on links to the session: one to listen, and for who may steer one to steer. */

import { byId, setText } from "./dom.js";
import { makeLink } from "./link.js";

const HEARS = "Whoever has this link hears what you hear.";
const COULD_STEER = " This server has no listen token: the secret in this link could steer as well.";

export class Share {
  #listen = ""; // what the link to listen carries
  #session = null;

  constructor() {
    const dialog = byId("share-dialog");
    byId("share").addEventListener("click", () => {
      this.#draw();
      dialog.showModal();
      byId("share-link").select();
    });
    byId("share-copy").addEventListener("click", () => this.#copy(byId("share-link")));
    byId("share-steer-copy").addEventListener("click", () => this.#copy(byId("share-steer")));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  /**
   * session: the server's answer to "open" or "join", or null while there is none; secret: what the link that led here
   * carried, or the session's own token. What was typed in to get here is nobody else's and is not handed on.
   */
  show(session, secret = "") {
    this.#session = session;
    byId("share").disabled = !session;
    if (!session && byId("share-dialog").open) byId("share-dialog").close();
    if (!session) return;
    // Who only listens gets no secret where none is needed: it could steer as well.
    this.#listen = session.listen_token ?? (session.guarded ? secret : "");
    byId("share-steering").hidden = byId("share-steering").disabled = !session.control;
  }

  #draw() {
    const { session, token, control, guarded, listen_token: own } = this.#session;
    byId("share-link").value = makeLink({ session, token: this.#listen, control: false });
    byId("share-steer").value = control ? makeLink({ session, token, control }) : "";
    setText(byId("share-hint"), HEARS + (guarded && !own && this.#listen ? COULD_STEER : ""));
    setText(byId("share-done"), "");
  }

  async #copy(link) {
    try {
      await navigator.clipboard.writeText(link.value);
      setText(byId("share-done"), "Copied.");
    } catch {
      link.select();
      setText(byId("share-done"), "Copying is not allowed here; the link is selected.");
    }
  }
}
