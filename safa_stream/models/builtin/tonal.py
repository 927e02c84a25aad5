"""The tonal part: partials are followed from frame to frame and played as gliding oscillators (picking.py picks them).

A band holds at most one partial, and bands that see the same one share it. A partial that goes on keeps its phase
(McAulay and Quatieri 1986, without their phase matching), one that starts or ends ramps from or to silence.

Shapes: J mel frames (100/s, centred in 480 samples), B = 96 bands, place = frequency in units of bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream.models.builtin.features import (
    BANDS,
    HIGH_HZ,
    HOP,
    LOW_HZ,
    SAMPLE_RATE,
    WINDOWS,
    Array,
    band_edges,
    hz_to_mel,
    mel_to_hz,
    mel_weights,
)

Wide = npt.NDArray[np.float64]
Slots = npt.NDArray[np.intp]
#: Two candidates nearer than this (bands) are one partial; a partial may move this far in one frame and stay itself.
SAME = 0.8
REACH = 1.6
#: Bands on each side of a partial that see it, and steps of its place for which their view is tabulated.
NEAR = 2
STEPS = 16
#: Where a silent oscillator is said to be, and where it is looked for.
SILENT_PLACE = -1.0
FAR = 1e6
#: Oscillators run in single precision over so many samples (their phases before that in double), so many at once.
STRETCH, AT_ONCE = 32, 128
MEL_LOW = float(hz_to_mel(LOW_HZ))
MEL_STEP = (float(hz_to_mel(HIGH_HZ)) - MEL_LOW) / (BANDS + 1)


@dataclass(frozen=True, slots=True)
class Partials:
    """Candidates per frame and band. power: amplitude squared (0 where there is none); place: in bands. Both [J, B]."""

    power: Array
    place: Array


@dataclass(frozen=True, slots=True)
class OscillatorState:
    """The oscillators at the last frame's centre: amplitudes [2, B] (mid, side), place [B], phase [B] in cycles."""

    amplitude: Array
    place: Wide
    phase: Wide


def silent_oscillators() -> OscillatorState:
    """No partial sounds."""
    return OscillatorState(np.zeros((2, BANDS), np.float32), np.full(BANDS, SILENT_PLACE), np.zeros(BANDS))


def place_to_hz(place: npt.ArrayLike) -> Wide:
    """Place in bands (0 is the centre of band 0) to Hz."""
    return mel_to_hz(MEL_LOW + MEL_STEP * (np.asarray(place, np.float64) + 1))


def hz_to_place(hz: npt.ArrayLike) -> Wide:
    """Inverse of :func:`place_to_hz`."""
    return (hz_to_mel(hz) - MEL_LOW) / MEL_STEP - 1


@lru_cache(maxsize=1)
def response() -> Array:
    """What a band measures of a sinusoid of amplitude one, [B, STEPS, 2 NEAR + 1].

    Index: nearest band of the partial, its offset from that band's centre (-0.5 .. 0.5 in steps), band relative to it.
    """
    centres = band_edges()[1:-1]
    places = np.arange(BANDS)[:, None] + (np.arange(STEPS) + 0.5) / STEPS - 0.5
    hz = place_to_hz(places.reshape(-1))
    measured = np.zeros((len(hz), BANDS))
    below = 0.0
    for limit, size in WINDOWS:
        chosen = np.flatnonzero((centres >= below) & (centres < limit))
        below = limit
        bins = np.arange(mel_weights().shape[0]) * (SAMPLE_RATE / (2 * (mel_weights().shape[0] - 1)))
        seen = np.flatnonzero((hz > centres[chosen[0]] * 0.7 - 60) & (hz < centres[chosen[-1]] * 1.3 + 60))
        lobe = _hann_power((bins[None] - hz[seen, None]) * (size / SAMPLE_RATE)) * (size / (4 * 1.5))
        measured[np.ix_(seen, chosen)] = lobe @ mel_weights()[:, chosen]
    table = measured.reshape(BANDS, STEPS, BANDS)
    out = np.zeros((BANDS, STEPS, 2 * NEAR + 1))
    for band in range(BANDS):
        for near in range(-NEAR, NEAR + 1):
            if 0 <= band + near < BANDS:
                out[band, :, near + NEAR] = table[band, :, band + near]
    return out.astype(np.float32)


def _hann_power(distance: Wide) -> Wide:
    """Power of a Hann window's main lobe, `distance` in bins of its own length; 1 at the centre."""
    near = np.abs(distance) < 4.0
    x = np.where(near, distance, 4.0)
    pole = np.abs(np.abs(x) - 1.0) < 1e-6
    value = np.where(pole, 0.5, np.sinc(x) / np.where(pole, 1.0, 1.0 - x * x))
    return np.where(near, value * value, 0.0)


def view(place: Array) -> Array:
    """Response of the bands around each candidate, [J, B, 2 NEAR + 1], for places [J, B] (slot b's lie near b)."""
    band = np.clip(np.rint(place).astype(int), 0, BANDS - 1)
    step = np.clip(((place - band + 0.5) * STEPS).astype(int), 0, STEPS - 1)
    return np.asarray(response()[band, step])


@dataclass(frozen=True, slots=True)
class Segments:
    """Pieces of oscillators, one row each, from one frame's centre to the next: frame and phase (cycles) [M], cycles a
    sample at both ends [M], mid and side amplitudes at both ends [M, 2]."""

    frame: Slots
    phase: Wide
    begin: Wide
    end: Wide
    rise: Array
    fall: Array


def silence() -> Segments:
    """No segments."""
    none, pairs = np.zeros(0), np.zeros((0, 2), np.float32)
    return Segments(none.astype(np.intp), none, none, none, pairs, pairs)


def follow(partials: Partials, side: Array, state: OscillatorState) -> tuple[Segments, OscillatorState]:
    """Follow partials over J frames from `state`. side: amplitude of the side over the mid's, [J, B]."""
    mid = np.sqrt(partials.power)
    # One row more than there are frames: the state is the frame before the first.
    level = np.concatenate([state.amplitude.T[None], np.stack([mid, mid * side], axis=2)])
    place = np.concatenate([state.place[None], partials.place])
    alive = level[..., 0] > 0
    if not alive.any():
        return silence(), OscillatorState(np.zeros_like(state.amplitude), np.full(BANDS, SILENT_PLACE), state.phase)
    speed, slot, source = place_to_hz(place) / SAMPLE_RATE, np.arange(BANDS), _sources(place, alive)
    lasting = alive[1:] & (source >= 0)
    origin = np.where(lasting, source, slot)
    first, last = np.where(lasting, np.take_along_axis(speed[:-1], origin, 1), speed[1:]), speed[1:]
    advance = np.where(alive[1:], (0.5 * HOP) * (first + last), 0.0)
    phase = np.empty((len(place), BANDS))
    phase[0] = state.phase
    for row, (slots, cycles) in enumerate(zip(origin, advance, strict=True)):
        phase[row + 1] = (phase[row][slots] + cycles) % 1.0
    ending = np.where(alive[-1], place[-1], SILENT_PLACE)
    final = OscillatorState(np.ascontiguousarray(level[-1].T, np.float32), ending, phase[-1])
    # A birth sounds at its own frequency, in whatever phase its slot was left: it begins in silence, as a death ends.
    frame, band = np.nonzero(alive[1:])
    before = origin[frame, band]
    rise = level[frame, before] * lasting[frame, band, None]
    continued = alive[:-1].copy()
    continued[np.nonzero(lasting)[0], source[lasting]] = False
    past, dying = np.nonzero(continued)
    order = np.argsort(np.concatenate([frame, past]), kind="stable")

    def rows(living: Any, dead: Any) -> Any:
        return np.concatenate([living, dead])[order]

    segments = Segments(
        frame=rows(frame, past),
        phase=rows(phase[frame, before], phase[past, dying]),
        begin=rows(first[frame, band], speed[past, dying]),
        end=rows(last[frame, band], speed[past, dying]),
        rise=rows(rise, level[past, dying]),
        fall=rows(level[frame + 1, band], 0 * level[past, dying]),
    )
    return segments, final


def _sources(place: Wide, alive: npt.NDArray[np.bool_]) -> Slots:
    """For each slot of frames 1.. [J, B] that of the frame before which it continues, or -1.

    Two continue each other where each is the other's nearest, and within reach; that is at most NEAR slots away.
    """
    before = np.where(alive[:-1], place[:-1], -FAR)
    now = np.where(alive[1:], place[1:], FAR)
    back, distance = _nearest(now, before)
    slot = np.clip(np.arange(BANDS) + back, 0, BANDS - 1)
    mutual = np.take_along_axis(_nearest(before, now)[0], slot, 1) == -back
    return np.where(mutual & (distance < REACH), slot, -1)


def _nearest(here: Wide, there: Wide) -> tuple[Slots, Wide]:
    """For places [J, B] how many slots away the nearest of other places [J, B] is, at most NEAR, and its distance."""
    padded = np.pad(there, ((0, 0), (NEAR, NEAR)), constant_values=np.inf)
    offset, least = np.zeros(here.shape, np.intp), np.full(here.shape, np.inf)
    for shift in range(2 * NEAR + 1):
        distance = np.abs(here - padded[:, shift : shift + BANDS])
        np.putmask(offset, distance < least, shift - NEAR)
        np.minimum(least, distance, out=least)
    return offset, least


def play(segments: Segments, count: int) -> Array:
    """Sum of all segments, [2, 480 count]: the side a quarter cycle ahead of the mid, so that neither channel leads."""
    out = np.zeros((2, count, HOP), np.float32)
    ramp = (np.arange(HOP, dtype=np.float32) + 0.5) / HOP
    starts, inside = np.arange(0, HOP, STRETCH) + 0.5, np.arange(STRETCH, dtype=np.float32)
    for start in range(0, len(segments.frame), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        begin = segments.begin[part, None]
        bend = (segments.end[part, None] - begin) / (2 * HOP)
        # Hundreds of cycles in single precision would leave a phase error that depends on how the sound is cut.
        cycles = (begin + bend * starts) * starts + segments.phase[part, None]
        speed = begin + 2 * bend * starts
        base, slope, curve = (a.astype(np.float32)[..., None] for a in (cycles - np.rint(cycles), speed, bend))
        angle = ((slope + curve * inside) * inside + base).reshape(len(begin), HOP) * np.float32(2 * np.pi)
        frame = segments.frame[part]
        edges = np.flatnonzero(np.diff(frame, prepend=-1))
        for channel, wave in enumerate((np.sin(angle), np.cos(angle))):
            rise, fall = segments.rise[part, channel, None], segments.fall[part, channel, None]
            wave *= rise + (fall - rise) * ramp
            out[channel, frame[edges]] += np.add.reduceat(wave, edges, axis=0)
    return out.reshape(2, -1)
