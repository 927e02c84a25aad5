"""Noise shaped to a log-mel picture: keyed random excitation, three layers of short-time filters, one matching pass.

Each layer filters the same white excitation with overlapping half-sine windows: long ones where bands are narrow, short
ones where attacks matter. The shaped noise is then analysed as the features are, and the gains are corrected by what is
missing, so that its log-mel has the target's fluctuation and not the target's plus its own.

Shapes: J mel frames (100/s), N = 480 J samples, B = 96 bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from safa_stream.models.builtin.features import (
    BANDS,
    FLOOR,
    FOLD,
    HOP,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    WINDOWS,
    Array,
    band_edges,
    frames,
    hz_to_mel,
    mel_weights,
)

Spectrum = npt.NDArray[np.complex64]
#: Filter layers: window in samples (hop is half of it), and the upper limit in Hz at which the next layer takes over.
LAYERS = ((1920, 500.0), (960, 3000.0), (480, float("inf")))
#: Log-mel values outside this range (nats) are pulled to it, whatever the latents say.
LOWEST, HIGHEST = float(np.log(FLOOR)), 3.0
#: The matching pass changes no band by more than this (nats).
CORRECTION = 3.0
#: Pulses: one a millisecond, its height normal with a given spread and held to this many deviations; it falls by so
#: much (nats) in the next. From one spread on, to another fully, a pulse also decays inside its millisecond (samples).
PULSE_SAMPLES = 48
HIGHEST_PULSE = 3.0
PULSE_FALL = 1.0
SHARP_FROM, SHARP_FULL, SHARP_SAMPLES = 1.0, 2.0, 8.0
_MASK = 0xFFFF_FFFF_FFFF_FFFF
#: Mixed into the seed, so that no other part of the program draws the same numbers.
STREAM = 0x5AFA_DEC0


@dataclass(frozen=True, slots=True)
class Excitation:
    """White noise for J mel frames, all of unit variance: `steady` [2, N] (mid, side), `detail` [J, B], and the
    `heights` [N / 48 + 1] of pulses, one a millisecond, the first of them before the first frame."""

    steady: Array
    heights: Array
    detail: Array


def excitation(seed: int, first_token: int, count: int) -> Excitation:
    """The noise of `count` tokens from `first_token` on; every token's share depends on nothing but (seed, token)."""
    per_token = SAMPLES_PER_TOKEN // PULSE_SAMPLES
    steady = np.empty((2, count, SAMPLES_PER_TOKEN), np.float32)
    heights = np.empty((count + 1, per_token), np.float32)
    detail = np.empty((count, FOLD * BANDS), np.float32)
    for index in range(-1, count):
        counter = np.array([0, 0, (first_token + index) & _MASK, 0], np.uint64)
        draw = np.random.Generator(np.random.Philox(counter=counter, key=np.array([seed & _MASK, STREAM], np.uint64)))
        heights[index + 1] = draw.standard_normal(per_token, np.float32)
        if index >= 0:
            steady[:, index] = draw.standard_normal((2, SAMPLES_PER_TOKEN), np.float32)
            detail[index] = draw.standard_normal(FOLD * BANDS, np.float32)
    return Excitation(steady.reshape(2, -1), heights.reshape(-1)[per_token - 1 :], detail.reshape(-1, BANDS))


def pulsed(noise: Excitation, spread: Array) -> Array:
    """The steady noise with its energy gathered in pulses: [2, N]. spread [J]: of the pulses' heights, 0 to 3 nats."""
    spread = np.repeat(spread, HOP // PULSE_SAMPLES)
    heights = noise.heights
    # The loudest of millions would be a thunderbolt: heights are held to what a second brings.
    level = np.minimum(heights[1:], HIGHEST_PULSE) * spread - spread**2
    before = np.minimum(heights[:-1], HIGHEST_PULSE) * spread - spread**2 - PULSE_FALL
    gain = np.exp(np.maximum(level, before))
    sharp = np.clip((spread - SHARP_FROM) / (SHARP_FULL - SHARP_FROM), 0, 1)[:, None]
    decay = np.exp(-np.arange(PULSE_SAMPLES) / SHARP_SAMPLES)
    decay *= np.sqrt(PULSE_SAMPLES / (decay**2).sum())
    shape = np.sqrt((1 - sharp) + sharp * (decay**2)[None]) * gain[:, None]
    return np.asarray(noise.steady.reshape(2, -1, PULSE_SAMPLES) * shape.astype(np.float32)).reshape(2, -1)


@lru_cache(maxsize=4)
def _band_to_bin(layer: int) -> tuple[slice, Array, Array]:
    """Bins of a layer, interpolation from bands [B, bins] along mel, and the layer's amplitude share of each bin."""
    size = LAYERS[layer][0]
    hz = np.arange(size // 2 + 1) * (SAMPLE_RATE / size)
    share = np.ones(len(hz))
    if layer > 0:
        share *= _rise(hz, LAYERS[layer - 1][1])
    if np.isfinite(LAYERS[layer][1]):
        share *= 1.0 - _rise(hz, LAYERS[layer][1])
    edges = band_edges()
    share *= np.clip((edges[-1] - hz) / (edges[-1] - edges[-2]) * 2, 0, 1) * np.clip(hz / edges[0], 0, 1)
    used = np.flatnonzero(share > 0)
    bins = slice(int(used[0]), int(used[-1]) + 1)
    mel, centres = hz_to_mel(hz[bins]), hz_to_mel(edges[1:-1])
    place = np.clip((mel - centres[0]) / (centres[1] - centres[0]), 0, BANDS - 1)
    low = np.minimum(place.astype(int), BANDS - 2)
    weights = np.zeros((BANDS, len(mel)), np.float32)
    weights[low, np.arange(len(mel))] = 1 - (place - low)
    weights[low + 1, np.arange(len(mel))] += place - low
    return bins, weights, share[bins].astype(np.float32)


def _rise(hz: np.ndarray, limit: float) -> np.ndarray:
    return np.clip((hz / limit - 0.85) / 0.3, 0.0, 1.0)


@lru_cache(maxsize=4)
def _half_sine(size: int) -> Array:
    return np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32)


@lru_cache(maxsize=4)
def _hann(size: int) -> Array:
    return np.hanning(size + 1)[:-1].astype(np.float32)


def spectra(signal: Array, layer: int) -> Spectrum:
    """Short-time spectra of [N] samples on a layer's frames and bins."""
    size = LAYERS[layer][0]
    hop = size // 2
    padded = np.pad(signal, (hop // 2, size))
    view = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(signal) - hop + 1 : hop]
    spectrum = np.fft.rfft(view * _half_sine(size))[:, _band_to_bin(layer)[0]]
    return spectrum.astype(np.complex64, copy=False)


def layer_gains(log_power: Array, index: int) -> Array:
    """Log-power [J, B] to amplitude gains [frames, bins] of a layer."""
    size = LAYERS[index][0]
    if size == 4 * HOP:
        log_power = np.asarray(0.5 * (log_power[0::2] + log_power[1::2]), np.float32)
    elif size == HOP:
        before = np.concatenate([log_power[:1], log_power[:-1]])
        after = np.concatenate([log_power[1:], log_power[-1:]])
        halves = np.stack([0.75 * log_power + 0.25 * before, 0.75 * log_power + 0.25 * after], axis=1)
        log_power = halves.reshape(-1, BANDS).astype(np.float32, copy=False)
    _, weights, share = _band_to_bin(index)
    return np.asarray(np.exp((np.float32(0.5) * log_power) @ weights) * share, np.float32)


def unite(filtered: list[Spectrum], length: int) -> Array:
    """Overlap-add the layers' spectra back to [length] samples."""
    out = np.zeros(length + 8 * HOP, np.float32)
    for index, (size, _) in enumerate(LAYERS):
        hop = size // 2
        bins = _band_to_bin(index)[0]
        full = np.zeros((len(filtered[index]), size // 2 + 1), np.complex64)
        full[:, bins] = filtered[index]
        pieces = np.fft.irfft(full, size) * _half_sine(size)
        total = pieces.reshape(-1, 2, hop)
        start = 4 * HOP - hop // 2
        out[start : start + len(total) * hop] += total[:, 0].reshape(-1)
        out[start + hop : start + hop + len(total) * hop] += total[:, 1].reshape(-1)
    return out[4 * HOP : 4 * HOP + length]


def measure(signal: Array) -> Array:
    """The features' log-mel of [N] samples, [J, B], from spectra without zero padding (three times cheaper)."""
    count = len(signal) // HOP
    centres = band_edges()[1:-1]
    out = np.empty((count, BANDS), np.float32)
    below = 0.0
    for limit, size in WINDOWS:
        chosen = (centres >= below) & (centres < limit)
        below = limit
        spectrum = np.fft.rfft(frames(signal, size, count) * _hann(size))
        bins = min(size // 2 + 1, int(limit * 1.2 * size / SAMPLE_RATE) + 2) if np.isfinite(limit) else size // 2 + 1
        spectrum = spectrum[:, :bins]
        power = (spectrum.real**2 + spectrum.imag**2) / np.float32((_hann(size) ** 2).sum())
        out[:, chosen] = np.log(power @ mel_weights(size)[:bins, chosen] + FLOOR)
    return out


def shape_noise(
    steady: Array, pulsed_noise: Array, log_power: Array, correction: Array | None = None
) -> tuple[Array, Array]:
    """White excitations [N] shaped to `log_power` [J, B]: the steady one in the lowest layer, the pulsed one above.

    Without a `correction` [J, B] of the gains (nats) one is found by the matching pass. Returns samples and correction.
    """
    sources = [spectra(pulsed_noise if index else steady, index) for index in range(len(LAYERS))]
    target = np.clip(log_power, LOWEST - 6, HIGHEST).astype(np.float32)
    length = len(steady)
    if correction is None:
        first = unite([s * layer_gains(target, i) for i, s in enumerate(sources)], length)
        correction = np.clip(np.maximum(target, LOWEST) - measure(first), -CORRECTION, CORRECTION)
    corrected = target + correction
    return unite([s * layer_gains(corrected, i) for i, s in enumerate(sources)], length), correction
