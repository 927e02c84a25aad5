"""How distinct passages of recordings are: whether their nearest neighbours in other recordings are of the same sound.

A long recording of thunder is mostly rain, one of a whale mostly sea. Whoever asks for a whale wants to hear one, so
styles are drawn rather from passages that could not as well be something else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from safa_stream.models.builtin.features import Array

Labels = npt.NDArray[np.intp]

#: Neighbours of a passage that are asked.
NEIGHBOURS = 15
#: Leading latents that are described: by their mean, their spread, and the spread of their change from frame to frame.
DESCRIBED = 40
#: Rows whose distances are taken at once.
BLOCK = 256
#: A passage none of whose neighbours are of its sound is still drawn, as this share of them would make it.
LEAST = 0.1
#: How much the distinct ones are preferred: their odds are this power of the share.
PREFERENCE = 2.0


def features(latents: Array) -> Array:
    """What a passage of latents [T, K] is compared by, [3 * min(K, 40)]."""
    leading = latents[:, :DESCRIBED]
    change = np.diff(leading, axis=0).std(0) if len(leading) > 1 else np.zeros(leading.shape[1])
    return np.concatenate([leading.mean(0), np.log(leading.std(0) + 0.1), np.log(change + 0.1)]).astype(np.float32)


def distinctness(rows: Array, sounds: Labels, recordings: Labels) -> Array:
    """Share [R] of each passage's neighbours that are of its sound, for features [R, D]; of the same recording none.

    A neighbour counts by the inverse root of the number of its sound's passages, so that large classes do not win by
    number. 0 for all where there is but one recording.
    """
    scaled = ((rows - rows.mean(0)) / (rows.std(0) + 1e-6)).astype(np.float64)
    squares, weight = (scaled**2).sum(1), np.bincount(sounds)[sounds] ** -0.5
    out = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        distance = squares[block, None] + squares[None] - 2.0 * scaled[block] @ scaled.T
        distance[recordings[block, None] == recordings[None]] = np.inf
        nearest = distance.argsort(axis=1, kind="stable")[:, :NEIGHBOURS]
        counted = weight[nearest] * np.isfinite(np.take_along_axis(distance, nearest, axis=1))
        own = counted * (sounds[nearest] == sounds[block, None])
        out[block] = own.sum(1) / np.maximum(counted.sum(1), 1e-12)
    return out


def preference(rows: Array, sounds: Labels, recordings: Labels) -> Array:
    """Factors [R] by which passages are drawn more often."""
    return np.asarray((distinctness(rows, sounds, recordings) + LEAST) ** PREFERENCE, np.float32)
