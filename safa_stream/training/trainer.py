"""The training loop of the denoiser: resumable at any time, its state in safetensors, its curve in JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from safa_stream.errors import TrainingDataError, UsageError
from safa_stream.models.builtin.features import Array
from safa_stream.models.builtin.networks import ConditionEncoder, NetworkConfig, build
from safa_stream.models.builtin.style import STYLE_SIZE
from safa_stream.training.batches import Batch, Sampler
from safa_stream.training.muon import Muon
from safa_stream.training.prepare import Prepared

#: The clean-latent loss is weighted as a velocity loss, 1/t^2, bounded at this level.
LEAST_LEVEL = 0.12
WARM_UP = 100
#: Muon's learning rate over AdamW's.
MUON_RATE = 2.0
CHECK_LEVELS = (0.2, 0.4, 0.6, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train.

    minutes: of this call; length: latent frames of an example; cooldown: the share of this call, at its end, over which
    the learning rate falls to a twentieth (weights that are to be shipped want it); threads: on the CPU, None for all
    cores.
    """

    minutes: float = 60.0
    batch: int = 16
    length: int = 160
    learning_rate: float = 1.5e-3
    average: float = 0.998
    cooldown: float = 0.0
    seed: int = 0
    check_seconds: float = 300.0
    device: str = "cpu"
    threads: int | None = None


class Denoiser(nn.Module):
    """Network and condition encoder: what is trained and shipped together."""

    def __init__(self, config: NetworkConfig, labels: int) -> None:
        super().__init__()
        self.network = build(config)
        self.conditioner = ConditionEncoder(labels, STYLE_SIZE, config.condition_size)
        self.style_mean = nn.Buffer(torch.zeros(STYLE_SIZE))
        self.style_scale = nn.Buffer(torch.ones(STYLE_SIZE))

    def condition(self, sounds: Tensor, styles: Tensor, styled: Tensor, weights: Tensor) -> Tensor:
        """One condition vector a row, styles in their natural units."""
        normal = (styles - self.style_mean) / self.style_scale
        told: Tensor = self.conditioner(sounds, normal, styled, weights)
        return told


def check_device(device: str) -> None:
    """Raise UsageError where torch has no such device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"cannot train on device {device!r}: {str(error).splitlines()[0]}") from error


def tensors_of(batch: Batch, device: str) -> dict[str, Tensor]:
    """The batch as torch tensors by field name."""
    return {f.name: torch.from_numpy(np.asarray(getattr(batch, f.name))).to(device) for f in fields(batch)}


def loss_of(model: Denoiser, batch: dict[str, Tensor], level: Tensor) -> Tensor:
    """Per-row mean squared error of the clean latents [B], without the weight, over all frames that are not padding."""
    clean, noise = batch["clean"], batch["noise"]
    noisy = (1.0 - level)[:, None, None] * clean + level[:, None, None] * noise
    told = model.condition(batch["sounds"], batch["styles"], batch["styled"], batch["weights"])
    told = torch.where(batch["conditional"][:, None] > 0, told, model.conditioner.null)
    predicted = model.network(noisy, level, told, batch["context"], batch["known"], batch["valid"])
    counted = batch["valid"][..., None]
    error: Tensor = ((predicted - clean) ** 2 * counted).sum((1, 2))
    return error / (counted.sum((1, 2)) * clean.shape[-1]).clamp(min=1.0)


class Trainer:
    """Holds model, average and optimisers of one run in `folder`; picks up where the folder's last call stopped."""

    def __init__(
        self,
        prepared: Prepared,
        network: NetworkConfig,
        config: TrainingConfig,
        folder: Path,
        start: Mapping[str, Array] | None = None,
    ) -> None:
        """`start`: tensors of an earlier model by `Denoiser`'s names, used where the folder has no state yet."""
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self.model = Denoiser(network, len(prepared.labels)).to(config.device)
        self.average = Denoiser(network, len(prepared.labels)).to(config.device).requires_grad_(False)
        self.step, self.seconds, self.cooling = 0, 0.0, 1.0
        hidden = [p for n, p in self.model.network.named_parameters() if p.ndim >= 2 and _is_hidden(n)]
        chosen = {id(p) for p in hidden}
        others = [p for p in self.model.parameters() if id(p) not in chosen]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(hidden, MUON_RATE * config.learning_rate, weight_decay=0.02),
            torch.optim.AdamW(others, config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.safetensors").exists():
            self._load()
        else:
            self._set_scales(prepared)
            if start is not None:
                self.model.load_state_dict({k: torch.from_numpy(v) for k, v in start.items()}, strict=False)
            self.average.load_state_dict(self.model.state_dict())
        self.sampler = Sampler(prepared, config.length, held_out=False, augment=True, seed=config.seed)
        self.checks = [
            tensors_of(Sampler(prepared, config.length, held_out=True, augment=False, seed=1).batch(48), config.device)
        ]

    def _set_scales(self, prepared: Prepared) -> None:
        batch = Sampler(prepared, self.config.length, held_out=False, augment=True, seed=7).batch(512)
        styles = batch.styles[:, 0]
        self.model.style_mean.copy_(torch.from_numpy(styles.mean(0)))
        self.model.style_scale.copy_(torch.from_numpy(styles.std(0) + 1e-3))
        spread = batch.clean[batch.valid > 0].std(0)
        self.model.network.precondition.spread.copy_(torch.from_numpy(spread))

    def precision(self) -> torch.autocast:
        """Mixed precision where the processor has it; emulated bfloat16 is a hundred times slower than single."""
        kind = self.config.device.split(":")[0]
        native = kind == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast(kind, torch.bfloat16, enabled=native)

    def attention(self) -> AbstractContextManager[None]:
        """Plain attention on a CPU: over so few tokens a step takes a tenth longer with the fused kernel there."""
        on_cpu = self.config.device.split(":")[0] == "cpu"
        return cast(AbstractContextManager[None], sdpa_kernel(SDPBackend.MATH)) if on_cpu else nullcontext()

    def train(self, report: Callable[[dict[str, Any]], None]) -> None:
        """Run for the configured minutes; reports (and appends to curve.jsonl) at every check and at the end."""
        begun = checked = time.monotonic()
        losses: list[float] = []
        try:
            while (spent := (time.monotonic() - begun) / 60.0) < self.config.minutes:
                left = 1.0 - spent / self.config.minutes
                self.cooling = max(0.05, min(1.0, left / self.config.cooldown)) if self.config.cooldown else 1.0
                losses.append(self.advance())
                if time.monotonic() - checked > self.config.check_seconds:
                    now = time.monotonic()
                    self.seconds += now - checked
                    self.check(losses, report)
                    losses, checked = [], time.monotonic()
        finally:
            self.seconds += time.monotonic() - checked
            self.check(losses, report)

    def advance(self) -> float:
        """One step; returns its weighted loss. What it draws depends on the seed and the step's number alone."""
        config = self.config
        batch = tensors_of(self.sampler.batch(config.batch, self.step), config.device)
        level = batch["level"]
        with self.precision(), self.attention():
            error = loss_of(self.model, batch, level)
        loss = (error / level.clamp(min=LEAST_LEVEL) ** 2).mean()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        rate = config.learning_rate * self.cooling * min(1.0, (self.step + 1) / WARM_UP)
        for optimiser, factor in zip(self.optimisers, (MUON_RATE, 1.0), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(config.average, self.step / (self.step + 10.0))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1.0 - keep)
        return float(loss.detach())

    @torch.no_grad()
    def check(self, losses: list[float], report: Callable[[dict[str, Any]], None]) -> None:
        """Measure the averaged weights on held-out passages at fixed noise levels, append to the curve, save."""
        row: dict[str, Any] = {"step": self.step, "seconds": round(self.seconds, 1)}
        row["train"] = round(float(np.mean(losses)), 4) if losses else None
        batch = self.checks[0]
        for value in CHECK_LEVELS:
            level = torch.full_like(batch["level"], value)
            with self.precision():
                row[f"held_out_{value:g}"] = round(float(loss_of(self.average, batch, level).mean()), 4)
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(row) + "\n")
        self._save()
        report(row)

    def _save(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for number, optimiser in enumerate(self.optimisers):
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{number}.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        header = {"safa_training": json.dumps({"step": self.step, "seconds": self.seconds})}
        partial = self.folder / "state.partial"
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, header)
        partial.replace(self.folder / "state.safetensors")

    def _load(self) -> None:
        path = self.folder / "state.safetensors"
        try:
            tensors = load_file(path, device=self.config.device)
            with safe_open(path, framework="pt") as opened:
                progress = json.loads(opened.metadata()["safa_training"])
            self.model.load_state_dict(_under(tensors, "model."))
            self.average.load_state_dict(_under(tensors, "average."))
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise TrainingDataError(f"cannot resume from {path}: {error}") from error
        self.step, self.seconds = progress["step"], progress["seconds"]
        for number, optimiser in enumerate(self.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _under(tensors, f"optimiser.{number}.").items():
                index, _, key = name.partition(".")
                state.setdefault(int(index), {})[key] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _is_hidden(name: str) -> bool:
    """Muon is for matrices inside the network, not for what reads the input, writes the output or modulates."""
    return not any(part in name for part in ("input", "output", "refine", "modulation", "level", "condition", "taps"))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
