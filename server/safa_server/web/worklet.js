/**
 * Plays blocks of samples exactly as they come, from a ring that fills up to a target first; runs on the audio thread.
 *
 * In:  {block: Float32Array (channels interleaved), start}, {target: frames}, {clear: true}
 * Out: {played, underruns, missing, skipped, buffered, heard, filling, peaks}, about 20 times a second
 *
 * Samples of the session are never altered, with one exception that is counted: what lies more than `most` frames above
 * the target (after a long drop) is skipped, joined over 256 frames, so that the sound does not stay behind its
 * controls. Where the ring runs dry, the gap is shaped (a short fall, a short rise), the samples around it are not.
 */

const REPORT_EVERY = 2400; // frames
const JOIN = 256; // frames

class SafaPlayer extends AudioWorkletProcessor {
  constructor({ processorOptions: { channels, capacity, target, most } }) {
    super();
    this.capacity = capacity;
    this.ring = Array.from({ length: channels }, () => new Float32Array(capacity));
    this.peaks = new Float32Array(channels);
    this.last = new Float32Array(channels);
    Object.assign(this, { target, most, read: 0, size: 0, end: 0, filling: true, wanted: false, sinceReport: 0 });
    Object.assign(this, { played: 0, underruns: 0, missing: 0, skipped: 0 });
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(data) {
    if (data.block) this.write(data.block, data.start);
    if (data.target) this.aim(data.target);
    if (data.clear) Object.assign(this, { size: 0, filling: true, wanted: false });
  }

  write(block, start) {
    const channels = this.ring.length;
    const frames = block.length / channels;
    const room = this.capacity - this.size;
    if (frames > room) this.skip(frames - room);
    for (let c = 0; c < channels; c += 1) {
      const ring = this.ring[c];
      let at = (this.read + this.size) % this.capacity;
      for (let n = c; n < block.length; n += channels) {
        ring[at] = block[n];
        at = at + 1 === this.capacity ? 0 : at + 1;
      }
    }
    this.size += frames;
    this.end = start + frames;
    if (this.size > this.target + this.most) this.skip(this.size - this.target);
  }

  /** A target acts at once: what is too much is skipped; where it is higher than before, what is too little is waited for. */
  aim(target) {
    if (this.size > target + JOIN) this.skip(this.size - target);
    if (target > this.target && this.size < target) Object.assign(this, { filling: true, wanted: false });
    this.target = target;
  }

  skip(frames) {
    const join = Math.min(JOIN, this.size - frames);
    for (const ring of this.ring) {
      for (let n = 0; n < join; n += 1) {
        const to = (this.read + frames + n) % this.capacity;
        const share = (n + 1) / (join + 1);
        ring[to] = ring[(this.read + n) % this.capacity] * (1 - share) + ring[to] * share;
      }
    }
    this.read = (this.read + frames) % this.capacity;
    this.size -= frames;
    this.skipped += frames;
  }

  process(_, [output]) {
    const length = output[0].length;
    if (this.filling && this.size >= this.target) this.rise(output, length);
    else if (this.filling) this.gap(output, 0, length);
    else this.play(output, length);
    this.measure(output, length);
    return true;
  }

  play(output, length) {
    const frames = Math.min(length, this.size);
    for (let c = 0; c < output.length; c += 1) {
      const ring = this.ring[c];
      for (let n = 0; n < frames; n += 1) output[c][n] = ring[(this.read + n) % this.capacity];
    }
    this.read = (this.read + frames) % this.capacity;
    this.size -= frames;
    this.played += frames;
    for (let c = 0; c < output.length && frames; c += 1) this.last[c] = output[c][frames - 1];
    if (frames === length) return;
    Object.assign(this, { filling: true, wanted: true });
    this.underruns += 1;
    this.gap(output, frames, length);
  }

  /** From the last sample down to silence. */
  gap(output, from, length) {
    if (this.wanted) this.missing += length - from;
    for (let c = 0; c < output.length; c += 1) {
      for (let n = from; n < length; n += 1) {
        this.last[c] = Math.abs(this.last[c]) < 1e-5 ? 0 : this.last[c] * 0.97;
        output[c][n] = this.last[c];
      }
    }
  }

  /** The quantum before the sound goes on: up to its first sample. */
  rise(output, length) {
    if (this.wanted) this.missing += length;
    for (let c = 0; c < output.length; c += 1) {
      for (let n = 0; n < length; n += 1) output[c][n] = (this.ring[c][this.read] * n) / length;
    }
    this.filling = false;
  }

  measure(output, length) {
    for (let c = 0; c < output.length; c += 1) {
      for (let n = 0; n < length; n += 1) this.peaks[c] = Math.max(this.peaks[c], Math.abs(output[c][n]));
    }
    this.sinceReport += length;
    if (this.sinceReport < REPORT_EVERY) return;
    const { played, underruns, missing, skipped, filling } = this;
    const heard = this.end - this.size;
    this.port.postMessage({
      played, underruns, missing, skipped, filling, heard, buffered: this.size, peaks: Array.from(this.peaks),
    }); // prettier-ignore
    this.peaks.fill(0);
    this.sinceReport = 0;
  }
}

registerProcessor("safa-player", SafaPlayer);
