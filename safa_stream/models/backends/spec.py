"""Backends by name: ENGINE[:OPTION,...], such as "onnx", "onnx:int8,threads=1" or "torch-cuda:bf16,compile"."""

from __future__ import annotations

from dataclasses import dataclass, replace

from safa_stream.errors import UsageError

AUTO = "auto"
LARGEST_THREADS = 256


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to evaluate graphs. provider: ONNX Runtime's name for it, None where ONNX Runtime is not used.

    precisions: that it computes in, fp32 first. options: words that it takes besides. install: what brings it.
    """

    name: str
    about: str
    precisions: tuple[str, ...]
    install: str
    provider: str | None = None
    device: str = "cpu"
    options: tuple[str, ...] = ()


_TORCH_OPTIONS = ("compile", "channels-last")
_CPU, _GPU = 'pip install "safa-stream[cpu]"', 'pip uninstall onnxruntime; pip install "safa-stream[gpu]"'
_TORCH = 'pip install "safa-stream[torch]"'

#: All engines, in the order in which help and tables name them.
ENGINES = {
    engine.name: engine
    for engine in (
        Engine("onnx", "ONNX Runtime on the CPU", ("fp32", "int8"), _CPU, "CPUExecutionProvider"),
        Engine("onnx-cuda", "ONNX Runtime on an NVIDIA GPU", ("fp32", "fp16"), _GPU, "CUDAExecutionProvider", "cuda"),
        Engine(
            "onnx-tensorrt",
            "TensorRT through ONNX Runtime",
            ("fp32", "fp16", "bf16"),
            _GPU + ' "tensorrt-cu13<11"',
            "TensorrtExecutionProvider",
            "cuda",
        ),
        Engine(
            "onnx-openvino",
            "OpenVINO through ONNX Runtime",
            ("fp32", "fp16"),
            "pip uninstall onnxruntime; pip install onnxruntime-openvino",
            "OpenVINOExecutionProvider",
        ),
        Engine(
            "onnx-directml",
            "ONNX Runtime on any GPU of Windows",
            ("fp32",),
            "pip uninstall onnxruntime; pip install onnxruntime-directml",
            "DmlExecutionProvider",
            "dml",
        ),
        Engine("onnx-coreml", "ONNX Runtime on Apple's CoreML", ("fp32",), _CPU, "CoreMLExecutionProvider", "coreml"),
        Engine("openvino", "OpenVINO on the CPU", ("fp32", "bf16"), "pip install openvino"),
        Engine("torch", "torch on the CPU", ("fp32", "bf16"), _TORCH, options=_TORCH_OPTIONS),
        Engine(
            "torch-cuda",
            "torch on an NVIDIA GPU",
            ("fp32", "fp16", "bf16"),
            _TORCH,
            device="cuda",
            options=(*_TORCH_OPTIONS, "cuda-graphs"),
        ),
        Engine("torch-mps", "torch on Apple's GPU", ("fp32", "fp16"), _TORCH, device="mps", options=_TORCH_OPTIONS),
    )
}


@dataclass(frozen=True, slots=True)
class Backend:
    """An engine and how it is to compute. threads: None for as many as are of use; options: from the engine's."""

    engine: str = "onnx"
    precision: str = "fp32"
    threads: int | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"no backend is called {self.engine!r}; there are {AUTO}, {', '.join(ENGINES)}")
        engine = ENGINES[self.engine]
        if self.precision not in engine.precisions:
            able = ", ".join(engine.precisions)
            raise UsageError(f"backend {self.engine} does not compute in {self.precision}; it takes {able}")
        wrong = [word for word in self.options if word not in engine.options]
        if wrong:
            able = ", ".join((*engine.precisions, "threads=N", *engine.options))
            raise UsageError(f"backend {self.engine} has no option {wrong[0]!r}; it takes {able}")
        if self.threads is not None and not 1 <= self.threads <= LARGEST_THREADS:
            raise UsageError(f"threads must be from 1 to {LARGEST_THREADS}, not {self.threads}")

    @property
    def compiles(self) -> bool:
        """Whether opening a graph takes so long that what was compiled is kept."""
        return self.engine in ("onnx-tensorrt", "openvino")

    @property
    def facts(self) -> Engine:
        """What the engine is."""
        return ENGINES[self.engine]

    def __str__(self) -> str:
        threads = () if self.threads is None else (f"threads={self.threads}",)
        words = (*(() if self.precision == "fp32" else (self.precision,)), *threads, *self.options)
        return self.engine + (":" + ",".join(words) if words else "")


def parse(text: str) -> Backend:
    """The backend that a name stands for. Raises UsageError saying which word of it is wrong."""
    engine, _, words = text.strip().lower().partition(":")
    backend = Backend(engine)
    precisions = {precision for each in ENGINES.values() for precision in each.precisions}
    for word in filter(None, words.split(",")):
        if word in precisions:
            backend = replace(backend, precision=word)
        elif word.startswith("threads="):
            number = word.removeprefix("threads=")
            if not number.isdecimal():
                raise UsageError(f"{word!r} in backend {text!r} is not threads=N")
            backend = replace(backend, threads=int(number))
        else:
            backend = replace(backend, options=(*backend.options, word))
    return backend
