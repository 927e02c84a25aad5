"""What evaluates the denoiser: ONNX Runtime by default, torch where asked for. Both read the same weights file."""

from __future__ import annotations

import os
from typing import Any, Protocol

from safa_stream.errors import ModelError
from safa_stream.models.builtin.weights import GRAPH_NAME, LAYOUT_KEY, WEIGHTS_NAME, Weights, layout_digest

AnyArray = Any


class Network(Protocol):
    """Noisy [N, T, K], level [N] in 0..1, condition [N, D], context [N, T, K] and known [N, T] to clean [N, T, K]."""

    def __call__(
        self, noisy: AnyArray, level: AnyArray, condition: AnyArray, context: AnyArray, known: AnyArray
    ) -> AnyArray: ...


class OnnxNetwork:
    """The exported graph on ONNX Runtime's CPU provider, numpy in and out."""

    def __init__(self, weights: Weights, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError("onnxruntime is not installed: pip install 'safa-stream[cpu]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # Spinning threads starve whoever shares the cores (a host's audio thread first of all).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        path = weights.folder / GRAPH_NAME
        if not path.is_file():
            raise ModelError(f"{weights.folder} is incomplete: {GRAPH_NAME} is missing; export it again")
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelError(f"cannot load {path}: {str(error).splitlines()[0]}") from error
        layout = self.session.get_modelmeta().custom_metadata_map.get(LAYOUT_KEY)
        if layout != layout_digest(weights.folder / WEIGHTS_NAME):
            raise ModelError(f"{path} was made for other weights than those beside it; export it again")

    def __call__(
        self, noisy: AnyArray, level: AnyArray, condition: AnyArray, context: AnyArray, known: AnyArray
    ) -> AnyArray:
        inputs = {"noisy": noisy, "level": level, "condition": condition, "context": context, "known": known}
        return self.session.run(["clean"], inputs)[0]


class TorchNetwork:
    """The network in torch on any device, torch tensors in and out."""

    def __init__(self, weights: Weights, device: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise ModelError("torch is not installed: pip install 'safa-stream[torch]'") from error
        from safa_stream.models.builtin.networks import NetworkConfig, build

        try:
            self.device = torch.device(device)
            self.network = build(NetworkConfig(**weights.config["network"])).to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"cannot use device {device!r}: {str(error).splitlines()[0]}") from error
        state = {name: torch.from_numpy(value) for name, value in weights.under("network.").items()}
        self.network.load_state_dict(state)
        self._no_grad = torch.no_grad

    def __call__(
        self, noisy: AnyArray, level: AnyArray, condition: AnyArray, context: AnyArray, known: AnyArray
    ) -> AnyArray:
        with self._no_grad():
            return self.network(noisy, level, condition, context, known)


def usable_cores() -> int:
    """Cores this process may run on, at most eight: more threads do not make so small a network faster."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
