"""A linear probe: multinomial logistic regression on standardised embeddings, fitted by limited-memory BFGS."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safa_stream.types import DoubleArray

Labels = npt.NDArray[np.intp]

#: Curvature pairs that the minimiser remembers.
MEMORY = 10


@dataclass(frozen=True, slots=True)
class Probe:
    """weights [D + 1, classes] on features standardised by mean and scale [D]; the last row is the bias."""

    mean: DoubleArray
    scale: DoubleArray
    weights: DoubleArray

    def log_probabilities(self, rows: npt.ArrayLike) -> DoubleArray:
        """Embeddings [n, D] to log probabilities [n, classes]."""
        x = (np.asarray(rows, np.float64) - self.mean) / self.scale
        return _log_softmax(x @ self.weights[:-1] + self.weights[-1])

    def clip(self, rows: npt.ArrayLike) -> DoubleArray:
        """Mean log probability [classes] of the windows of one clip."""
        return np.asarray(self.log_probabilities(rows).mean(0))


def fit(rows: npt.ArrayLike, labels: Labels, classes: int, penalty: float = 1e-2, iterations: int = 150) -> Probe:
    """Fit a probe on embeddings [n, D] with labels [n]; every class counts the same whatever its number of windows.

    penalty: L2 on the weights of standardised features, in units of the mean loss.
    """
    x = np.asarray(rows, np.float64)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    x = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], axis=1)
    counts = np.bincount(labels, minlength=classes)
    weight = 1.0 / (np.maximum(counts, 1)[labels] * max(1, (counts > 0).sum()))
    target = np.eye(classes)[labels]

    def loss(flat: DoubleArray) -> tuple[float, DoubleArray]:
        w = flat.reshape(-1, classes)
        logp = _log_softmax(x @ w)
        held = w.copy()
        held[-1] = 0.0
        value = -(weight * logp[np.arange(len(labels)), labels]).sum() + 0.5 * penalty * (held**2).sum()
        slope = x.T @ ((np.exp(logp) - target) * weight[:, None]) + penalty * held
        return float(value), slope.ravel()

    return Probe(mean, scale, _minimise(loss, np.zeros(x.shape[1] * classes), iterations).reshape(-1, classes))


def _log_softmax(z: DoubleArray) -> DoubleArray:
    z = z - z.max(1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(1, keepdims=True)))


def _minimise(loss: Callable[[DoubleArray], tuple[float, DoubleArray]], x: DoubleArray, iterations: int) -> DoubleArray:
    """Limited-memory BFGS with a backtracking search (Nocedal and Wright, algorithm 7.5)."""
    value, slope = loss(x)
    pairs: deque[tuple[DoubleArray, DoubleArray]] = deque(maxlen=MEMORY)
    for _ in range(iterations):
        direction = -_two_loop(slope, pairs)
        step, falling = 1.0, float(direction @ slope)
        while True:
            moved, (new_value, new_slope) = x + step * direction, loss(x + step * direction)
            if new_value <= value + 1e-4 * step * falling or step < 1e-10:
                break
            step *= 0.5
        s, y = moved - x, new_slope - slope
        if float(s @ y) > 1e-12:
            pairs.append((s, y))
        done = value - new_value < 1e-7 * max(1.0, abs(value))
        x, value, slope = moved, new_value, new_slope
        if done:
            break
    return x


def _two_loop(slope: DoubleArray, pairs: deque[tuple[DoubleArray, DoubleArray]]) -> DoubleArray:
    q, kept = slope.copy(), []
    for s, y in reversed(pairs):
        a = float(s @ q) / float(y @ s)
        q -= a * y
        kept.append(a)
    if pairs:
        s, y = pairs[-1]
        q *= float(s @ y) / float(y @ y)
    for (s, y), a in zip(pairs, reversed(kept), strict=True):
        q += s * (a - float(y @ q) / float(y @ s))
    return q
