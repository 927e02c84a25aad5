"""The experiment's figures as functions of embeddings, class scores and cosines; no sound, no network.

Shapes: n windows or clips, D values of an embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from safa_stream.evaluation import frechet
from safa_stream.evaluation.embedding import Projection
from safa_stream.models.builtin.features import Array
from safa_stream.types import DoubleArray

#: Most components in which sets are compared: few windows cannot tell the covariance of a thousand dimensions.
COMPONENTS = 64
#: Added to every class's share, so that a class that is never heard has a logarithm.
SHARE_FLOOR = 1e-7


def components_for(windows: int, size: int) -> int:
    """Components in which sets of so many windows of `size` values are compared: at least two windows for each."""
    return max(1, min(COMPONENTS, size, windows // 2))


def set_distance(reference: Array, rows: Array, projection: Projection, count: int) -> float:
    """Fréchet distance of two sets of windows [n, D] in the projection's components, both cut to `count` windows."""
    one, two = (projection(side).astype(np.float64) for side in (reference, rows))
    return frechet.frechet_distance(frechet.spread_rows(one, count), frechet.spread_rows(two, count))


def shares(scores: npt.ArrayLike) -> DoubleArray:
    """Scores [n, K] of a clip's windows as shares [K] that sum to 1."""
    mean = np.asarray(scores, np.float64).mean(0) + SHARE_FLOOR
    return np.asarray(mean / mean.sum())


def divergence(reference: DoubleArray, made: DoubleArray) -> float:
    """KL(reference || made) in nats of two shares [K]."""
    return float((reference * np.log(reference / made)).sum())


def mean_cosine(rows: npt.ArrayLike) -> float:
    """Mean cosine between all pairs of rows [n, D]; nan for fewer than two."""
    x = np.asarray(rows, np.float64)
    if len(x) < 2:
        return float("nan")
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12)
    return float((x @ x.T)[np.triu_indices(len(x), 1)].mean())


def cosine_to(rows: npt.ArrayLike, direction: npt.ArrayLike) -> float:
    """Mean cosine of rows [n, D] with one direction [D]."""
    x, y = np.asarray(rows, np.float64), np.asarray(direction, np.float64)
    return float((x @ y / (np.linalg.norm(x, axis=1) * np.linalg.norm(y) + 1e-12)).mean())


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; nan for fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def jackknife_error(without_each: Sequence[float]) -> float:
    """Standard error of a figure from its values with each clip left out; nan for fewer than two."""
    count = len(without_each)
    return float(np.std(without_each) * np.sqrt(count - 1)) if count > 1 else float("nan")
