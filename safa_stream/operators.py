"""The equations that join two views where they overlap: the paper's swaps, and the averages that they replace.

SaFa is "Latent Swap Joint Diffusion for 2D Long-Form Latent Generation" (arXiv 2502.05130). Time is axis -2 of
[..., T, F] arrays; Right(X^i) is the left view's last O frames, Left(X^{i+1}) the right view's first O.
"""

from __future__ import annotations

from typing import Literal

import array_api_compat
import numpy as np
import numpy.typing as npt

from safa_stream.errors import UsageError
from safa_stream.types import Array

Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]
Along = Literal["frames", "rows"]


def self_loop_mask(overlap: int, interval: int = 1) -> Mask:
    """W_swap [O] of Eq. 10: W[m] = (1 - (-1)^floor((m - 1) / w)) / 2 for m = 1..O; True takes Right(X^i).

    The first `interval` frames are Left(X^{i+1})'s. Raises UsageError unless interval >= 1.
    """
    if interval < 1:
        raise UsageError(f"the swap interval must be at least 1 frame, not {interval}")
    return np.asarray((np.arange(overlap) // interval) % 2 == 1)


def self_loop_swap(right: Array, left: Array, interval: int = 1) -> Array:
    """Eq. 9: the merged overlap [..., O, F]; both views continue from it. Every frame equals exactly one parent's."""
    return choose(self_loop_mask(right.shape[-2], interval), right, left)


def reference_mask(frames: int, interval: int = 1) -> Mask:
    """W_refer [frames] of Eq. 11, the same square wave; True takes the reference."""
    return self_loop_mask(frames, interval)


def reference_swap(mid: Array, reference_mid: Array, interval: int = 1, along: Along = "frames") -> Array:
    """Eq. 11: Mid(X^i) [..., M, F] with every second group of `interval` frames (or rows, F) from the reference."""
    return choose(reference_mask(mid.shape[-2 if along == "frames" else -1], interval), reference_mid, mid, along)


def choose(mask: Mask, first: Array, second: Array, along: Along = "frames") -> Array:
    """`first` where the mask [T] (or [F] along rows) is True, else `second`; frames are copied, never mixed."""
    xp = array_api_compat.array_namespace(first, second)
    return xp.where(like(_column(mask, along), second), first, second)


def blend(first: Array, second: Array, share: npt.ArrayLike) -> Array:
    """share * first + (1 - share) * second, the share [T] or a number, 0..1."""
    given = np.asarray(share, np.float32)
    weight = _column(given, "frames") if given.ndim else given
    rest = _column(1 - given, "frames") if given.ndim else 1 - given
    return like(weight, first) * first + like(rest, first) * second


def average(right: Array, left: Array) -> Array:
    """MultiDiffusion's merge (arXiv 2302.08113): the mean of both views."""
    return blend(right, left, 0.5)


def triangular(right: Array, left: Array) -> Array:
    """MD*: the mean weighted by a triangular window over each view, a straight ramp from Right to Left."""
    return blend(right, left, right_share(right.shape[-2]))


def right_share(overlap: int) -> Weights:
    """The weight [O] of Right(X^i) under triangular windows: (O - m) / (O + 1) for m = 0..O-1."""
    return ((overlap - np.arange(overlap)) / (overlap + 1)).astype(np.float32)


def view_window(view: int, method: str) -> Weights:
    """A view's weights [L] in an averaged canvas: "average" is flat, "triangular" rises to the middle and falls."""
    if method == "average":
        return np.ones(view, np.float32)
    if method == "triangular":
        return np.minimum(np.arange(1, view + 1), np.arange(view, 0, -1)).astype(np.float32)
    raise UsageError(f"no averaging window is called {method!r}; there are average and triangular")


def past_share(view: int, overlap: int, earlier: int, method: str) -> Weights:
    """The weight [O] of what `earlier` views left in the next view's first O frames, when they and it are averaged.

    Beyond half a view of overlap several earlier views lie on one frame; up to it this is `average` or `triangular`.
    """
    window, hop = view_window(view, method).astype(np.float64), view - overlap
    past = np.zeros(overlap)
    for back in range(1, min(earlier, -(-view // hop) - 1) + 1):
        covered = window[back * hop :]
        past[: len(covered)] += covered[:overlap]
    return np.asarray(past / (past + window[:overlap]), np.float32)


def like(values: npt.NDArray[np.generic], example: Array) -> Array:
    """Numpy values in the array library and on the device of `example`; floats take its precision."""
    xp = array_api_compat.array_namespace(example)
    dtype = xp.bool if values.dtype == np.bool_ else example.dtype
    return xp.asarray(values, dtype=dtype, device=array_api_compat.device(example))


def _column(values: npt.NDArray[np.generic], along: Along) -> npt.NDArray[np.generic]:
    return values[:, None] if along == "frames" else values
