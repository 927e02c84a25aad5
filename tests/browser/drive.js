// Drives the player's worklet without an audio thread. script: ["write", samples], ["target", frames] or ["play", quanta];
// sample n of all that is written is n + 1. Gives all that was put out, and the worklet's last report.
async ({ target, script }) => {
  globalThis.AudioWorkletProcessor ??= class {
    port = { postMessage: (report) => (globalThis.report = report) };
  };
  globalThis.registerProcessor ??= (_, made) => (globalThis.Made = made);
  if (!globalThis.Made) {
    await new Promise((loaded) => {
      document.head.append(Object.assign(document.createElement("script"), { src: "/worklet.js", onload: loaded }));
    });
  }
  const worklet = new globalThis.Made({ processorOptions: { channels: 1, capacity: 9600, most: 2400, target } });
  const tell = (data) => worklet.port.onmessage({ data });
  const play = () => {
    const output = new Float32Array(128);
    worklet.process([], [[output]]);
    return output;
  };
  let written = 0;
  const heard = [];
  for (const [what, count] of script) {
    if (what === "write") {
      tell({ block: Float32Array.from({ length: count }, (_, n) => written + n + 1), start: written });
      written += count;
    } else if (what === "target") {
      tell({ target: count });
    } else {
      for (let n = 0; n < count; n += 1) heard.push(...play());
    }
  }
  for (let n = 0; n < 19; n += 1) play(); // until it has reported once more
  return { heard, report: globalThis.report };
};
