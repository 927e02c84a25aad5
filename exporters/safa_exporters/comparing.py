"""Backends measured against each other on this machine: speed in turns, and how far each is from single precision.

Other programs on a machine make times jump, so all candidates are timed in turns within one run, and what is reported
is the best of many turns, as a ratio to torch's own fp32 ("eager") where torch is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa_stream.errors import SafaError
from safa_stream.models.backends.machine import Machine
from safa_stream.models.backends.spec import ENGINES, Backend
from safa_stream.models.builtin.network import Network, open_network
from safa_stream.models.builtin.runtime import BuiltinModel
from safa_stream.models.builtin.weights import Weights, graph_name
from safa_stream.types import FloatArray

Report = Callable[[str], None]
EAGER = Backend("torch")
BATCHES = (1, 2, 4, 8)
#: Turns of a comparison, and the time after which no more are begun, seconds.
TURNS, LONGEST = 25, 20.0


@dataclass(frozen=True, slots=True)
class Row:
    """One backend at one batch. seconds: the best call's; relative_error: against fp32; ratio: how often as fast as
    torch eager fp32, None without torch."""

    backend: str
    precision: str
    batch: int
    seconds: float
    ratio_to_torch_eager: float | None
    relative_error: float


@dataclass(frozen=True, slots=True)
class Left:
    """A backend that could not be measured, and why."""

    backend: str
    reason: str


def candidates(machine: Machine, weights: Weights) -> list[Backend]:
    """Backends that may run here: by what is installed, the processor's features, and the graphs that there are."""
    found = []
    for engine in ENGINES.values():
        if not may_run(engine.name, machine):
            continue
        for precision in engine.precisions:
            backend = Backend(engine.name, precision)
            own = graph_name("denoiser", backend)
            if not engine.name.startswith("torch") and not (weights.folder / own).is_file():
                continue
            if precision == "bf16" and engine.device == "cpu" and not has_bf16(machine):
                continue
            found.append(backend)
            if "cuda-graphs" in engine.options:
                found += [Backend(engine.name, precision, None, (word,)) for word in ("compile", "cuda-graphs")]
    return found


def inputs(weights: Weights, rows: int, frames: int = 162) -> tuple[FloatArray, ...]:
    """A batch such as streaming makes: rows at different noise levels, some with a known beginning."""
    size, condition = weights.config["network"]["latent_size"], weights.config["network"]["condition_size"]
    draw = np.random.default_rng(0)
    level = np.linspace(0.15, 0.95, rows, dtype=np.float32)
    clean = draw.standard_normal((rows, frames, size)).cumsum(1) / np.sqrt(np.arange(1, frames + 1))[None, :, None]
    noisy = (1 - level[:, None, None]) * clean + level[:, None, None] * draw.standard_normal(clean.shape)
    known = np.zeros((rows, frames), np.float32)
    known[1::2, : frames // 5] = 1
    told = 0.3 * draw.standard_normal((rows, condition))
    arrays = (noisy, level, told, clean * known[..., None], known)
    return tuple(np.ascontiguousarray(array, np.float32) for array in arrays)


def compare(
    weights: Weights, backends: Sequence[Backend], batches: Sequence[int], report: Report
) -> tuple[list[Row], list[Left]]:
    """Every backend at every batch, in turns; those that cannot run are told with the reason."""
    left: list[Left] = []
    calls: dict[Backend, Callable[[tuple[FloatArray, ...]], FloatArray]] = {}
    for backend in backends:
        report(f"opening {backend}")
        try:
            calls[backend] = _caller(weights, backend)
            calls[backend](inputs(weights, 1))
        except (SafaError, RuntimeError) as error:
            calls.pop(backend, None)
            left.append(Left(str(backend), str(error).splitlines()[0]))
    rows = []
    for batch in batches:
        report(f"batch {batch}: {len(calls)} backends in turns")
        given = inputs(weights, batch)
        best = in_turns({backend: _with(call, given) for backend, call in calls.items()})
        exact = _exact(calls, given)
        for backend, call in calls.items():
            ratio = best[EAGER] / best[backend] if EAGER in best else None
            off = float(np.linalg.norm(call(given) - exact) / np.linalg.norm(exact))
            rows.append(Row(str(backend), backend.precision, batch, best[backend], ratio, off))
    return rows, left


def in_turns(
    calls: Mapping[Any, Callable[[], object]], turns: int = TURNS, longest: float = LONGEST
) -> dict[Any, float]:
    """The shortest time of each call, seconds, all made in turns; two rounds before count for nothing."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(2):
        for call in calls.values():
            call()
    until = time.perf_counter() + longest
    for turn in range(turns):
        for key, call in calls.items():
            began = time.perf_counter()
            call()
            best[key] = min(best[key], time.perf_counter() - began)
        if turn >= 2 and time.perf_counter() > until:
            break
    return best


def decoders(weights: Weights, backends: Sequence[Backend], report: Report) -> tuple[list[Row], list[Left]]:
    """The whole decoder on every backend: 128 frames with their halo."""
    models, left = {}, []
    for backend in backends:
        try:
            models[backend] = BuiltinModel(weights, backend)
        except SafaError as error:
            left.append(Left(str(backend), str(error)))
    report(f"decoder: {len(models)} backends in turns")
    calls = {backend: _decoding(model) for backend, model in models.items()}
    best = in_turns(calls)
    exact = calls[next(iter(calls))]()
    return [
        Row(
            str(backend),
            backend.precision,
            1,
            best[backend],
            best[EAGER] / best[backend] if EAGER in best else None,
            float(np.linalg.norm(call() - exact) / np.linalg.norm(exact)),
        )
        for backend, call in calls.items()
    ], left


def _decoding(model: BuiltinModel) -> Callable[[], FloatArray]:
    facts, decoder = model.facts, model.decoder()
    around = 2 * facts.decoder_halo
    window = np.random.default_rng(0).standard_normal((facts.latent_channels, 128 + around, facts.latent_bins))
    latents = window.astype(np.float32)
    return lambda: decoder.decode(latents, around // 2, around // 2, 0, 0, decoder.start(0))[1]


def _caller(weights: Weights, backend: Backend) -> Callable[[tuple[FloatArray, ...]], FloatArray]:
    network: Network = open_network(weights, backend)
    if not backend.engine.startswith("torch"):
        return lambda given: np.array(network(*given), np.float32)
    import torch

    device = backend.facts.device

    def call(given: tuple[FloatArray, ...]) -> FloatArray:
        found = network(*(torch.from_numpy(value).to(device) for value in given))
        return np.asarray(found.float().cpu().numpy(), np.float32)

    return call


def _exact(calls: Mapping[Backend, Callable[..., FloatArray]], given: tuple[FloatArray, ...]) -> FloatArray:
    """What single precision says: torch's where it is installed."""
    reference = EAGER if EAGER in calls else next(backend for backend in calls if backend.precision == "fp32")
    return calls[reference](given)


def _with(call: Callable[[tuple[FloatArray, ...]], FloatArray], given: tuple[FloatArray, ...]) -> Callable[[], object]:
    return lambda: call(given)


def may_run(engine: str, machine: Machine) -> bool:
    """Whether what an engine needs is installed; whether it works shows when it is opened."""
    packages = machine.packages
    match engine:
        case "torch":
            return "torch" in packages
        case "torch-cuda":
            return "torch" in packages and bool(machine.gpus)
        case "openvino":
            return "openvino" in packages
        case "onnx":
            return any(name.startswith("onnxruntime") for name in packages)
        case "onnx-cuda":
            return "onnxruntime-gpu" in packages and bool(machine.gpus)
        case "onnx-tensorrt":
            return "onnxruntime-gpu" in packages and any(name.startswith("tensorrt") for name in packages)
        case "onnx-openvino":
            return "onnxruntime-openvino" in packages
        case "onnx-directml":
            return "onnxruntime-directml" in packages
        case _:
            return False


def has_bf16(machine: Machine) -> bool:
    """Whether the processor multiplies in bf16."""
    return any(feature in machine.features for feature in ("avx512_bf16", "amx_bf16", "bf16"))
