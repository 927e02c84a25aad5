/**
 * What of the page there is for whom. Who only listens gets a player: what steers is switched off, and taken away from
 * the eye, from the keyboard and from screen readers alike.
 */

import { byId, setText } from "./dom.js";
import { inWords } from "./prompts.js";

const PARTS = ["skip", "transport-controls", "prompts", "mixer-card", "scenes-card", "loops-card"];
const STEERING = ["transport-controls", "mixer-controls", "scenes-controls", "loops-controls"];

export class Listening {
  /** only: this page only listens; control: there is a session, and this page steers it. */
  show({ only, control }) {
    for (const id of PARTS) byId(id).hidden = only;
    for (const id of STEERING) byId(id).disabled = !control;
    byId("prompts-controls").disabled = only; // before a session they say what it begins with
    byId("listening").hidden = !only;
    setText(byId("listening-text"), only ? "This page only listens: it plays the session, and others steer it." : "");
    if (!only) setText(byId("heard"), "");
  }

  /** What the session sounds like now. layers: [{prompts: [{text, weight}], mute, solo}]. */
  heard(layers) {
    if (byId("listening").hidden) return;
    const alone = layers.some(({ solo }) => solo);
    const sounding = layers.filter(({ mute, solo }) => !mute && (solo || !alone));
    setText(byId("heard"), sounding.map(({ prompts }) => inWords(prompts)).join(" · "));
  }
}
