"""`safa-stream export`: a model's parts traced, narrowed, written, and held against the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from safa_exporters import manifest as manifests
from safa_exporters import parts as running
from safa_exporters import tensorrt
from safa_exporters.graph import Graph, Sampling, Source
from safa_exporters.int8 import quantised
from safa_exporters.manifest import Manifest
from safa_exporters.onnx import referring
from safa_exporters.sources.builtin import BuiltinSource
from safa_exporters.trace import trace
from safa_exporters.verify import Parity, verify
from safa_exporters.writing import Target, Writer, update
from safa_stream.errors import ModelError, UsageError
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.weights import CONFIG_NAME, GRAPH_NAME, SHIPPED, WEIGHTS_NAME, load_weights

Report = Callable[[str], None]
MANIFEST = manifests.NAME
#: Trajectories that int8 is calibrated on, and of each every so many calls.
CALIBRATION = tuple(Sampling(steps=12, guidance=3.5, seed=seed) for seed in (101, 105, 109, 113, 117, 121))
EVERY = 5
#: Trajectories that an export is held against its original on.
VERIFICATION = (
    Sampling(steps=12, guidance=3.5, seed=0),
    Sampling(steps=6, guidance=1.0, seed=13),
    Sampling(steps=12, guidance=6.0, seed=7),
    Sampling(steps=24, guidance=3.5, seed=3),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is in its place."""

    folder: Path
    manifest: Manifest


def open_source(model: str, fused: str | None = None) -> Source:
    """The model of a name or folder. fused: see `BuiltinSource`. Raises ModelError, UsageError."""
    folder = SHIPPED if model == "builtin" else Path(model)
    if not folder.is_dir():
        raise UsageError(f"there is no model {model!r}: give builtin, or the folder of a model or a checkpoint")
    if (folder / CONFIG_NAME).is_file() and not (folder / "model_index.json").is_file():
        return BuiltinSource(load_weights(folder), fused)
    if fused is not None:
        raise UsageError("only models of the built-in kind are exported as fused steps")
    from safa_exporters.sources.checkpoint import open_checkpoint

    return open_checkpoint(folder)


def source_of(folder: Path, model: str) -> Source:
    """The model that an export was made from, as it was exported. Raises ModelError, UsageError."""
    step = next((entry for entry in manifests.read(folder).graphs if entry.name == "step"), None)
    return open_source(model, None if step is None else "swap" if "taken" in step.inputs else "step")


def export(source: Source, target: Target, report: Report) -> Manifest:
    """Write an export; resumes one that was broken off. Raises ModelError, OutputError, UsageError."""
    writer = Writer(target, source.about)
    for graph in source.graphs():
        if writer.done(graph.name) is not None:
            report(f"{graph.name}: finished before")
            continue
        precision = _precision(graph, target.precision)
        report(f"{graph.name}: {'tracing' if graph.ready is None else 'taking'}, {precision}")
        entry = writer.add(graph, precision, _model(source, graph, precision, report))
        report(f"{graph.name}: {entry.bytes / 1e6:.1f} MB")
    companions = _companions(source, target.precision)
    for path in companions:
        writer.copy(path)
    return writer.finish(tuple(path.name for path in companions))


def build_engines(folder: Path, precision: str, report: Report) -> list[Path]:
    """TensorRT engines of an ONNX export, in its subfolder. Raises ModelError, OutputError."""
    library, gpu = tensorrt.library(), tensorrt.gpu()
    manifest = manifests.read(folder)
    manifests.check_files(folder, manifest)
    engines = folder / manifests.ENGINES
    names = {
        entry.name: tensorrt.engine_name(entry.name, precision, gpu, library.__version__) for entry in manifest.graphs
    }
    return [
        tensorrt.build(
            folder, entry, precision, tensorrt.Profile(), engines / names[entry.name], engines / "timing.cache", report
        )
        for entry in manifest.graphs
    ]


def refit_engine(engine: Path, folder: Path) -> None:
    """Give an engine the weights of another export of its graph. Raises ModelError, OutputError."""
    manifest = manifests.read(folder)
    manifests.check_files(folder, manifest)
    name = engine.name.split(".")[0]
    entry = next((each for each in manifest.graphs if each.name == name), None)
    if entry is None or not engine.is_file():
        raise ModelError(f"{engine} is not an engine of a graph that {folder} holds")
    tensorrt.refit(engine, folder, entry)


def verify_folder(folder: Path, source: Source, report: Report, samplings: Sequence[Sampling] = VERIFICATION) -> Parity:
    """Hold an export against its original; its manifest then says what was found. Raises ModelError, OutputError."""
    manifest = manifests.read(folder)
    manifests.check_files(folder, manifest)
    if manifest.source_digest != source.about.digest:
        raise ModelError(f"{folder} was exported from another model ({manifest.name}); give the right one with --model")
    report("loading the original and the export")
    graphs = {graph.name: graph for graph in source.graphs()}
    if set(graphs) != {entry.name for entry in manifest.graphs}:
        raise ModelError(f"{folder} does not hold the graphs {', '.join(graphs)}; export again")
    exports = {
        entry.name: running.exported(folder / next(iter(entry.files)), entry.inputs, Backend("onnx"))
        for entry in manifest.graphs
    }
    precisions = {entry.name: entry.precision for entry in manifest.graphs}
    originals = {name: running.original(graph) for name, graph in graphs.items()}
    parity = verify(source, originals, exports, precisions, samplings, report)
    update(folder, replace(manifest, parity=parity.as_dict(), verified=parity.verified))
    return parity


def _precision(graph: Graph, wanted: str) -> str:
    """What a graph of an export is made in: int8 is for denoisers only."""
    single = graph.ready is not None or (wanted == "int8" and graph.name != "denoiser")
    return "fp32" if single else wanted


def _model(source: Source, graph: Graph, precision: str, report: Report) -> onnx.ModelProto:
    if graph.ready is not None:
        return onnx.load(graph.ready, load_external_data=False)
    if precision == "int8":
        report(f"{graph.name}: recording trajectories to calibrate with")
        model = quantised(trace(graph), _calls(source, graph.name), report)
    else:
        model = trace(graph, precision)
    return referring(model, source.weights) if isinstance(source, BuiltinSource) else model


def _calls(source: Source, name: str) -> list[Mapping[str, npt.NDArray[Any]]]:
    """Inputs of a part from real trajectories."""
    recorders = {graph.name: running.Recorder(running.original(graph)) for graph in source.graphs()}
    for sampling in CALIBRATION:
        source.sample(recorders, sampling)
    return [{key: np.array(value) for key, value in inputs.items()} for inputs, _ in recorders[name].calls[::EVERY]]


def _companions(source: Source, precision: str) -> list[Path]:
    """Files that make the export of a built-in model a model folder: --model takes it."""
    if not isinstance(source, BuiltinSource):
        return []
    folder = source.weights.folder
    plain = [] if precision == "fp32" else [folder / GRAPH_NAME]
    return [folder / CONFIG_NAME, folder / WEIGHTS_NAME, *plain]
