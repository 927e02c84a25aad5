"""Fréchet distance between sets of embeddings, and the same between halves of the recordings as its yardstick.

The distance of finite sets grows as they shrink, so sets that are compared with each other are cut to equal sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from safa_stream.types import DoubleArray


def shrunk_covariance(rows: DoubleArray) -> DoubleArray:
    """Covariance [D, D] of rows [n, D], shrunk towards a multiple of the identity (Ledoit and Wolf 2004)."""
    count, size = rows.shape
    centred = rows - rows.mean(0)
    sample = centred.T @ centred / count
    level = np.trace(sample) / size
    distance = ((sample - level * np.eye(size)) ** 2).sum()
    noise = (((centred**2).sum(1) ** 2).sum() / count - (sample**2).sum()) / count
    share = min(1.0, max(0.0, noise / distance)) if distance > 0.0 else 0.0
    return np.asarray((1.0 - share) * sample + share * level * np.eye(size))


def frechet_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of two sets of rows [n, D] (Dowson and Landau 1982)."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    one, two = shrunk_covariance(a), shrunk_covariance(b)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0.0)).sum()
    return max(0.0, float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2.0 * cross))


def spread_rows(rows: DoubleArray, count: int) -> DoubleArray:
    """`count` rows taken evenly over all of them."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def halves(groups: Sequence[str], generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A random split of rows into two halves of nearly equal size by group: True = first half.

    One group alone is split in the middle of its rows.
    """
    names, which, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return np.arange(len(which)) < len(which) // 2
    target = len(which) / 2
    best: tuple[float, npt.NDArray[np.bool_]] | None = None
    for _ in range(20):
        chosen = np.zeros(len(names), bool)
        total = 0
        for index in generator.permutation(len(names)):
            if abs(total + counts[index] - target) < abs(total - target):
                chosen[index] = True
                total += counts[index]
        away = abs(total - target)
        if best is None or away < best[0]:
            best = (away, chosen)
    assert best is not None
    return np.asarray(best[1][which])


def half_distance(rows: DoubleArray, groups: Sequence[str], size: int, draws: int = 6, seed: int = 0) -> float:
    """Mean distance between two halves of the recordings, split by recording, of at most `size` rows each."""
    generator = np.random.default_rng(seed)
    out = []
    for _ in range(draws):
        first = halves(groups, generator)
        count = min(size, int(first.sum()), int((~first).sum()))
        out.append(frechet_distance(spread_rows(rows[first], count), spread_rows(rows[~first], count)))
    return float(np.mean(out))


def half_size(groups: Sequence[str], seed: int = 0) -> int:
    """Rows in the smaller of two halves split by group."""
    first = halves(groups, np.random.default_rng(seed))
    return int(min(first.sum(), (~first).sum()))
