"""Training for a time: how high the learning rate stands at each step, until the minutes are over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from safa_stream.training.muon import Muon
from safa_stream.training.trainer import MUON_RATE

#: Steps until the learning rate is whole; a line of progress this often, in seconds.
WARM_UP = 40
REPORT_SECONDS = 60.0
#: Share of the weights' moving average that a step keeps.
AVERAGE = 0.995


def rates(minutes: float, cooldown: float) -> Iterator[float]:
    """The learning rate's factor for one step after the other: it warms up, stays, and falls over the last share."""
    begun, step = time.monotonic(), 0
    while (spent := (time.monotonic() - begun) / 60.0) < minutes or step == 0:
        falling = (1.0 - spent / minutes) / cooldown if cooldown else 1.0
        yield max(0.05, min(1.0, falling)) * min(1.0, (step + 1) / WARM_UP)
        step += 1


class Optimiser:
    """Muon for matrices and convolutions inside the network, AdamW for all else; keeps the weights' moving average."""

    def __init__(self, module: nn.Module, inner: Sequence[str], learning_rate: float) -> None:
        """inner: parts of the names of those parameters that Muon takes where they are matrices."""
        self.module, self.learning_rate, self.step = module, learning_rate, 0
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if p.ndim >= 2 and min(p.shape[:2]) > 1 and any(i in name for i in inner)]
        chosen = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in chosen]
        adam = torch.optim.AdamW(others, learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [(adam, 1.0)]
        if matrices:
            self.optimisers.append((Muon(matrices, learning_rate, weight_decay=0.0), MUON_RATE))
        self.average = [p.detach().clone() for p in module.parameters()]

    def descend(self, loss: Tensor, factor: float) -> float:
        """One step down the loss' gradient; returns the loss."""
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.module.parameters(), 2.0)
        for optimiser, share in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * factor * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(AVERAGE, self.step / (self.step + 10.0))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.module.parameters()), 1.0 - keep)
        return float(loss.detach())

    def settle(self) -> None:
        """Give the module the average of its weights."""
        with torch.no_grad():
            for parameter, mean in zip(self.module.parameters(), self.average, strict=True):
                parameter.copy_(mean)


class Progress:
    """Tells the mean of what it is given about once a minute."""

    def __init__(self, name: str, report: Callable[[str], None]) -> None:
        self.name, self.report, self.step = name, report, 0
        self.values: list[float] = []
        self.told = time.monotonic()

    def add(self, value: float) -> None:
        """Count one step's loss."""
        self.values.append(value)
        self.step += 1
        if time.monotonic() - self.told > REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Say it now."""
        if self.values:
            self.report(f"{self.name}: step {self.step}, loss {sum(self.values) / len(self.values):.4f}")
        self.values, self.told = [], time.monotonic()
