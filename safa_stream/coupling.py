"""Methods that do more than join views after each step: MAD and SyncDiffusion, around MultiDiffusion's average.

MAD (arXiv 2408.15660): views attend to each other in the first steps, and the queries of cross-attention are merged in
all. SyncDiffusion (arXiv 2306.05178): ahead of its first steps views are brought nearer to the middle one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from safa_stream.joint import NO_HOOKS, Hooks
from safa_stream.layout import Span
from safa_stream.models.interface import Encoded, OpenDenoiser
from safa_stream.scene import ATTEND_RATIO, JOINT_ONLY, MAD, SYNC, SYNC_STEPS, SYNC_WEIGHT
from safa_stream.solvers import SolverTable
from safa_stream.trajectory import guided_steps
from safa_stream.types import Array

#: SyncDiffusion's weights fall by this from step to step.
DECAY = 0.95


@dataclass(frozen=True, slots=True)
class Coupling:
    """A method by name, of all that there are, and the numbers of those two.

    attend_ratio: share of the steps in which MAD's views attend to each other. sync_weight, sync_steps: how far
    SyncDiffusion's views follow the middle one at first, and in how many steps.
    """

    method: str
    attend_ratio: float = ATTEND_RATIO
    sync_weight: float = SYNC_WEIGHT
    sync_steps: int = SYNC_STEPS

    @property
    def joined(self) -> str:
        """How views are joined after each step, by the names that a `JointPlan` takes."""
        return "average" if self.method in JOINT_ONLY else self.method

    def batch(self, views: int, largest: int) -> int:
        """Views that the denoiser gets at once: MAD's are there for each other, so it gets all."""
        return views if self.method == MAD else largest

    def require(self, model: OpenDenoiser) -> None:
        """Raise ModelError or UsageError where the model does not let the method in."""
        if self.method in JOINT_ONLY:
            model.require_open(self.method)

    def hooks(
        self,
        model: OpenDenoiser,
        table: SolverTable,
        spans: Sequence[Span],
        width: int,
        encoded: Encoded,
        guidance: float,
        likeness: Any = None,
    ) -> Hooks:
        """What the method does at a step. likeness: of the model, which SyncDiffusion needs."""
        starts, view = [span.start for span in spans], spans[0].length
        merged = guided_steps(self.attend_ratio, table.steps)

        def attending(index: int) -> AbstractContextManager[object]:
            return model.merging(starts, view, width, table.timesteps[index], index < merged)

        def synchronised(index: int, views: Array) -> Array:
            if index >= self.sync_steps or self.sync_weight == 0:
                return views
            # A model that lets the method in has torch.
            from safa_stream.models.synchronising import synchronised as brought_nearer

            weight, timestep = self.sync_weight * DECAY**index, table.timesteps[index]
            with model.memory():
                return brought_nearer(model, likeness, views, timestep, table.row(index), encoded, guidance, weight)

        if self.method == SYNC:
            return Hooks(before=synchronised)
        return Hooks(around=attending) if self.method == MAD else NO_HOOKS
