"""From what a model made to what a file holds: an even loudness and no peak above the ceiling, in constant memory.

    steps of 100 ms ─► K-weighted energy ─► waiting room of LOOK_AHEAD ─► gain ─► limiter ─► out
                              │                                            ▲                  │
                              └── loudness of LOOK_AHEAD to both sides ────┴── loudness so far ┘

A recording that fits into the waiting room gets one constant gain. In a longer one the gain follows the gated loudness
of LOOK_AHEAD seconds on both sides of each moment, and what the file so far is off its target; it moves by at most SLEW
dB a second, too slowly to be heard as a change. Decisions depend on the samples alone, never on how these came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from safa_stream.loudness import (
    STEP_SECONDS,
    KWeighting,
    gated_loudness,
    k_weighting,
    step_energy,
)
from safa_stream.peaks import RISE
from safa_stream.rendering import limiter as limiting
from safa_stream.rendering.meter import Meter, begin_meter, measure_loop, meter_step
from safa_stream.types import DoubleArray, FloatArray

LOOK_AHEAD_SECONDS = 90.0
#: Every so many steps it is decided what gain is wanted. The gain approaches that with this time constant, and no
#: faster than SLEW dB a second.
DECISION_STEPS = 10
APPROACH_SECONDS = 5.0
SLEW = 0.3
#: How strongly an error of the loudness so far is corrected, and by how many dB at most.
CORRECTION = 4.0
LARGEST_CORRECTION = 6.0
#: A signal that needs more dB than this is a fault to be heard, not to be raised to full scale.
LARGEST_GAIN = 40.0
#: What the limiter takes is made good up to LARGEST_MAKEUP dB, in TRIALS rounds or until CLOSE_ENOUGH LU. More gain
#: is limited again in part, hence a round's EAGERNESS.
LARGEST_MAKEUP = 4.0
TRIALS = 5
CLOSE_ENOUGH = 0.1
EAGERNESS = 1.5
#: Between the four points a sample that are looked at, a peak can be a little higher.
PEAK_MARGIN = 0.3


@dataclass(frozen=True, slots=True)
class Levelling:
    """How to level: `target` in LUFS (None leaves the loudness alone), for steps of one rate and channel count."""

    target: float | None
    weighting: KWeighting
    limiter: limiting.Limiter
    channels: int
    look_ahead: int

    @property
    def step(self) -> int:
        """Samples in a step."""
        return self.weighting.step


@dataclass(frozen=True, slots=True)
class LevelState:
    """Everything between what came in and what went out.

    `gain_db` is the gain where the next waiting step begins, `wanted_db` the one that it moves to; `makeup_db` in both
    is for what the limiter takes away.
    """

    pending: FloatArray
    history: FloatArray
    energies: DoubleArray
    waiting: tuple[FloatArray, ...]
    limiter: limiting.LimiterState
    meter: Meter
    gain_db: float = 0.0
    wanted_db: float = 0.0
    makeup_db: float = 0.0
    constant: bool = False
    measured: int = 0
    given: int = 0
    samples_in: int = 0


def levelling(
    rate: int,
    channels: int,
    target: float | None = -23.0,
    ceiling: float = -1.0,
    look_ahead: float = LOOK_AHEAD_SECONDS,
    weights: Sequence[float] | None = None,
) -> Levelling:
    """Level [channels, N] at `rate` to `target` LUFS with true peaks at or below `ceiling` dBTP.

    weights: what every channel counts in the loudness, None: all of them 1.
    """
    weighting = k_weighting(rate, weights)
    limiter = limiting.limiter(ceiling - PEAK_MARGIN, rate, weighting.step)
    return Levelling(target, weighting, limiter, channels, max(1, round(look_ahead / STEP_SECONDS)))


def begin(levelling: Levelling) -> LevelState:
    """The state before the first sample."""
    silence = np.zeros((levelling.channels, levelling.weighting.history), np.float32)
    return LevelState(
        pending=silence[:, :0],
        history=silence,
        energies=np.zeros(0),
        waiting=(),
        limiter=limiting.begin(levelling.limiter, levelling.channels),
        meter=begin_meter(levelling.weighting, levelling.channels),
    )


def push(levelling: Levelling, state: LevelState, samples: FloatArray) -> tuple[LevelState, FloatArray]:
    """Take samples [channels, N] in, hand out what is ready [channels, M]."""
    pending = np.concatenate([state.pending, samples], axis=1)
    whole = pending.shape[1] // levelling.step * levelling.step
    state = replace(state, pending=pending[:, whole:], samples_in=state.samples_in + samples.shape[1])
    parts: list[FloatArray | None] = []
    for start in range(0, whole, levelling.step):
        state = _take(levelling, state, pending[:, start : start + levelling.step])
        if len(state.waiting) > levelling.look_ahead:
            if state.given == 0 and levelling.target is not None:
                state = _started(levelling, state)
            state, part = _give(levelling, state)
            parts.append(part)
    return state, _joined(levelling, parts)


def finish(levelling: Levelling, state: LevelState) -> tuple[LevelState, FloatArray]:
    """Hand out all that is left; only the state's meter is of use afterwards."""
    unfinished = state.pending.shape[1]
    if unfinished:
        padded = np.pad(state.pending, ((0, 0), (0, levelling.step - unfinished)))
        state = _take(levelling, state, padded, measured=state.measured == 0)
    if state.given == 0 and levelling.target is not None:
        state = replace(_started(levelling, state), constant=True)
    parts: list[FloatArray | None] = []
    while state.waiting:
        state, part = _give(levelling, state)
        parts.append(part)
    silence = np.zeros((levelling.channels, levelling.step), np.float32)
    for _ in range(limiting.DELAY):
        state, part = _limited(levelling, state, silence)
        parts.append(part)
    out = _joined(levelling, parts)
    return state, out[:, : out.shape[1] - (levelling.step - unfinished if unfinished else 0)]


def level_loop(levelling: Levelling, samples: FloatArray) -> tuple[FloatArray, Meter]:
    """A loop [channels, N] levelled as a whole: one gain, and filters and limiter that look around the seam."""
    meter = measure_loop(levelling.weighting, samples)
    needed = makeup = 0.0
    if levelling.target is not None and np.isfinite(meter.loudness):
        needed = min(levelling.target - meter.loudness, LARGEST_GAIN)
    for _ in range(TRIALS):
        gain = np.float32(10 ** ((needed + makeup) / 20))
        out = limiting.limit(levelling.limiter, samples * gain, circular=True)
        meter = measure_loop(levelling.weighting, out)
        missing = 0.0 if levelling.target is None or needed == 0 else levelling.target - meter.loudness
        if abs(missing) < CLOSE_ENOUGH or makeup == LARGEST_MAKEUP:
            break
        makeup = min(max(makeup + EAGERNESS * missing, 0.0), LARGEST_MAKEUP)
    return out, meter


def _take(levelling: Levelling, state: LevelState, step: FloatArray, measured: bool = True) -> LevelState:
    if levelling.target is None or not measured:
        return replace(state, waiting=(*state.waiting, step))
    history, energy = step_energy(levelling.weighting, state.history, step)
    energies = np.append(state.energies[-2 * levelling.look_ahead - 1 :], energy)
    return replace(
        state,
        history=history,
        energies=energies,
        measured=state.measured + 1,
        waiting=(*state.waiting, step),
    )


def _give(levelling: Levelling, state: LevelState) -> tuple[LevelState, FloatArray | None]:
    """Send the oldest waiting step through gain and limiter."""
    step, begins, wanted = state.waiting[0], state.gain_db, state.wanted_db
    if levelling.target is not None and not state.constant and state.given % DECISION_STEPS == 0:
        wanted = _wanted_gain(levelling, state)
    ends = begins + _within((wanted - begins) * STEP_SECONDS / APPROACH_SECONDS, SLEW * STEP_SECONDS)
    state = replace(state, waiting=state.waiting[1:], given=state.given + 1, gain_db=ends, wanted_db=wanted)
    ramp = 10 ** (np.linspace(begins, ends, levelling.step, endpoint=False) / 20)
    return _limited(levelling, state, step * ramp.astype(np.float32))


def _limited(levelling: Levelling, state: LevelState, step: FloatArray) -> tuple[LevelState, FloatArray | None]:
    limiter, part = limiting.push(levelling.limiter, state.limiter, step)
    meter = state.meter if part is None else meter_step(levelling.weighting, state.meter, part)
    return replace(state, limiter=limiter, meter=meter), part


def _wanted_gain(levelling: Levelling, state: LevelState) -> float:
    """The gain in dB that fits where the next waiting step begins; in silence, the one that there is."""
    assert levelling.target is not None
    place, first = state.given, state.measured - len(state.energies)
    start = max(first, place - levelling.look_ahead)
    around = gated_loudness(state.energies[start - first : place + levelling.look_ahead - first])
    if not np.isfinite(around):
        return state.gain_db
    wanted = levelling.target - around + state.makeup_db
    so_far = state.meter.loudness
    if np.isfinite(so_far):
        # A young file's loudness says little: correction sets in between one and two look-aheads.
        share = min(max(place / levelling.look_ahead - 1, 0.0), 1.0)
        wanted += share * _within(CORRECTION * (levelling.target - so_far), LARGEST_CORRECTION)
    return min(wanted, LARGEST_GAIN)


def _started(levelling: Levelling, state: LevelState) -> LevelState:
    """The state with the gain in dB that brings all that waits to its target, the limiter's losses made good."""
    assert levelling.target is not None
    loudness = gated_loudness(state.energies)
    if not np.isfinite(loudness):
        return state
    needed = min(levelling.target - loudness, LARGEST_GAIN)
    makeup = 0.0
    highest = RISE * max(float(np.abs(step).max()) for step in state.waiting)
    if highest * 10 ** (needed / 20) > levelling.limiter.ceiling:
        for _ in range(TRIALS):
            missing = levelling.target - _loudness_with(levelling, state.waiting, needed + makeup)
            makeup = min(max(makeup + EAGERNESS * missing, 0.0), LARGEST_MAKEUP)
            if abs(missing) < CLOSE_ENOUGH or makeup == LARGEST_MAKEUP:
                break
    return replace(state, gain_db=needed + makeup, wanted_db=needed + makeup, makeup_db=makeup)


def _loudness_with(levelling: Levelling, steps: tuple[FloatArray, ...], gain_db: float) -> float:
    gain = np.float32(10 ** (gain_db / 20))
    state = limiting.begin(levelling.limiter, levelling.channels)
    meter = begin_meter(levelling.weighting, levelling.channels)
    for step in (*steps, *[np.zeros_like(steps[0])] * limiting.DELAY):
        state, part = limiting.push(levelling.limiter, state, step * gain)
        if part is not None:
            meter = meter_step(levelling.weighting, meter, part)
    return meter.loudness


def _within(value: float, largest: float) -> float:
    return min(max(value, -largest), largest)


def _joined(levelling: Levelling, parts: Sequence[FloatArray | None]) -> FloatArray:
    ready = [part for part in parts if part is not None]
    return np.concatenate(ready, axis=1) if ready else np.zeros((levelling.channels, 0), np.float32)
