"""Embeddings of one-second windows: an AudioSet classifier's where its file is given, else log-mel statistics."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from safa_stream.errors import UsageError
from safa_stream.evaluation import spectra
from safa_stream.models.builtin.features import SAMPLE_RATE, Array

#: YAMNet's input, 0.975 s at 16 kHz, and the tensor of its last pooling (1024 values).
CLASSIFIER_RATE, CLASSIFIER_WINDOW = 16_000, 15_600
CLASSIFIER_TENSOR = "tower0/network/layer28/reduce_mean"
#: The same window in mel frames, for the statistics.
STATISTICS_WINDOW = 97
STATISTICS_GROUP = 4
STATISTICS_PERCENTILES = (10.0, 50.0, 90.0)
#: Modulation bands of a window in Hz.
STATISTICS_MODULATION = (1.0, 3.0, 6.0, 12.0, 25.0, 50.0)
STATISTICS_COMPONENTS = 64


class Embedder(Protocol):
    """Samples to one row a window of about a second."""

    name: str

    def embed(self, samples: Array) -> Array:
        """[channels, N] at 48 kHz to [windows, D]; at least one window, a short sound is repeated to fill it."""


def filled(samples: Array, length: int) -> Array:
    """[N] repeated until it has at least `length` samples."""
    return samples if len(samples) >= length else np.tile(samples, -(-length // max(1, len(samples))))[:length]


class Classifier:
    """YAMNet's embedding (1024 values a window) through the LiteRT runtime."""

    def __init__(self, path: Path) -> None:
        """Open the .tflite file.

        Raises:
            UsageError: the runtime is not installed, or the file is missing or not such a network.
        """
        try:
            runtime: Any = importlib.import_module("ai_edge_litert.interpreter")
        except ImportError as error:
            raise UsageError("--classifier needs a runtime for .tflite files: pip install ai-edge-litert") from error
        if not path.is_file():
            raise UsageError(f"no classifier at {path}; leave --classifier out to measure with log-mel statistics")
        try:
            with warnings.catch_warnings():
                # Keeping inner tensors is called a debugging aid; the embedding is one of them.
                warnings.simplefilter("ignore")
                self._net = runtime.Interpreter(
                    model_path=str(path), experimental_preserve_all_tensors=True, num_threads=1
                )
            self._net.allocate_tensors()
            self._input = self._net.get_input_details()[0]["index"]
            found = [t for t in self._net.get_tensor_details() if t["name"] == CLASSIFIER_TENSOR]
            self._output, (self._scale, self._zero) = found[0]["index"], found[0]["quantization"]
            self._scores = self._net.get_output_details()[0]["index"]
        except (ValueError, RuntimeError, IndexError) as error:
            raise UsageError(f"{path} is not a YAMNet .tflite file with '{CLASSIFIER_TENSOR}'") from error
        self.name = f"classifier {path.name}"

    def embed(self, samples: Array) -> Array:
        """[channels, N] to [windows, 1024]."""
        return self.hear(samples)[0]

    def hear(self, samples: Array) -> tuple[Array, Array]:
        """[channels, N] to embeddings [windows, 1024] and the scores 0..1 of 521 classes, [windows, 521]."""
        low = soxr.resample(spectra.mono(samples), SAMPLE_RATE, CLASSIFIER_RATE).astype(np.float32)
        low = filled(low, CLASSIFIER_WINDOW)
        windows = low[: len(low) // CLASSIFIER_WINDOW * CLASSIFIER_WINDOW].reshape(-1, CLASSIFIER_WINDOW)
        rows, scores = [], []
        for window in windows:
            self._net.set_tensor(self._input, window)
            self._net.invoke()
            rows.append((self._net.get_tensor(self._output).astype(np.float32).ravel() - self._zero) * self._scale)
            scores.append(self._net.get_tensor(self._scores).astype(np.float32).ravel())
        return np.stack(rows).astype(np.float32), np.stack(scores)


class Statistics:
    """Mean, spread, percentiles and modulation of the log-mel of a window, level-free: needs nothing but numpy."""

    name = "log-mel statistics"

    def embed(self, samples: Array) -> Array:
        """[channels, N] to [windows, 24 x (mean, deviation, three percentiles, five modulation bands)]."""
        return statistics(spectra.log_mel(samples))


def statistics(mel: Array) -> Array:
    """Statistics of a log-mel [J, B] by window."""
    if len(mel) < STATISTICS_WINDOW:
        mel = np.tile(mel, (-(-STATISTICS_WINDOW // max(1, len(mel))), 1))[:STATISTICS_WINDOW]
    count, bands = len(mel) // STATISTICS_WINDOW, mel.shape[1] // STATISTICS_GROUP
    grouped = mel[: count * STATISTICS_WINDOW].reshape(count, STATISTICS_WINDOW, bands, STATISTICS_GROUP).mean(3)
    level = grouped.mean((1, 2), keepdims=True)
    grouped = grouped - level
    percentiles = np.percentile(grouped, STATISTICS_PERCENTILES, axis=1)
    centred = grouped - grouped.mean(1, keepdims=True)
    power = np.abs(np.fft.rfft(centred * np.hanning(STATISTICS_WINDOW)[:, None], axis=1)) ** 2
    hz = np.fft.rfftfreq(STATISTICS_WINDOW, 1.0 / spectra.FRAMES_PER_SECOND)
    edges = zip(STATISTICS_MODULATION, STATISTICS_MODULATION[1:], strict=False)
    modulation = [np.log(power[:, (hz >= a) & (hz <= b)].mean(1) + 1e-3) for a, b in edges]
    return np.concatenate([grouped.mean(1), np.log(grouped.std(1) + 0.05), *percentiles, *modulation], 1).astype(
        np.float32
    )


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Leading principal components of real windows: rows [n, D] to [n, K]."""

    mean: Array
    forward: Array

    @classmethod
    def fit(cls, rows: Array, components: int = STATISTICS_COMPONENTS, whiten: bool = True) -> Projection:
        """Fit on rows [n, D]. whiten: give every component unit variance; otherwise distances are kept as they are."""
        mean = rows.mean(0)
        centred = (rows - mean).astype(np.float64)
        variance, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
        order = np.argsort(variance)[::-1][:components]
        kept = order[variance[order] > 1e-10 * variance[order[0]]]
        scale = variance[kept] ** -0.5 if whiten else np.ones(len(kept))
        return cls(mean, np.asarray(vectors[:, kept] * scale, np.float32))

    def __call__(self, rows: Array) -> Array:
        """[n, D] to [n, K]."""
        return np.asarray((rows - self.mean) @ self.forward, np.float32)


def embedder(classifier: Path | None) -> Embedder:
    """The classifier's embedding where its file is given, else statistics.

    Raises:
        UsageError: as :class:`Classifier`.
    """
    return Classifier(classifier) if classifier else Statistics()
