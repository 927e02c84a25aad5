"""The built-in model's denoiser on a backend: an exported graph, or the torch network. Both read one weights file."""

from __future__ import annotations

from typing import Any, Protocol, cast

from safa_stream.errors import ModelError
from safa_stream.models.backends.graphs import OpenGraph, open_graph
from safa_stream.models.backends.machine import compiled_folder
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.weights import WEIGHTS_NAME, Weights, graph_name, layout_digest

AnyArray = Any
INPUTS = ("noisy", "level", "condition", "context", "known")


class Network(Protocol):
    """Noisy [N, T, K], level [N] in 0..1, condition [N, D], context [N, T, K] and known [N, T] to clean [N, T, K].

    The result may be overwritten by the next call.
    """

    def __call__(
        self, noisy: AnyArray, level: AnyArray, condition: AnyArray, context: AnyArray, known: AnyArray
    ) -> AnyArray: ...


class GraphNetwork:
    """The exported graph, numpy in and out."""

    def __init__(self, weights: Weights, backend: Backend) -> None:
        self._graph = open_part(weights, "denoiser", backend)

    def __call__(
        self, noisy: AnyArray, level: AnyArray, condition: AnyArray, context: AnyArray, known: AnyArray
    ) -> AnyArray:
        return self._graph(dict(zip(INPUTS, (noisy, level, condition, context, known), strict=True)))


class TorchNetwork:
    """The network in torch on any device, torch tensors in and out; with a gradient where `noisy` carries one."""

    def __init__(self, weights: Weights, backend: Backend) -> None:
        try:
            import torch
        except ImportError as error:
            raise ModelError("torch is not installed: pip install 'safa-stream[torch]'") from error
        from safa_stream.models.builtin.networks import NetworkConfig, build

        try:
            self.device = torch.device(backend.facts.device)
            network: Any = (
                build(NetworkConfig(**weights.config["network"])).to(self.device).eval().requires_grad_(False)
            )
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"cannot use backend {backend}: {str(error).splitlines()[0]}") from error
        state = {name: torch.from_numpy(value) for name, value in weights.under("network.").items()}
        network.load_state_dict(state)
        if backend.threads is not None and self.device.type == "cpu":
            torch.set_num_threads(backend.threads)
        if "channels-last" in backend.options:
            network = network.to(memory_format=torch.channels_last)
        if "compile" in backend.options or "cuda-graphs" in backend.options:
            mode = "reduce-overhead" if "cuda-graphs" in backend.options else "default"
            network = torch.compile(network, mode=mode, dynamic=mode == "default")
        self._network: Any = network
        self._gradients: Any = torch.set_grad_enabled
        autocast = cast(Any, torch.autocast)
        narrow = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[backend.precision]
        self._precision: Any = lambda: autocast(self.device.type, dtype=narrow, enabled=narrow is not None)

    def __call__(
        self, noisy: AnyArray, level: AnyArray, condition: AnyArray, context: AnyArray, known: AnyArray
    ) -> AnyArray:
        with self._gradients(noisy.requires_grad), self._precision():
            return self._network(noisy, level, condition, context, known)


def open_network(weights: Weights, backend: Backend) -> Network:
    """The denoiser on a backend. Raises ModelError where that cannot be."""
    if backend.engine.startswith("torch"):
        return TorchNetwork(weights, backend)
    return GraphNetwork(weights, backend)


def open_part(weights: Weights, part: str, backend: Backend) -> OpenGraph:
    """The exported graph of a model directory's part. Raises ModelError where it is missing or was made for others."""
    path = weights.folder / graph_name(part, backend)
    if not path.is_file():
        raise ModelError(
            f"{weights.folder} is incomplete: {path.name}, which backend {backend} needs, is missing; "
            f"{_making(backend)}"
        )
    graph = open_graph(path, backend, compiled_folder(weights.digest) if backend.compiles else None)
    if layout_digest(weights.folder / WEIGHTS_NAME).encode() not in path.read_bytes():
        raise ModelError(f"{path} was made for other weights than those beside it; export it again")
    return graph


def _making(backend: Backend) -> str:
    if backend.precision == "fp32":
        return "make it with: safa-stream export MODEL"
    return f"make a model that has it with: safa-stream export MODEL --precision {backend.precision} --out FOLDER"
