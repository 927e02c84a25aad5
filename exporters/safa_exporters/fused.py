"""One launch a step: guidance, the solver's update and, if wanted, the swap in the same graph as the denoiser.

What the engine otherwise does around the network in a dozen small operations is traced with it. The swap here is the
stream's (Eq. 9 of arXiv 2502.05130, one-sided): frames marked as taken come from the finished view's state after the
same step, x and the solver's history alike. `safa-stream bench backends --fused FOLDER` says what it brings.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from safa_exporters.graph import Axis, Graph
from safa_stream.models.builtin.guiding import LEAST_CHANGE
from safa_stream.models.builtin.networks import NetworkConfig
from safa_stream.models.builtin.phases import PHASE_SCATTER
from safa_stream.models.builtin.weights import Weights

#: What a step is told besides the network's own inputs.
STEP_INPUTS = ("x", "h", "level", "condition", "negative", "guidance", "context", "known", "table", "shaping")
SWAP_INPUTS = (*STEP_INPUTS, "cached_x", "cached_h", "taken")


class Step(nn.Module):
    """One guided solver step of rows x [B, T, K] with history h [B, T, K], each at its own step of its own solver.

    table [B, 5] holds the solver's coefficients A, B, C, P, Q; shaping [B, 3] steadiness, contrast and bound. Every row
    is guided: condition and negative [B, D] make two rows of the network's batch. Returns x' and h' as [2, B, T, K].
    """

    def __init__(self, network: nn.Module, patch: int) -> None:
        super().__init__()
        self.network, self.patch = network, patch

    def forward(
        self,
        x: Tensor,
        h: Tensor,
        level: Tensor,
        condition: Tensor,
        negative: Tensor,
        guidance: Tensor,
        context: Tensor,
        known: Tensor,
        table: Tensor,
        shaping: Tensor,
    ) -> Tensor:
        rows = x.shape[0]
        turn, back = self._phases(level, x.shape[1])
        moved, told, given = (_frames(value, turn) for value in (x, context, known[..., None]))
        clean = self.network(
            torch.cat([moved, moved]),
            torch.cat([level, level]),
            torch.cat([condition, negative]),
            torch.cat([told, told]),
            torch.cat([given[..., 0], given[..., 0]]),
        )
        with_prompt, without = _frames(clean[:rows], back), _frames(clean[rows:], back)
        m = _shaped(with_prompt, without + guidance[:, None, None] * (with_prompt - without), shaping)
        a, b, c, p, q = (column[:, None, None] for column in table.unbind(1))
        return torch.stack([a * x + b * m + c * h, p * x + q * m])

    def _phases(self, level: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Frames [B, T + patch] to show the network, and where those asked for then lie (see `patch_phases`)."""
        extra = self.patch if self.patch > 1 else 0
        offset = (level.double() * PHASE_SCATTER).floor().remainder(self.patch).long()[:, None]
        frame = (torch.arange(length + extra)[None] - offset).abs()
        mirrored = torch.where(frame >= length, 2 * (length - 1) - frame, frame)
        return mirrored, torch.arange(length)[None] + offset


def _shaped(told: Tensor, guided: Tensor, shaping: Tensor) -> Tensor:
    """Guided latents with their change over time as `shaping` has it, as `combined` of the built-in model does it."""
    mean = guided.mean(1, keepdim=True)
    change, own = guided - mean, told - told.mean(1, keepdim=True)
    ratio = ((own**2).sum((1, 2)) / ((change**2).sum((1, 2)) + LEAST_CHANGE)).sqrt()
    steadiness, contrast, bound = shaping.unbind(1)
    change = (contrast * (1.0 - steadiness + steadiness * ratio))[:, None, None] * change
    power = (change**2).sum(2)
    most = (power.mean(1, keepdim=True) + LEAST_CHANGE) / (bound[:, None] ** 2 * power + LEAST_CHANGE)
    return mean + change * most.clamp(max=1.0).sqrt()[..., None]


class SwappedStep(nn.Module):
    """A step, then the swap: frames where taken [B, T] is 1 come from cached_x and cached_h [B, T, K]."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, *inputs: Tensor) -> Tensor:
        cached_x, cached_h, taken = inputs[-3:]
        made: Tensor = self.step(*inputs[:-3])
        return torch.where(taken[None, :, :, None] > 0.5, torch.stack([cached_x, cached_h]), made)


def step_graph(weights: Weights, network: nn.Module, swap: bool) -> Graph:
    """The step as a graph with free batch and time."""
    config = NetworkConfig(**weights.config["network"])
    patch = config.patch if config.kind == "dit" else 1
    units = max(2, patch) if config.kind == "dit" else 4
    batch, time = Axis("batch", 1, 32), Axis("time", 4, 1024, units)
    rows, length = 2, 160
    draw = np.random.default_rng(0)
    wide, long = (rows, length, config.latent_size), (rows, length)
    values = {
        "x": draw.standard_normal(wide),
        "h": draw.standard_normal(wide),
        "level": np.array([0.3, 0.8]),
        "condition": 0.3 * draw.standard_normal((rows, config.condition_size)),
        "negative": 0.3 * draw.standard_normal((rows, config.condition_size)),
        "guidance": np.array([3.5, 2.0]),
        "context": 0.5 * draw.standard_normal(wide),
        "known": np.zeros(long),
        "table": np.array([[0.8, 0.3, -0.1, 0.0, 1.0]] * rows),
        "shaping": np.array([[0.0, 1.0, 0.0], [0.5, 1.1, 0.7]]),
        "cached_x": draw.standard_normal(wide),
        "cached_h": draw.standard_normal(wide),
        "taken": np.zeros(long),
    }
    names = SWAP_INPUTS if swap else STEP_INPUTS
    timed = {name for name in names if values[name].shape[:2] == long}
    step = Step(network, patch)
    return Graph(
        name="step",
        module=lambda: (SwappedStep(step) if swap else step).eval(),
        inputs={name: np.asarray(values[name], np.float32) for name in names},
        output="stepped",
        axes={name: {0: batch, 1: time} if name in timed else {0: batch} for name in names},
    )


def _frames(value: Tensor, index: Tensor) -> Tensor:
    """[B, T, K] with the frames that index [B, N] names."""
    return value.gather(1, index[..., None].expand(-1, -1, value.shape[2]))
