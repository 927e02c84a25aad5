// Put into a page before its own scripts: what its sound worklet puts out goes to a recorder as well, from the first
// quantum on. The page itself is untouched. tappedFrames: how much that is; tapped(): [left, right], base64 of float32.
"use strict";
(() => {
  const blocks = [];
  window.tappedFrames = 0;
  const addModule = AudioWorklet.prototype.addModule;
  AudioWorklet.prototype.addModule = async function (...values) {
    await addModule.call(this, "/test-recorder.js");
    return addModule.apply(this, values);
  };
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...values) {
    if (this instanceof AudioWorkletNode && target instanceof AudioDestinationNode && this.constructor === AudioWorkletNode) {
      const recorder = new AudioWorkletNode(this.context, "test-recorder", { channelCount: 2, channelCountMode: "explicit" });
      recorder.port.onmessage = ({ data }) => {
        blocks.push(data);
        window.tappedFrames += data[0].length;
      };
      connect.call(this, recorder);
      connect.call(recorder, target);
    }
    return connect.call(this, target, ...values);
  };
  const encode = (floats) => {
    const bytes = new Uint8Array(floats.buffer);
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return btoa(text);
  };
  window.tapped = () => {
    return [0, 1].map((channel) => {
      const all = new Float32Array(window.tappedFrames);
      let at = 0;
      for (const block of blocks) {
        all.set(block[channel], at);
        at += block[channel].length;
      }
      return encode(all);
    });
  };
})();
