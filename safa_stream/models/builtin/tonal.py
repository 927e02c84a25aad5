"""The tonal part: pick partials from bands, follow them from frame to frame, and play them as gliding oscillators.

A band holds at most one partial, and bands that see the same one share it. A partial that goes on keeps its phase
(McAulay and Quatieri 1986, without their phase matching), one that starts or ends ramps from or to silence.

Shapes: J mel frames (100/s, centred in 480 samples), B = 96 bands, place = frequency in units of bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
#: Where a silent oscillator is said to be.
SILENT_PLACE = -1.0
MEL_LOW = float(hz_to_mel(LOW_HZ))
MEL_STEP = (float(hz_to_mel(HIGH_HZ)) - MEL_LOW) / (BANDS + 1)
#: Shares of tonal energy below which there is no partial, and from which it is played in full.
SILENT_SHARE, FULL_SHARE = 0.2, 0.4


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


def pick(power: Array, share: Array, offset: Array) -> Partials:
    """Partials out of band powers.

    power: band powers [J, B]; share: tonal share of each band's energy 0..1; offset: of a partial from its band's
    centre, -0.6..0.6 bands.
    """
    offset = np.clip(offset, -0.6, 0.6)
    # Where a partial lies between two bands, either may hold it: their shares add up, their places meet in the middle.
    weight = share * power
    total, pooled, place = weight.copy(), share.copy(), weight * offset
    for near in (-1, 1):
        here, there = _shifted(near)
        total[:, here] += weight[:, there]
        pooled[:, here] += share[:, there]
        place[:, here] += weight[:, there] * (offset[:, there] + near)
    place = np.where(total > 0, place / np.maximum(total, 1e-20), offset)
    pooled = np.minimum(pooled, 1.0)
    played = pooled * np.clip((pooled - SILENT_SHARE) / (FULL_SHARE - SILENT_SHARE), 0, 1)
    place = (np.arange(BANDS) + np.clip(place, -0.6, 0.6)).astype(np.float32)
    for distance in (1, 2):
        close = (np.abs(place[:, distance:] - place[:, :-distance]) < SAME) | (distance == 1)
        lower = close & (weight[:, :-distance] < weight[:, distance:])
        upper = close & ~lower
        played[:, :-distance][lower] = 0
        played[:, distance:][upper] = 0
    seen = view(place)
    around = np.zeros_like(seen)
    for near in (-1, 0, 1):
        here, there = _shifted(near)
        around[:, here, near + NEAR] = power[:, there]
    inner = slice(NEAR - 1, NEAR + 2)
    energy = around[..., inner].sum(-1) / np.maximum(seen[..., inner].sum(-1), 1e-3)
    partial = np.where(played > 0, played * energy, 0).astype(np.float32)
    return Partials(partial, place)


def _shifted(near: int) -> tuple[slice, slice]:
    """Bands that have a neighbour `near` away, and those neighbours."""
    return slice(max(0, -near), BANDS - max(0, near)), slice(max(0, near), BANDS + min(0, near))


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


def follow(partials: Partials, side: Array, state: OscillatorState) -> tuple[Segments, OscillatorState]:
    """Follow partials over J frames from `state`. side: amplitude of the side over the mid's, [J, B]."""
    rows: list[tuple[Slots, Wide, Wide, Wide, Array, Array]] = []
    mids = np.sqrt(partials.power)
    levels = np.stack([mids, mids * side], axis=2)
    places = partials.place.astype(np.float64)
    speeds = place_to_hz(places) / SAMPLE_RATE
    level, place, phase = state.amplitude.T, state.place, state.phase.copy()
    speed = place_to_hz(place) / SAMPLE_RATE
    before = np.flatnonzero(level[:, 0])
    for frame in range(len(mids)):
        alive = np.flatnonzero(mids[frame])
        if len(alive) == 0 and len(before) == 0:
            continue
        parent = _match(places[frame, alive], place[before])
        kept, born, source = alive[parent >= 0], alive[parent < 0], before[parent[parent >= 0]]
        unused = np.ones(BANDS, bool)
        unused[source] = False
        ended = before[unused[before]]
        # A birth sounds at its own frequency, in whatever phase its slot was left: it begins in silence.
        lasting, silent = len(kept), len(kept) + len(born)
        chosen, origin = np.concatenate([kept, born, ended]), np.concatenate([source, born, ended])
        first, last = speed[origin], speeds[frame, chosen]
        first[lasting:silent] = last[lasting:silent]
        last[silent:] = first[silent:]
        low, high = level[origin], levels[frame, chosen]
        low[lasting:silent] = 0
        high[silent:] = 0
        begun = phase[origin]
        rows.append((np.full(len(chosen), frame), begun, first, last, low, high))
        phase[chosen[:silent]] = (begun + (0.5 * HOP) * (first + last))[:silent] % 1.0
        level, place, speed, before = levels[frame], places[frame], speeds[frame], alive
    ending = np.full(BANDS, SILENT_PLACE)
    ending[before] = place[before]
    final = OscillatorState(np.ascontiguousarray(level.T, np.float32), ending, phase)
    if not rows:
        empty, pair = np.zeros(0), np.zeros((0, 2), np.float32)
        return Segments(empty.astype(int), empty, empty, empty, pair, pair), final
    joined = [np.concatenate([row[i] for row in rows]) for i in range(6)]
    return Segments(*joined), final


def _match(target: Wide, place: Wide) -> Slots:
    """For each new place the index of the old one that it continues, or -1: mutual nearest neighbours within reach."""
    if len(target) == 0 or len(place) == 0:
        return np.full(len(target), -1)
    distance = np.abs(target[:, None] - place)
    nearest = distance.argmin(1)
    rows = np.arange(len(target))
    good = (distance.argmin(0)[nearest] == rows) & (distance[rows, nearest] < REACH)
    return np.where(good, nearest, -1)


def play(segments: Segments, count: int) -> Array:
    """Sum of all segments, [2, 480 count]: the side a quarter cycle ahead of the mid, so that neither channel leads."""
    out = np.zeros((2, count, HOP), np.float32)
    ramp = (np.arange(HOP, dtype=np.float32) + 0.5) / HOP
    time = (np.arange(HOP) + 0.5)[None]
    for start in range(0, len(segments.frame), 512):
        part = slice(start, start + 512)
        begin = segments.begin[part, None]
        bend = (segments.end[part, None] - begin) / (2 * HOP)
        # Hundreds of cycles in single precision would leave a phase error that depends on how the sound is cut.
        cycles = (begin + bend * time) * time + segments.phase[part, None]
        angle = (cycles - np.rint(cycles)).astype(np.float32) * np.float32(2 * np.pi)
        frame = segments.frame[part]
        edges = np.flatnonzero(np.diff(frame, prepend=-1))
        rise, fall = segments.rise[part].astype(np.float32), segments.fall[part].astype(np.float32)
        for channel, wave in enumerate((np.sin(angle), np.cos(angle))):
            level = rise[:, channel, None] + (fall[:, channel] - rise[:, channel])[:, None] * ramp
            out[channel, frame[edges]] += np.add.reduceat(wave * level, edges, axis=0)
    return out.reshape(2, -1)
