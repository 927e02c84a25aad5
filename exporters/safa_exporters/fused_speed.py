"""What a fused step brings: one graph against denoiser, guidance, solver and swap one after the other, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safa_exporters.comparing import in_turns, inputs
from safa_stream.models.backends.graphs import open_graph
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.runtime import BuiltinModel
from safa_stream.models.builtin.weights import Weights
from safa_stream.models.interface import Conditioning
from safa_stream.solvers import Row, step
from safa_stream.types import FloatArray

Report = Callable[[str], None]
FRAMES = 160
#: Frames of an overlap, of which the swap takes every second one.
OVERLAP = 32


@dataclass(frozen=True, slots=True)
class Problem:
    """One guided step of some rows: arrays as the fused graph wants them, and the solver's row."""

    x: FloatArray
    told: FloatArray
    condition: FloatArray
    level: FloatArray
    guidance: FloatArray
    known: FloatArray
    taken: FloatArray
    row: Row

    @classmethod
    def of(cls, model: BuiltinModel, rows: int) -> Problem:
        """Rows in the middle of a trajectory."""
        table = model.solver(model.facts.default_steps)
        middle = table.steps // 2
        noisy, _, condition, context, known = inputs(model.weights, rows, FRAMES)
        taken = np.zeros((rows, FRAMES), np.float32)
        taken[:, :OVERLAP:2] = 1
        level = np.full(rows, table.timesteps[middle], np.float32)
        guidance = np.full(rows, model.facts.default_guidance, np.float32)
        return cls(noisy, context, condition, level, guidance, known, taken, table.row(middle))

    def fused(self) -> dict[str, FloatArray]:
        """The fused graph's inputs."""
        table = np.repeat(np.array([self.row], np.float32), len(self.x), 0)
        nothing = np.zeros_like(self.x)
        return {
            "x": self.x,
            "h": nothing,
            "level": self.level,
            "condition": self.condition,
            "negative": np.zeros_like(self.condition),
            "guidance": self.guidance,
            "context": self.told,
            "known": self.known,
            "table": table,
            "shaping": np.repeat(np.array([[0.0, 1.0, 0.0]], np.float32), len(self.x), 0),
            "cached_x": self.x,
            "cached_h": nothing,
            "taken": self.taken,
        }

    def parts(self, model: BuiltinModel) -> Callable[[], object]:
        """The same, as the engine does it."""
        shape = (len(self.x), FRAMES, model.facts.latent_channels, model.facts.latent_bins)
        x, told = (np.ascontiguousarray(v.reshape(shape).transpose(0, 2, 1, 3)) for v in (self.x, self.told))
        h, taken = np.zeros_like(x), self.taken[:, None, :, None] > 0
        condition, negative = (Conditioning({"condition": v}) for v in (self.condition, np.zeros_like(self.condition)))

        def make() -> object:
            m = model.denoise(x, self.level, condition, negative, self.guidance, told, self.known)
            after, history = step(self.row, x, m, h)
            return np.where(taken, x, after), np.where(taken, h, history)

        return make


def ratios(weights: Weights, folder: Path, batches: Sequence[int], report: Report) -> dict[str, float]:
    """By rows: how often as fast as its parts the fused graph of an export is."""
    model = BuiltinModel(weights, Backend())
    run = open_graph(folder / "step.onnx", Backend())
    found = {}
    for rows in batches:
        report(f"fused step, {rows} rows: in turns with its parts")
        problem = Problem.of(model, rows)
        given = problem.fused()
        best = in_turns({"parts": problem.parts(model), "fused": _call(run, given)})
        found[f"rows_{rows}"] = best["parts"] / best["fused"]
    return found


def _call(run: Callable[[dict[str, FloatArray]], FloatArray], given: dict[str, FloatArray]) -> Callable[[], object]:
    return lambda: run(given)
