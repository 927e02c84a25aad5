"""What a file sounds like so far, in constant memory: integrated loudness and highest true peak, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from safa_stream.loudness import (
    ABSOLUTE_GATE,
    RELATIVE_GATE,
    STEPS_IN_BLOCK,
    KWeighting,
    energy_of,
    gated_loudness,
    k_weighting,
    loudness_of,
    step_energy,
)
from safa_stream.peaks import RISE, TAPS, true_peaks
from safa_stream.types import DoubleArray, FloatArray

#: Blocks are kept as a histogram over loudness: bins of 0.05 LU from the absolute gate up to +30 LUFS.
BIN = 0.05
BINS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """Blocks by loudness (`counts` and summed energies `sums`), the last steps, and the highest peak (linear)."""

    history: FloatArray
    tail: FloatArray
    counts: DoubleArray
    sums: DoubleArray
    recent: tuple[float, ...] = ()
    highest: float = 0.0

    @property
    def loudness(self) -> float:
        """Integrated loudness in LUFS; the relative gate is placed to one bin. -inf for silence."""
        count = self.counts.sum()
        if count == 0:
            return gated_loudness(np.array(self.recent)) if len(self.recent) < STEPS_IN_BLOCK else -np.inf
        gate = loudness_of(float(self.sums.sum() / count)) + RELATIVE_GATE
        first = max(0, round((gate - ABSOLUTE_GATE) / BIN))
        return loudness_of(float(self.sums[first:].sum() / self.counts[first:].sum()))

    @property
    def true_peak(self) -> float:
        """Highest true peak in dBTP, -inf for silence."""
        return float(20 * np.log10(self.highest)) if self.highest > 0 else -np.inf


def begin_meter(weighting: KWeighting, channels: int) -> Meter:
    """The meter before the first step: silence came before it."""
    history = np.zeros((channels, weighting.history), np.float32)
    return Meter(history, np.zeros((channels, 2 * TAPS), np.float32), np.zeros(BINS), np.zeros(BINS))


def meter_step(weighting: KWeighting, meter: Meter, step: FloatArray) -> Meter:
    """Take in the next step [channels, step]."""
    history, energy = step_energy(weighting, meter.history, step)
    recent = (*meter.recent, energy)[-STEPS_IN_BLOCK:]
    counts, sums = meter.counts, meter.sums
    block = sum(recent) / STEPS_IN_BLOCK
    if len(recent) == STEPS_IN_BLOCK and block > energy_of(ABSOLUTE_GATE):
        counts, sums = counts.copy(), sums.copy()
        place = min(int((loudness_of(block) - ABSOLUTE_GATE) / BIN), BINS - 1)
        counts[place] += 1
        sums[place] += block
    window = np.concatenate([meter.tail, step], axis=1)
    highest = meter.highest
    if float(np.abs(window).max()) > highest / RISE:
        highest = max(highest, float(true_peaks(window, highest).max()))
    return Meter(history, window[:, -2 * TAPS :], counts, sums, recent, highest)


def measure(samples: FloatArray, rate: int) -> Meter:
    """Loudness and peak of a whole recording [channels, N]."""
    weighting = k_weighting(rate)
    return _measured(weighting, begin_meter(weighting, len(samples)), samples)


def measure_loop(weighting: KWeighting, samples: FloatArray) -> Meter:
    """Loudness and peak of a loop [channels, N]: its end is what comes before its beginning."""
    length = samples.shape[1]
    before = np.arange(-max(weighting.history, 2 * TAPS), 0) % length
    lead = samples[:, before]
    meter = begin_meter(weighting, len(samples))
    meter = replace(meter, history=lead[:, -weighting.history :], tail=lead[:, -2 * TAPS :])
    return _measured(weighting, meter, samples)


def _measured(weighting: KWeighting, meter: Meter, samples: FloatArray) -> Meter:
    """Whole steps; an unfinished last one counts for its peak, and for loudness only where there is no other."""
    whole = samples.shape[1] // weighting.step * weighting.step
    for start in range(0, whole, weighting.step):
        meter = meter_step(weighting, meter, samples[:, start : start + weighting.step])
    rest = np.pad(samples[:, whole:], ((0, 0), (0, weighting.step - (samples.shape[1] - whole))))
    last = meter_step(weighting, meter, rest)
    return last if whole == 0 else replace(meter, highest=last.highest)
