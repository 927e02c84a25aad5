"""Where the patches of the built-in transformer lie: their grid moves by a frame or so at scattered noise levels.

A transformer whose token is `patch` frames leaves small steps between patches. So the grid is moved by a number of
frames that depends, scattered, on the noise level: what one step leaves, the next smooths. The frames that this adds at
the ends are mirrored ones. With patch 1 nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

#: Noise levels times this, rounded down, say by how many frames the patches are moved.
PHASE_SCATTER = 1797.0


def patch_offset(level: float, patch: int) -> int:
    """By how many frames the patches are moved at a noise level."""
    return int(level * PHASE_SCATTER) % patch


def patch_phases(levels: Sequence[float], length: int, patch: int) -> tuple[Indices, Indices]:
    """Frames [N, length + patch] to show the network, and where the frames asked for then lie, [N, length]."""
    extra = patch if patch > 1 else 0
    offset = np.array([patch_offset(level, patch) for level in levels], dtype=np.int64)[:, None]
    frame = np.arange(length + extra)[None] - offset
    mirrored = np.abs(frame)
    mirrored = np.where(mirrored >= length, 2 * (length - 1) - mirrored, mirrored)
    return mirrored, np.arange(length)[None] + offset


def real_shares(offset: int, length: int, patch: int) -> tuple[float, ...]:
    """Which part of each patch that the network is shown, length / patch + 1 of them, is not mirrored."""
    frame = np.arange(length + patch) - offset
    real = ((frame >= 0) & (frame < length)).reshape(-1, patch).mean(1)
    return tuple(float(share) for share in real)
