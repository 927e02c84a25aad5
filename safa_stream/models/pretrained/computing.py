"""What a pretrained model computes on: device and precision of a torch backend; what running out of memory says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safa_stream.errors import ModelError, UsageError
from safa_stream.models.backends.spec import AUTO, Backend, parse
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.types import Array, FloatArray

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Computing:
    """A device, and the precision of the denoiser on it.

    Text encoders and decoders always compute in single precision, as half precision is heard in the one and breaks some
    of the other; so do the samplers, whose states are the arrays that the engine sees.
    """

    backend: Backend
    device: torch.device
    dtype: torch.dtype

    def exact(self, module: Any) -> Any:
        """A module on the device in single precision."""
        with self.memory(), quiet():
            return module.to(self.device, torch.float32).eval().requires_grad_(False)

    def denoiser(self, module: Any) -> Any:
        """A module on the device in the backend's precision and with its options."""
        with self.memory(), quiet():
            module = module.to(self.device, self.dtype).eval().requires_grad_(False)
            if "channels-last" in self.backend.options:
                module = module.to(memory_format=torch.channels_last)
            return torch.compile(module) if "compile" in self.backend.options else module

    def tensor(self, array: Array) -> Tensor:
        """A numpy array as a single-precision tensor on the device."""
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)

    @contextmanager
    def running(self, *given: Tensor) -> Iterator[None]:
        """Without gradients, unless one is `given` that carries one; out of memory raises ModelError in one line."""
        with torch.set_grad_enabled(any(tensor.requires_grad for tensor in given)), self.memory():
            yield

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Out of memory, on the GPU or the CPU, raises ModelError that says what to lower."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            lower = ["fewer layers or rows at once", "a shorter view (--model NAME@5)", "mode stream in place of joint"]
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
                if self.dtype is torch.float32:
                    lower.insert(0, "--backend torch-cuda:fp16")
                lower.append("--backend torch")
            raise ModelError(f"out of memory on {_named(self.device)}; try {', '.join(lower)}") from error


def open_computing(name: str = AUTO) -> Computing:
    """What a backend of torch computes on; "auto" is the GPU where there is one (in half precision), else the CPU.

    Raises UsageError for a name that is no backend, ModelError for one that pretrained models do not run on, or that
    is not to be had here.
    """
    if name.strip().lower() == AUTO:
        backend = Backend("torch-cuda", "fp16") if torch.cuda.is_available() else Backend("torch")
    else:
        backend = parse(name)
    if not backend.engine.startswith("torch"):
        raise ModelError(f"pretrained models run on the backends torch, torch-cuda and torch-mps, not on {backend}")
    if "cuda-graphs" in backend.options:
        raise UsageError("pretrained models do not take the backend option cuda-graphs; use compile")
    device = torch.device(backend.facts.device)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"cannot use backend {backend}: {str(error).splitlines()[0]}") from error
    if backend.threads is not None and device.type == "cpu":
        torch.set_num_threads(backend.threads)
    return Computing(backend, device, PRECISIONS[backend.precision])


def to_numpy(array: Array) -> FloatArray:
    """A tensor or numpy array as numpy, single precision."""
    return np.asarray(array.detach().float().cpu() if isinstance(array, Tensor) else array, np.float32)


def parameters(*modules: nn.Module) -> int:
    """How many numbers the modules were trained to."""
    return sum(value.numel() for module in modules for value in module.parameters())


def _out_of_memory(error: BaseException) -> bool:
    said = str(error)
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "DefaultCPUAllocator" in said or "not enough memory" in said


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the {device.type.upper()}"
