"""One graph, opened on a backend: named arrays in, its output back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from safa_stream.errors import ModelError
from safa_stream.models.backends.spec import Backend
from safa_stream.types import FloatArray

Arrays = Mapping[str, npt.NDArray[Any]]


class OpenGraph(Protocol):
    """A graph that can be run."""

    def __call__(self, inputs: Arrays, /) -> FloatArray:
        """The output for inputs by name. It may be overwritten by the next call: copy what is to stay."""
        ...


def open_graph(path: Path, backend: Backend, cache: Path | None = None) -> OpenGraph:
    """Open an ONNX file. cache: a folder where an engine may keep what it compiled.

    Raises:
        ModelError: the file is missing or damaged, the engine is not installed, or it did not take the graph.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing; export it again: safa-stream export")
    if backend.engine == "openvino":
        return OpenVinoGraph(path, backend, cache)
    return OnnxGraph(path, backend, cache)


#: ONNX Runtime keeps the memory of all shapes that it ever ran; after so many runs what none of them needs goes back.
SHRINK_RUNS = 20


class OnnxGraph:
    """A graph on one of ONNX Runtime's providers, with inputs and outputs bound to buffers that are used again."""

    def __init__(self, path: Path, backend: Backend, cache: Path | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(f"onnxruntime is not installed: {backend.facts.install}") from error
        wanted = backend.facts.provider
        assert wanted is not None
        if wanted not in onnxruntime.get_available_providers():
            raise ModelError(
                f"the installed onnxruntime cannot run {backend.engine}: {backend.facts.install} "
                "(safa-stream doctor says more)"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = backend.threads or usable_cores()
        options.inter_op_num_threads = 1
        # Spinning threads starve whoever shares the cores (a host's audio thread first of all).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        providers = [(wanted, provider_options(backend, cache))]
        try:
            session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelError(f"cannot load {path}: {_line(error)}") from error
        # Asked for a GPU that is not there, ONNX Runtime logs an error and goes on with the CPU.
        if session.get_providers()[0] != wanted:
            raise ModelError(
                f"onnxruntime fell back to {session.get_providers()[0]} when asked for {wanted}: its libraries or its "
                "device are missing (safa-stream doctor says more)"
            )
        self._name = path.name
        self._session, self._output = session, session.get_outputs()[0].name
        self._binding, self._device = session.io_binding(), backend.facts.device
        self._make = onnxruntime.OrtValue.ortvalue_from_numpy
        self._bound: tuple[tuple[int, ...], FloatArray, Any] | None = None
        self._runs, self._shrinking = 0, onnxruntime.RunOptions()
        if self._device == "cpu":
            self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Arrays) -> FloatArray:
        """The output for inputs by name, in a buffer that the next call of the same shape writes to again."""
        key = tuple(size for value in inputs.values() for size in value.shape)
        self._runs += 1
        options = self._shrinking if self._runs % SHRINK_RUNS == 0 else None
        try:
            for name, value in inputs.items():
                self._binding.bind_cpu_input(name, np.ascontiguousarray(value))
            if self._bound is not None and self._bound[0] == key:
                self._session.run_with_iobinding(self._binding, options)
                return self._bound[1]
            self._binding.bind_output(self._output, "cpu")
            self._session.run_with_iobinding(self._binding, options)
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelError(f"{self._name} cannot run on these shapes: {_line(error)}") from error
        found: FloatArray = self._binding.copy_outputs_to_cpu()[0]
        value = self._make(found)
        self._binding.bind_ortvalue_output(self._output, value)
        self._bound = (key, value.numpy(), value)
        return found


@cache
def only_one(core: Callable[[], Any]) -> Any:
    """The one OpenVINO Core of this process.

    Each sets the thread's alternate signal stack while it has compiled models and puts back what it found. Of two that
    go in the order in which they came, the second puts back memory of the first, which is no more: the next signal,
    such as Ctrl-C, ends the process. (Seen with OpenVINO 2026.4.)
    """
    return core()


class OpenVinoGraph:
    """A graph on OpenVINO's CPU plugin; bf16 where asked for and the processor has it."""

    def __init__(self, path: Path, backend: Backend, cache: Path | None = None) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ModelError(f"openvino is not installed: {backend.facts.install}") from error
        core = only_one(openvino.Core)
        wanted = {"fp32": "f32", "bf16": "bf16"}[backend.precision]
        if backend.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ModelError("this processor does not compute in bf16; use fp32")
        config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": backend.threads or usable_cores(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": wanted,
        }
        if cache is not None:
            config["CACHE_DIR"] = str(cache)
        try:
            model = core.read_model(path)
            self._compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise ModelError(f"cannot load {path}: {_line(error)}") from error
        self._name = path.name
        self._request = self._compiled.create_infer_request()

    def __call__(self, inputs: Arrays) -> FloatArray:
        """The output for inputs by name, in a buffer that the next call writes to again."""
        try:
            found: FloatArray = self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            raise ModelError(f"{self._name} cannot run on these shapes: {_line(error)}") from error
        return found


def provider_options(backend: Backend, cache: Path | None) -> dict[str, str]:
    """What ONNX Runtime is to tell the provider: precision, and where compiled engines and timings are kept."""
    if backend.engine == "onnx-tensorrt":
        options = {f"trt_{backend.precision}_enable": "1"} if backend.precision != "fp32" else {}
        if cache is not None:
            kept = {"trt_engine_cache_path": str(cache), "trt_timing_cache_path": str(cache)}
            options |= {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1", **kept}
        return options
    if backend.engine == "onnx-cuda":
        # Full single precision: TF32 would not pass the parity checks of fp32.
        return {"use_tf32": "0"}
    if backend.engine == "onnx-openvino":
        return {"device_type": "CPU", "precision": backend.precision.upper()}
    return {}


def usable_cores() -> int:
    """Cores this process may run on, at most eight: more threads do not make so small a network faster."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def _line(error: Exception) -> str:
    """A library's message as one line."""
    return " ".join(str(error).split())[:300]
