// Listen to a soundscape and write it down; half-way the prompt changes at once.
//
//     node record.mjs out.f32 --prompt "rain on a tent" --then campfire --seconds 20
//     ffplay -f f32le -ar 48000 -ac 2 out.f32
//
// Node 22 or newer, or Node 20 with --experimental-websocket.

import { closeSync, openSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { Safa } from "safa-stream";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: "string", default: "ws://127.0.0.1:8600/ws" },
    prompt: { type: "string", default: "rain on a tent" },
    then: { type: "string", default: "campfire" },
    seconds: { type: "string", default: "20" },
    token: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const out = openSync(positionals[0] ?? "out.f32", "w");
const safa = new Safa(values.url);
let [heard, lost, changed] = [0, 0, false];

const over = new Promise((resolve, reject) => {
  safa.addEventListener("audio", ({ detail }) => {
    if (heard >= seconds) return;
    writeSync(out, new Uint8Array(detail.samples.buffer, detail.samples.byteOffset, detail.samples.byteLength));
    heard += detail.frames / detail.rate;
    lost += detail.lost;
    if (!changed && heard >= seconds / 2) {
      changed = true;
      safa.send("prompt", { prompts: values.then, morph: 1, now: true }).catch(reject);
    }
    if (heard >= seconds) resolve();
  });
  safa.addEventListener("applied", ({ detail }) => console.log(`command ${detail.command} is heard from ${detail.start} on`));
  safa.addEventListener("connection", ({ detail }) => {
    if (detail.reason) console.error(`${detail.state}: ${detail.reason}`);
    if (detail.state === "closed") reject(new Error(detail.reason));
  });
});
over.catch(() => {}); // the same reason comes out of `open` first

try {
  const opened = await safa.open({ scene: values.prompt, ...(values.token && { token: values.token }) });
  console.log(`session ${opened.session}`);
  await over;
  await safa.send("close");
  console.log(`${heard.toFixed(2)} s heard, ${lost} samples lost`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  safa.close();
  closeSync(out);
}
