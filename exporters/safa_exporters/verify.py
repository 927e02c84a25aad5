"""An export held against its original: every graph on several shapes, every step of trajectories, and the sound.

Steps are compared on the original's own latents, so that one step's error is not counted in the next; the sound is
compared after the export has run the whole trajectory by itself, where errors add up as they will in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_exporters.graph import Graph, Part, Sampling, Source
from safa_exporters.parts import Recorder
from safa_exporters.precision import TOLERANCES
from safa_stream.models.backends.graphs import Arrays
from safa_stream.models.builtin.features import log_mel
from safa_stream.types import FloatArray

Report = Callable[[str], None]
#: Sizes at which free axes are tried besides those of the trajectories: rows of different steps together, and lengths.
BATCHES, TIMES = (3, 1, 5), (40, 64, 184)


@dataclass(frozen=True, slots=True)
class GraphParity:
    """max_error: largest difference; relative_error: largest norm(difference) / norm(original) of one call."""

    name: str
    calls: int
    shapes: int
    max_error: float
    relative_error: float
    steps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """What verification found. snr_db and audio_log_mel_error: of the sound, the worst of all trajectories."""

    graphs: tuple[GraphParity, ...]
    audio_snr_db: float
    audio_log_mel_error: float
    verified: bool

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and for --json."""
        return asdict(self)


def verify(
    source: Source,
    originals: Mapping[str, Part],
    exports: Mapping[str, Part],
    precisions: Mapping[str, str],
    samplings: Sequence[Sampling],
    report: Report = lambda line: None,
) -> Parity:
    """Compare an export's parts with the originals. precisions: of the graphs, by name."""
    graphs = {graph.name: graph for graph in source.graphs()}
    calls: dict[str, list[Arrays]] = {name: [] for name in graphs}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in graphs}
    steps: dict[str, list[float]] = {name: [] for name in graphs}
    worst_snr, worst_mel = float("inf"), 0.0
    for number, sampling in enumerate(samplings, 1):
        report(f"trajectory {number} of {len(samplings)}: {sampling.steps} steps, guidance {sampling.guidance:g}")
        recorders = {name: Recorder(part) for name, part in originals.items()}
        expected = source.sample(recorders, sampling)
        for name, recorder in recorders.items():
            for inputs, result in recorder.calls:
                errors = difference(exports[name](inputs), result)
                found[name].append(errors)
                steps[name].append(errors[1])
                calls[name].append(inputs)
        sound = source.sample(exports, sampling)
        worst_snr = min(worst_snr, signal_to_noise(sound, expected))
        worst_mel = max(worst_mel, log_mel_error(sound, expected))
    shapes = {name: 0 for name in graphs}
    for name, graph in graphs.items():
        report(f"{name}: other shapes")
        for reshaped in other_shapes(graph, calls[name]):
            found[name].append(difference(exports[name](reshaped), originals[name](reshaped)))
            shapes[name] += 1
    parts = tuple(
        GraphParity(
            name,
            len(found[name]),
            shapes[name],
            max(error for error, _ in found[name]),
            max(error for _, error in found[name]),
            tuple(steps[name]),
        )
        for name in graphs
    )
    good = all(part.relative_error <= TOLERANCES[precisions[part.name]].graph for part in parts)
    heard = max(TOLERANCES[precision].log_mel for precision in precisions.values())
    return Parity(parts, worst_snr, worst_mel, good and worst_mel <= heard)


def other_shapes(graph: Graph, calls: Sequence[Arrays]) -> list[dict[str, npt.NDArray[Any]]]:
    """Inputs whose free axes are of other sizes: rows of different calls side by side, cut or wrapped to length."""
    units: dict[str, list[int]] = {}
    for axes in graph.axes.values():
        for axis in axes.values():
            # Axes of one name count the same units, of which their dimensions may be different multiples.
            least = min(each.multiple for all in graph.axes.values() for each in all.values() if each.name == axis.name)
            tried = BATCHES if axis.name == "batch" else TIMES
            units[axis.name] = [min(max(-(-size // least), axis.least), axis.most) for size in tried]
    tries = max((len(each) for each in units.values()), default=0)
    return [
        _reshaped(graph, calls[turn % len(calls) :: 7], {name: each[turn] for name, each in units.items()})
        for turn in range(tries)
    ]


def _reshaped(graph: Graph, calls: Sequence[Arrays], units: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    out: dict[str, npt.NDArray[Any]] = {}
    for name in graph.inputs:
        value, axes = np.asarray(calls[0][name]), graph.axes.get(name, {})
        for dimension, axis in axes.items():
            if axis.name == "batch" and dimension == 0:
                value = np.concatenate([np.asarray(calls[row % len(calls)][name])[:1] for row in range(units["batch"])])
            else:
                value = value.take(np.arange(units[axis.name] * axis.multiple) % value.shape[dimension], dimension)
        out[name] = np.ascontiguousarray(value)
    return out


def difference(found: FloatArray, expected: FloatArray) -> tuple[float, float]:
    """(largest difference, norm of the difference over the norm of what was expected)."""
    off = np.asarray(found, np.float64) - expected
    return float(np.abs(off).max()), float(np.linalg.norm(off)) / max(float(np.linalg.norm(expected)), 1e-12)


def signal_to_noise(found: FloatArray, expected: FloatArray) -> float:
    """The original's power over the difference's, dB; infinite where there is none."""
    noise = float(np.square(np.asarray(found, np.float64) - expected).sum())
    signal = float(np.square(np.asarray(expected, np.float64)).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10(max(signal, 1e-30) / noise))


def log_mel_error(found: FloatArray, expected: FloatArray) -> float:
    """Relative error of the log-mel pictures of all channels (rates other than 48 kHz only move its bands)."""
    return difference(log_mel(found), log_mel(expected))[1]
