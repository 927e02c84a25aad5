"""Short-time spectra as matrix products, in torch: every transform is two small matrices, its inverse the same turned.

A discrete Fourier transform of the bins that are used is one matrix, frame @ basis. Frames overlap, and that matrix has
structure, so it is never applied whole. Where the bins are few and low, neighbouring samples say nearly the same:
`LowBins` first describes each group of samples by the few numbers that matter, then transforms those. `ManyBins` takes
the step of Cooley and Tukey (1965) once: first across a frame's groups of samples, then along them.

Frame f is centred in hop f. Shapes: C channels, N samples, F = N / hop frames, G groups of at most K bins; a spectrum
is [G, C, F, 2K], cosines and then sines of the bins in `bins` [G, K], where -1 stands for none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Wide = npt.NDArray[np.float64]
Bins = npt.NDArray[np.int64]
#: Directions in which a group of samples moves a spectrum by less than this (of the strongest) are left out.
NEGLIGIBLE = 1e-6


class ShortTime(nn.Module):
    """What both transforms share: frames of a window's length every hop, on bins with a weight each.

    The transform's matrix is `weights`' square root times window times cosines and sines. Hence `back` after `forward`
    filters by `weights`, where the windows' squares add up and a weight of 2 / window leaves a bin as it is.
    """

    first: Tensor
    second: Tensor

    def __init__(self, window: Wide, hop: int, bins: Bins, weights: Wide, group: int) -> None:
        super().__init__()
        size = len(window)
        # A whole number of hops, as many on each side of the frame's middle.
        self.spans = 2 if size == 2 * hop else 1 + 2 * int(np.ceil((size / hop - 1) / 2))
        self.size, self.hop, self.group, self.bins = size, hop, group, bins
        lead = (self.spans * hop - size) // 2
        self.padded = np.pad(window, (lead, self.spans * hop - size - lead))
        self.amplitude = np.sqrt(weights)

    def waves(self, length: int) -> Wide:
        """Cosines and then sines of the bins over `length` samples, [G, 2K, length]; zeros for bin -1."""
        angle = 2 * np.pi * (self.bins[..., None] * np.arange(length) % self.size) / self.size
        used = (self.amplitude * (self.bins >= 0))[..., None]
        return np.concatenate([np.cos(angle) * used, np.sin(angle) * used], axis=1)

    def hops(self, samples: Tensor, dim: int, count: int) -> list[Tensor]:
        """What each of `count` frames sees, span by span, of something with one entry a hop along `dim`."""
        return [samples.narrow(dim, span, count) for span in range(self.spans)]


class LowBins(ShortTime):
    """Few, low bins. group: samples described together; it divides the hop, and half of it under two-hop windows."""

    def __init__(self, window: Wide, hop: int, bins: Bins, weights: Wide, group: int) -> None:
        super().__init__(window, hop, bins[None], weights[None], group)
        basis = (self.waves(len(self.padded))[0] * self.padded).T
        pieces = basis.reshape(-1, group, basis.shape[1])
        directions, strength, _ = np.linalg.svd(pieces.transpose(1, 0, 2).reshape(group, -1), full_matrices=False)
        first = directions[:, strength > NEGLIGIBLE * strength[0]]
        self.register_buffer("first", single(first), persistent=False)
        self.register_buffer("second", single((first.T @ pieces).reshape(-1, basis.shape[1])), persistent=False)
        self.margin = (self.spans - 1) * hop // 2 // group

    def forward(self, samples: Tensor) -> Tensor:
        """[C, N] to [1, C, F, 2K]."""
        channels, length = samples.shape
        groups = samples.reshape(channels, -1, self.group) @ self.first
        groups = functional.pad(groups, (0, 0, self.margin, self.margin))
        by_hop = groups.reshape(channels, -1, self.hop // self.group * self.first.shape[1])
        frames = torch.cat(self.hops(by_hop, 1, length // self.hop), dim=2)
        return (frames @ self.second)[None]

    def back(self, spectrum: Tensor) -> Tensor:
        """Overlap-add: [1, C, F, 2K] to [C, N], for windows of two hops."""
        rising, falling = (spectrum[0] @ self.second.mT).chunk(2, dim=2)
        by_hop = overlap_add(rising, falling, 1)
        groups = by_hop.reshape(len(by_hop), -1, self.first.shape[1])[:, self.margin : -self.margin]
        return (groups @ self.first.mT).flatten(1)


class ManyBins(ShortTime):
    """Any bins. group: samples that lie together; it divides hop and window, the window into an even number."""

    window: Tensor

    def __init__(self, window: Wide, hop: int, bins: Bins, weights: Wide, group: int) -> None:
        count = len(window) // group
        # Across its groups a frame is seen at `count` frequencies. A bin needs the one that it is a multiple away from;
        # the two that are real, 0 and count / 2, share a place.
        places: list[list[int]] = [[] for _ in range(count // 2)]
        for number, turns in enumerate(bins % count):
            places[min(turns, count - turns) % (count // 2)].append(number)
        most = max(map(len, places))
        index = np.array([place + [-1] * (most - len(place)) for place in places])
        super().__init__(window, hop, np.where(index < 0, -1, bins[index]), weights[index], group)
        rows = self.padded.reshape(-1, group)
        # Where the window is zero nothing has to be seen.
        seen = np.flatnonzero(rows.any(1))
        self.begin, self.end = int(seen[0]), int(seen[-1]) + 1
        across = real_waves(count, self.end - self.begin)
        waves = self.waves(len(window)).reshape(count // 2, -1, count, group)
        second = np.einsum("pgn,gkns->pgsk", across[:, :, :count], waves)
        self.register_buffer("window", single(rows[self.begin : self.end, None]), persistent=False)
        self.register_buffer("first", single(across.reshape(count, -1)), persistent=False)
        self.register_buffer("second", single(second), persistent=False)
        self.margin = (self.spans - 1) * hop // 2

    def forward(self, samples: Tensor) -> Tensor:
        """[C, N] to [G, C, F, 2K]."""
        channels, length = samples.shape
        count, per_hop = length // self.hop, self.hop // self.group
        padded = functional.pad(samples, (self.margin, self.margin))
        by_hop = padded.reshape(channels, -1, per_hop, self.group).permute(2, 0, 1, 3)
        pieces = [
            piece[max(0, self.begin - start) : max(0, self.end - start)]
            for start, piece in zip(range(0, self.spans * per_hop, per_hop), self.hops(by_hop, 2, count), strict=True)
        ]
        frames = torch.cat(pieces).flatten(1, 2) * self.window
        cosines, sines = (self.first @ frames.flatten(1)).reshape(2, len(self.bins), -1, self.group)
        spectrum: Tensor = cosines @ self.second[0] + sines @ self.second[1]
        return spectrum.reshape(len(spectrum), channels, count, -1)

    def back(self, spectrum: Tensor) -> Tensor:
        """Overlap-add: [G, C, F, 2K] to [C, N], for windows of two hops."""
        groups, channels, count, _ = spectrum.shape
        across = (spectrum.flatten(1, 2) @ self.second.mT).reshape(2 * groups, -1)
        frames = (self.first.mT @ across).reshape(2 * groups, -1, self.group) * self.window
        rising, falling = frames.reshape(2, -1, channels, count, self.group)
        by_hop = overlap_add(rising, falling, 2)
        return by_hop.permute(1, 2, 0, 3).flatten(1)[:, self.margin : -self.margin]


def overlap_add(rising: Tensor, falling: Tensor, dim: int) -> Tensor:
    """Frames' first and second halves, [.., F, ..] each, summed where they overlap: [.., F + 1, ..]."""
    ahead = [0, 0] * (rising.dim() - 1 - dim)
    return functional.pad(rising, (*ahead, 0, 1)) + functional.pad(falling, (*ahead, 1, 0))


def real_waves(count: int, length: int) -> Wide:
    """The real Fourier basis of period `count` as [2, count / 2, length], orthonormal over a period.

    Cosines, then sines; the sine of frequency 0, which is none, gives its place to the cosine of count / 2.
    """
    time, frequency = np.arange(length), np.arange(1, count // 2)[:, None]
    angle = 2 * np.pi * (frequency * time % count) / count
    cosines = np.concatenate([np.ones((1, length)), np.sqrt(2) * np.cos(angle)])
    sines = np.concatenate([np.cos(np.pi * time)[None], np.sqrt(2) * np.sin(angle)])
    return np.asarray(np.stack([cosines, sines]) / np.sqrt(count))


def half_sine(size: int) -> Wide:
    """The window whose square adds up to one at half its length."""
    return np.asarray(np.sin(np.pi * (np.arange(size) + 0.5) / size))


def hann(size: int) -> Wide:
    """The features' window."""
    return np.hanning(size + 1)[:-1]


def single(values: npt.NDArray[Any]) -> Tensor:
    """A constant in single precision."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
