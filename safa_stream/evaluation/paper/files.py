"""Embedding networks from a user's ONNX or TFLite file: waveforms of 16 kHz in, or VGGish's log-mel patches."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from safa_stream.errors import UsageError
from safa_stream.evaluation import spectra
from safa_stream.evaluation.embedding import filled
from safa_stream.models.builtin.features import SAMPLE_RATE, Array, hz_to_mel
from safa_stream.types import DoubleArray

RATE = 16_000
#: A window of a network that takes any length of waveform, in samples (0.96 s, as VGGish's).
WINDOW = 15_360
#: VGGish's patch: 96 frames of 64 bands; a frame is 25 ms every 10 ms.
PATCH, BANDS, FRAME, HOP, FFT_SIZE = 96, 64, 400, 160, 512
LOW_HZ, HIGH_HZ, OFFSET = 125.0, 7500.0, 0.01

#: One input array to one output array.
Net = Callable[[Array], Array]


class FileEmbedder:
    """A network's first output, taken as the embedding of windows of about a second."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            UsageError: no such file, no runtime for it, not such a network, or inputs that are neither of the two.
        """
        if not path.is_file():
            raise UsageError(f"no embedding network at {path}")
        openers = {".onnx": open_onnx, ".tflite": _tflite}
        if path.suffix not in openers:
            raise UsageError(f"{path.name} is neither .onnx nor .tflite; export the network to one of them")
        self._net, self._shape = openers[path.suffix](path)
        self.name = path.name
        sizes = [size for size in self._shape if size not in (1, None)]
        self._patches = sorted(size or 0 for size in sizes)[-2:] == [BANDS, PATCH]
        if not self._patches and len(sizes) > 1:
            raise UsageError(f"{path.name} takes {list(self._shape)}: neither a 16 kHz waveform nor patches of 96 x 64")
        self._window = WINDOW if self._patches or not sizes else int(sizes[0] or WINDOW)

    def embed(self, samples: Array) -> Array:
        """[channels, N] at 48 kHz to [windows, D]; a short sound is repeated to fill one window."""
        low = soxr.resample(spectra.mono(samples), SAMPLE_RATE, RATE).astype(np.float32)
        needed = FRAME + (PATCH - 1) * HOP if self._patches else self._window
        low = filled(low, needed)
        if self._patches:
            windows = list(vggish_patches(low))
        else:
            windows = list(low[: len(low) // self._window * self._window].reshape(-1, self._window))
        return np.stack([self._net(window.reshape(self._fit(window))).ravel() for window in windows])

    def _fit(self, window: Array) -> tuple[int, ...]:
        """The network's input shape for one window: free sizes are 1, or the window's length for a waveform."""
        if self._patches:
            return tuple(size or 1 for size in self._shape)
        free = [at for at, size in enumerate(self._shape) if size is None]
        fixed = any(size not in (1, None) for size in self._shape)
        shape = [size or 1 for size in self._shape]
        if not fixed and free:
            shape[free[-1]] = len(window)
        return tuple(shape)


def vggish_bands() -> DoubleArray:
    """VGGish's triangular bands [257, 64] over 125 to 7500 Hz, straight on the mel scale; nothing at 0 Hz."""
    mel = hz_to_mel(np.fft.rfftfreq(FFT_SIZE, 1.0 / RATE))
    edges = np.linspace(hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ), BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    bands = np.maximum(0.0, np.minimum((mel[:, None] - low) / (centre - low), (high - mel[:, None]) / (high - centre)))
    bands[0] = 0.0
    return np.asarray(bands)


def vggish_patches(samples: Array) -> Array:
    """VGGish's input [patches, 96, 64] of samples [N] at 16 kHz: log(mel magnitude + 0.01), patches side by side.

    As in VGGish's own front end (tensorflow/models, research/audioset/vggish).
    """
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FRAME) / FRAME)
    parts = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), FRAME)[::HOP]
    level = np.log(np.abs(np.fft.rfft(parts * window, FFT_SIZE, axis=1)) @ vggish_bands() + OFFSET)
    count = len(level) // PATCH
    return np.asarray(level[: count * PATCH].reshape(count, PATCH, BANDS), np.float32)


def open_onnx(path: Path) -> tuple[Net, tuple[int | None, ...]]:
    """A network of one input, and that input's shape, None where it is free. Raises UsageError for another."""
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UsageError(f'{path.name} needs ONNX Runtime: pip install "safa-stream[cpu]"') from error
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise UsageError(f"{path} is not an ONNX network that can be run: {str(error).splitlines()[0]}") from error
    taken = session.get_inputs()
    if len(taken) != 1:
        raise UsageError(f"{path.name} takes {len(taken)} inputs; an embedding network takes one")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in taken[0].shape)

    def run(window: Array) -> Array:
        return np.asarray(session.run(None, {taken[0].name: window})[0], np.float32)

    return run, shape


def _tflite(path: Path) -> tuple[Net, tuple[int | None, ...]]:
    try:
        runtime: Any = importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise UsageError(f"{path.name} needs a runtime for .tflite files: pip install ai-edge-litert") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = runtime.Interpreter(model_path=str(path), num_threads=1)
        net.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{path} is not a .tflite network that can be run") from error
    given, told = net.get_input_details(), net.get_output_details()
    if len(given) != 1:
        raise UsageError(f"{path.name} takes {len(given)} inputs; an embedding network takes one")
    signature = given[0]["shape_signature"]
    shape = tuple(int(size) if size > 0 else None for size in signature)

    def run(window: Array) -> Array:
        if None in shape:
            net.resize_tensor_input(given[0]["index"], window.shape)
            net.allocate_tensors()
        net.set_tensor(given[0]["index"], window)
        net.invoke()
        return np.array(net.get_tensor(told[0]["index"]), np.float32)

    return run, shape
