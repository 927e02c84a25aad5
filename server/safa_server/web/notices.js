/** What the page tells in words: one line for what went wrong, the state of the connection, and a short list of events. */

import { byId, element, setText } from "./dom.js";

const MOST_EVENTS = 6;
const STATES = { idle: "Not connected", connecting: "Connecting", open: "Connected", resuming: "Resuming", closed: "Disconnected" };

export class Notices {
  constructor() {
    byId("notice-close").addEventListener("click", () => this.clear());
  }

  /** One readable line, kept until it is dismissed or the next thing works. */
  error(text) {
    byId("notice").hidden = false;
    setText(byId("notice-text"), oneLine(text));
  }

  clear() {
    byId("notice").hidden = true;
    setText(byId("notice-text"), "");
  }

  connection(state, listening) {
    const pill = byId("connection");
    pill.dataset.state = state;
    setText(pill, state === "open" && listening ? "Listening" : STATES[state]);
  }

  /** Add what an event of the session means, where it means something to people. */
  event(event, rate) {
    const text = inWords(event);
    if (!text) return;
    byId("events-hint").hidden = true;
    const at = Math.floor(event.position / rate);
    const time = `${Math.floor(at / 60)}:${String(at % 60).padStart(2, "0")}`;
    const list = byId("events");
    list.prepend(element("li", {}, element("span", { className: "when" }, time), text));
    while (list.children.length > MOST_EVENTS) list.lastChild.remove();
  }
}

const oneLine = (text) => String(text).replace(/\s+/g, " ").trim();

function inWords(event) {
  const layer = `Layer ${event.layer + 1}`;
  switch (event.type) {
    case "fewer_steps":
      return `${layer}: ${event.steps} of ${event.wanted} steps, time is short`;
    case "bed.began":
      return `${layer} was late; its last sound goes on`;
    case "bed.ended":
      return `${layer} is back`;
    case "reanchored":
      return event.measure === "asked" ? `${layer} held to its reference` : `${layer} had drifted (${event.measure}); held to its reference`;
    case "layer.ended":
      return `${layer} ended`;
    case "refused":
      return `Not carried out: ${oneLine(event.reason)}`;
    case "dropped":
      return `The connection was too slow: ${event.samples} samples dropped`;
    default:
      return "";
  }
}
