"""Muon (Jordan et al. 2024): momentum whose matrices are orthogonalised before they are applied.

It reaches a given loss in fewer steps than AdamW, which counts where two CPU cores are all there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

#: Coefficients of the quintic Newton-Schulz iteration (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Replace each of [N, rows, columns] by (roughly) its nearest semi-orthogonal matrix."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        # x' = a x + (b gram + c gram^2) x, sums and products in one call each: a fifth faster on a CPU.
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    turned: Tensor = x.mT if tall else x
    return turned.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; updates have the size that AdamW's would (Liu et al. 2025)."""

    def __init__(self, parameters: Sequence[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Apply one update. closure: evaluates the model again first; returns what it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1.0 - group["momentum"])
                by_shape[parameter.shape].append((parameter, parameter.grad.lerp(momentum, group["momentum"])))
            for shape, pairs in by_shape.items():
                updates = orthogonalise(torch.stack([update.reshape(shape[0], -1) for _, update in pairs]))
                scale = 0.2 * max(updates.shape[-2:]) ** 0.5 * group["lr"]
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.reshape(shape), alpha=-scale)
        return loss
