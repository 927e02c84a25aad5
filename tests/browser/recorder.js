// Hands what it hears to the page, a tenth of a second at a time, and puts out silence.
registerProcessor(
  "test-recorder",
  class extends AudioWorkletProcessor {
    sides = [0, 1].map(() => new Float32Array(4736));
    at = 0;
    process([input]) {
      if (!input.length) return true;
      this.sides.forEach((side, channel) => side.set(input[channel] ?? input[0], this.at));
      this.at = (this.at + input[0].length) % this.sides[0].length;
      if (this.at === 0) this.port.postMessage(this.sides);
      return true;
    }
  },
);
