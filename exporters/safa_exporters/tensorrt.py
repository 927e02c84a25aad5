"""TensorRT engines from exported ONNX graphs, built natively: an optimisation profile, a timing cache, refitting.

Written for TensorRT 10 (docs.nvidia.com/deeplearning/tensorrt, Python API): 11 drops the precision flags used here. An
engine is of one GPU and one version; its file name says both, and the profile outside which it refuses to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from safa_exporters.manifest import GraphEntry
from safa_stream.errors import ModelError, OutputError

Report = Callable[[str], None]
INSTALL = 'pip install "tensorrt-cu13<11"'
WORKSPACE_BYTES = 4 << 30
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes of the free axes: least, best, most. time: in frames; tokens: of a text or a decoder's window."""

    batch: tuple[int, int, int] = (1, 2, 32)
    time: tuple[int, int, int] = (64, 160, 512)
    tokens: tuple[int, int, int] = (17, 144, 256)

    def shapes(self, shape: tuple[int | str, ...]) -> tuple[tuple[int, ...], ...]:
        """A manifest's input shape at its least, best and most. Raises ModelError for an axis that is not known."""
        return tuple(tuple(self._size(axis, which) for axis in shape) for which in range(3))

    def _size(self, axis: int | str, which: int) -> int:
        if isinstance(axis, int):
            return axis
        multiple, _, name = axis.rpartition(" ")
        sizes = {"batch": self.batch, "time": self.time, "tokens": self.tokens}
        if name not in sizes:
            raise ModelError(f"an engine's profile has no axis {name!r}")
        unit, size = int(multiple or 1), sizes[name][which]
        # Frames are told as such; tokens are what several dimensions are multiples of.
        return unit * (size if name == "tokens" else -(-size // unit))


def library() -> ModuleType:
    """The tensorrt package. Raises ModelError saying what to install."""
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise ModelError(
            f"TensorRT is not installed ({str(error).splitlines()[0]}); it needs an NVIDIA GPU: {INSTALL}"
        ) from error
    if int(tensorrt.__version__.split(".")[0]) != 10:
        raise ModelError(f"TensorRT {tensorrt.__version__} is installed, 10 is needed: {INSTALL}")
    module: ModuleType = tensorrt
    return module


def engine_name(graph: str, precision: str, gpu: str, version: str) -> str:
    """The file of an engine, which holds on one GPU and version only."""
    return f"{graph}.{precision}.{''.join(c if c.isalnum() else '-' for c in gpu)}.trt{version}.engine"


def build(
    folder: Path, entry: GraphEntry, precision: str, profile: Profile, target: Path, cache: Path, report: Report
) -> Path:
    """Build an engine of an exported graph in `folder` and write it to `target`. cache: the timing cache's file.

    Raises ModelError where TensorRT is missing or cannot build it, OutputError where the disk will not take it.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"TensorRT engines are made in {', '.join(PRECISIONS)}, not {precision}")
    trt = library()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / next(iter(entry.files)))):
        raise ModelError(f"TensorRT cannot read {entry.name}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_flag(trt.BuilderFlag.REFIT)
    if precision != "fp32":
        config.set_flag(getattr(trt.BuilderFlag, precision.upper()))
    shapes = builder.create_optimization_profile()
    for name, shape in entry.inputs.items():
        shapes.set_shape(name, *profile.shapes(tuple(shape)))
    config.add_optimization_profile(shapes)
    timings = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    config.set_timing_cache(timings, False)
    report(f"{entry.name}: building a TensorRT engine, which takes minutes")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError(f"TensorRT could not build {entry.name}; its messages above say why")
    _write(target, bytes(engine))
    _write(cache, bytes(config.get_timing_cache().serialize()))
    return target


def refit(engine: Path, folder: Path, entry: GraphEntry) -> None:
    """Give an engine the weights of another export of the same graph (fine-tuned ones), without building it again.

    Raises ModelError where the weights do not fit, OutputError where the engine cannot be written.
    """
    trt = library()
    logger = trt.Logger(trt.Logger.WARNING)
    loaded = trt.Runtime(logger).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise ModelError(f"{engine} is of another GPU or version of TensorRT; build it again")
    refitter = trt.Refitter(loaded, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_file(str(folder / next(iter(entry.files)))) or not refitter.refit_cuda_engine():
        raise ModelError(f"the weights of {folder} do not fit {engine}; build it again")
    _write(engine, bytes(loaded.serialize()))


def check_shape(profile: Profile, entry: GraphEntry, given: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ModelError naming the first input whose shape lies outside an engine's profile."""
    for name, shape in given.items():
        least, _, most = profile.shapes(tuple(entry.inputs[name]))
        inside = len(least) == len(shape) and all(
            low <= size <= high for low, size, high in zip(least, shape, most, strict=True)
        )
        if not inside:
            raise ModelError(f"{name} {list(shape)} is outside the engine's profile, {list(least)} to {list(most)}")


def gpu() -> str:
    """The first GPU's name as CUDA says it. Raises ModelError where there is none."""
    try:
        import torch

        return str(torch.cuda.get_device_name(0))
    except (ImportError, RuntimeError, AssertionError) as error:
        raise ModelError(
            "building a TensorRT engine needs an NVIDIA GPU that torch can use, and none is here"
        ) from error


def _write(path: Path, data: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
