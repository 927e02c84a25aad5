"""Noise shaped to a log-mel picture, in torch: three layers of short-time filters, pulses, and one matching pass.

Each layer filters the same white excitation with overlapping half-sine windows: long ones where bands are narrow, short
ones where attacks matter. The shaped noise is then analysed as the features are, and the gains are corrected by what is
missing, so that its log-mel has the target's fluctuation and not the target's plus its own.

Shapes: C channels, J mel frames (100/s), N = 480 J samples, B = 96 bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safa_stream.models.builtin.excitation import PULSE_SAMPLES
from safa_stream.models.builtin.features import (
    BANDS,
    FLOOR,
    HOP,
    SAMPLE_RATE,
    WINDOWS,
    Array,
    band_edges,
    hz_to_mel,
    mel_weights,
)
from safa_stream.models.builtin.short_time import Bins, LowBins, ManyBins, Wide, half_sine, hann, single


@dataclass(frozen=True, slots=True)
class Filters:
    """A layer. window: in samples, its hop is half of it; limit: in Hz, where the next layer takes over."""

    window: int
    limit: float
    transform: type[LowBins] | type[ManyBins]
    group: int


LAYERS: tuple[Filters, ...] = (
    Filters(1920, 500.0, LowBins, 120),
    Filters(960, 3000.0, LowBins, 120),
    Filters(480, float("inf"), ManyBins, 30),
)
#: How the features' windows are transformed, in their order.
ANALYSIS: tuple[tuple[type[LowBins] | type[ManyBins], int], ...] = ((LowBins, 480), (LowBins, 480), (ManyBins, 32))
#: Log-mel values outside this range (nats) are pulled to it, whatever the latents say; a target may lie deeper.
LOWEST, HIGHEST = float(np.log(FLOOR)), 3.0
DEEPEST = LOWEST - 6
#: The matching pass changes no band by more than this (nats).
CORRECTION = 3.0
#: A pulse's height is normal with a given spread and held to this many deviations; it falls by so much (nats) in the
#: next. From one spread on, to another fully, a pulse also decays inside its millisecond (samples).
HIGHEST_PULSE = 3.0
PULSE_FALL = 1.0
SHARP_FROM, SHARP_FULL, SHARP_SAMPLES = 1.0, 2.0, 8.0


class NoiseShaper(nn.Module):
    """Shapes white noise; all its numbers are known beforehand, none is learned."""

    layers: Any
    decay: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(index) for index in range(len(LAYERS)))
        self.measure = LogMel()
        decay = np.exp(-2 * np.arange(PULSE_SAMPLES) / SHARP_SAMPLES)
        self.register_buffer("decay", single(decay * (PULSE_SAMPLES / decay.sum())), persistent=False)

    def forward(self, steady: Tensor, heights: Tensor, spread: Tensor, target: Tensor, side: Tensor) -> Tensor:
        """Noise [2, N], mid and side, from white noise [2, N] and heights of pulses [T, 41] (see `Excitation`).

        spread [J]: of the pulses' heights; target, side [J, B]: log-powers. What the matching pass corrects in the mid
        is corrected in the side as far as it is due to the pulses, which both share.
        """
        target, side = target.clamp(DEEPEST, HIGHEST), side.clamp(DEEPEST, HIGHEST)
        spectra = self.spectra(steady, self.pulsed(steady, heights, spread))
        first = self.unite([spectrum[:, :1] for spectrum in spectra], target[None])
        missing = (target.clamp(min=LOWEST) - self.measure(first)).clamp(-CORRECTION, CORRECTION)
        shared = missing * spread.clamp(max=1.0)[:, None]
        return self.unite(spectra, torch.stack([target + missing, side + shared]))

    def pulsed(self, steady: Tensor, heights: Tensor, spread: Tensor) -> Tensor:
        """The steady noise with its energy gathered in pulses: [2, N]."""
        spread = spread[:, None].expand(-1, HOP // PULSE_SAMPLES).flatten()
        # The loudest of millions would be a thunderbolt: heights are held to what a second brings.
        held = heights.clamp(max=HIGHEST_PULSE)
        now, before = held[:, 1:].flatten(), held[:, :-1].flatten()
        level = torch.maximum(now * spread, before * spread - PULSE_FALL) - spread * spread
        sharp = ((spread - SHARP_FROM) / (SHARP_FULL - SHARP_FROM)).clamp(0.0, 1.0)[:, None]
        shape = torch.sqrt((1 - sharp) + sharp * self.decay) * torch.exp(level)[:, None]
        return (steady.reshape(2, -1, PULSE_SAMPLES) * shape).flatten(1)

    def spectra(self, steady: Tensor, sharp: Tensor) -> list[Tensor]:
        """Each layer's spectra of what it filters [C, N]: the steady noise in the lowest layer, pulses above."""
        return [layer.transform(sharp if index else steady) for index, layer in enumerate(self.layers)]

    def unite(self, spectra: list[Tensor], log_power: Tensor) -> Tensor:
        """Spectra filtered to log-powers [C, J, B] and overlap-added: [C, N]."""
        low, middle, high = (layer(own, log_power) for layer, own in zip(self.layers, spectra, strict=True))
        made: Tensor = low + middle + high
        return made


class Layer(nn.Module):
    """One layer of filters."""

    bands: Tensor

    def __init__(self, index: int) -> None:
        super().__init__()
        filters = LAYERS[index]
        hz = np.arange(filters.window // 2 + 1) * np.float64(SAMPLE_RATE / filters.window)
        share = layer_share(hz, LAYERS[index - 1].limit if index else 0.0, filters.limit)
        used = np.flatnonzero(share > 0)
        self.hop = filters.window // 2
        self.transform: Any = filters.transform(
            half_sine(filters.window), self.hop, used, share[used] * (2 / filters.window), filters.group
        )
        bins = self.transform.bins
        # Half the log-power of each bin out of the bands', by group.
        bands = 0.5 * band_to_bin(hz)[:, bins] * (bins >= 0)
        self.register_buffer("bands", single(bands.transpose(1, 0, 2)[:, None]), persistent=False)

    def forward(self, spectrum: Tensor, log_power: Tensor) -> Tensor:
        """[G, C, F, 2K] filtered to log-powers [C, J, B], as samples [C, N]."""
        gain = torch.exp(self.at_frames(log_power) @ self.bands)
        made: Tensor = self.transform.back(spectrum * torch.cat([gain, gain], dim=-1))
        return made

    def at_frames(self, log_power: Tensor) -> Tensor:
        """Log-powers [C, J, B] at this layer's frames, of which there are half as many, as many, or twice as many."""
        if self.hop == 2 * HOP:
            return 0.5 * (log_power[:, 0::2] + log_power[:, 1::2])
        if self.hop == HOP:
            return log_power
        before = torch.cat([log_power[:, :1], log_power[:, :-1]], dim=1)
        after = torch.cat([log_power[:, 1:], log_power[:, -1:]], dim=1)
        halves = torch.stack([0.75 * log_power + 0.25 * before, 0.75 * log_power + 0.25 * after], dim=2)
        return halves.flatten(1, 2)


class LogMel(nn.Module):
    """The features' log-mel, from spectra without zero padding."""

    def __init__(self) -> None:
        super().__init__()
        centres, limits = band_edges()[1:-1], [0.0, *(limit for limit, _ in WINDOWS)]
        self.ranges = nn.ModuleList(
            Range(size, mel_weights(size)[:, (centres >= low) & (centres < high)], *how)
            for (high, size), low, how in zip(WINDOWS, limits, ANALYSIS, strict=False)
        )

    def forward(self, samples: Tensor) -> Tensor:
        """[1, N] to [J, B]."""
        return torch.cat([part(samples) for part in self.ranges], dim=1)


class Range(nn.Module):
    """The log-mel of the bands that share a window."""

    weights: Tensor

    def __init__(self, size: int, weights: Array, transform: type[LowBins] | type[ManyBins], group: int) -> None:
        super().__init__()
        used, energy = np.flatnonzero(weights.any(1)), FLOOR * (hann(size) ** 2).sum()
        self.transform: Any = transform(hann(size), HOP, used, np.full(len(used), 1 / energy), group)
        bins = self.transform.bins
        by_bin = weights[bins] * (bins >= 0)[..., None]
        by_part = np.concatenate([by_bin, by_bin], axis=1).reshape(-1, by_bin.shape[-1])
        self.register_buffer("weights", single(by_part), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """[1, N] to [J, bands]."""
        power = self.transform(samples).square()[:, 0].transpose(0, 1).flatten(1)
        # In units of the floor, because torch.onnx takes a sum with 1e-8 for a sum with zero.
        return torch.log(power @ self.weights + 1.0) + LOWEST


def band_to_bin(hz: Wide) -> Wide:
    """Interpolation from bands to frequencies along mel, [B, len(hz)]."""
    mel, centres = hz_to_mel(hz), hz_to_mel(band_edges()[1:-1])
    place = np.clip((mel - centres[0]) / (centres[1] - centres[0]), 0, BANDS - 1)
    low: Bins = np.minimum(place.astype(int), BANDS - 2)
    weights, index = np.zeros((BANDS, len(mel))), np.arange(len(mel))
    weights[low, index] = 1 - (place - low)
    weights[low + 1, index] += place - low
    return weights


def layer_share(hz: Wide, low: float, high: float) -> Wide:
    """A layer's share of the amplitude at each frequency, between the limits at which it takes over and hands on."""
    edges = band_edges()
    inside = np.clip((edges[-1] - hz) / (edges[-1] - edges[-2]) * 2, 0, 1) * np.clip(hz / edges[0], 0, 1)
    rising, falling = _rise(hz, low) if low else 1.0, _rise(hz, high) if np.isfinite(high) else 0.0
    return np.asarray(inside * rising * (1.0 - falling))


def _rise(hz: Wide, limit: float) -> Wide:
    return np.asarray(np.clip((hz / limit - 0.85) / 0.3, 0.0, 1.0))
