"""A stream's plan, which stays, and its state, which moves on with every view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models.interface import Model
from safa_stream.operators import Along, Weights, past_share
from safa_stream.scene import METHODS
from safa_stream.solvers import SolverTable
from safa_stream.swap import DEFAULT_SCHEDULE, SwapSchedule
from safa_stream.trajectory import AnyNumpy, ReferenceTrajectory, Tensors, Trajectory, guided_steps


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What stays fixed over a stream. Raises LayoutError where a swap is asked for at more than half a view's overlap.

    reference_roll: turn the reference's Mid in a circle, differently for every view. Without it each view has the same
    events at the same place, which is heard as a loop of one hop.

    reference_level: while the reference is swapped in, Mid's mean over time is made the reference's too. Without it
    views agree at every border and yet differ in level and colour, which is heard as steps a hop apart.
    """

    layout: ViewLayout
    table: SolverTable
    schedule: SwapSchedule = DEFAULT_SCHEDULE
    reference_ratio: float = 0.3
    reference_interval: int = 1
    seed: int = 0
    method: str = "safa"
    reference_along: Along = "frames"
    reference_roll: bool = True
    reference_level: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"no method is called {self.method!r}; there are {', '.join(METHODS)}")
        if not 0 <= self.reference_ratio <= 1:
            raise UsageError(f"the reference ratio lies between 0 and 1, not {self.reference_ratio}")
        if self.swaps:
            self.layout.require_tiling(f"method {self.method}")

    @property
    def swaps(self) -> bool:
        """Whether frames are swapped rather than averaged or left alone."""
        return self.method in ("safa", "safa-self")

    @property
    def guided_steps(self) -> int:
        """Steps after which the reference is swapped in; 0 where the method has none."""
        if self.method != "safa" or not self.layout.middle:
            return 0
        return guided_steps(self.reference_ratio, self.table.steps)


@dataclass(frozen=True, slots=True, eq=False)
class StreamState:
    """Where a stream stands: the next view's index, the past's Right, and reference trajectories by conditioning.

    The next view begins at frame index * hop + shift; a stream whose views were never cut short has shift 0. `past` are
    the states of the overlap frames from there on, made by any number of steps.
    """

    index: int = 0
    past: Trajectory | None = None
    references: tuple[tuple[str, ReferenceTrajectory], ...] = ()
    shift: int = 0

    def frame(self, plan: StreamPlan) -> int:
        """The frame at which the next view begins."""
        return self.index * plan.layout.hop + self.shift

    def to_tensors(self, model: Model) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        tensors: Tensors = {"stream/index": np.array(self.index), "stream/shift": np.array(self.shift)}
        if self.past is not None:
            tensors |= self.past.to_tensors("stream/past/", model.to_numpy)
        for key, reference in self.references:
            tensors |= reference.trajectory.to_tensors(f"stream/reference/{key}/", model.to_numpy)
            tensors[f"stream/reference/{key}/ratio"] = np.array(reference.ratio)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], model: Model) -> StreamState:
        """What `to_tensors` wrote. Raises SnapshotError where a tensor is missing."""
        for name in ("stream/index", "stream/shift"):
            if name not in tensors:
                raise SnapshotError(f"a saved stream lacks its tensor {name}")
        past, references = None, []
        if "stream/past/states" in tensors:
            past = Trajectory.from_tensors(tensors, "stream/past/", model.from_numpy)
        for name in sorted(tensors):
            if name.startswith("stream/reference/") and name.endswith("/ratio"):
                prefix = name.removesuffix("ratio")
                trajectory = Trajectory.from_tensors(tensors, prefix, model.from_numpy)
                reference = ReferenceTrajectory(trajectory, float(np.asarray(tensors[name])))
                references.append((prefix.split("/")[2], reference))
        index, shift = (int(np.asarray(tensors[f"stream/{name}"])) for name in ("index", "shift"))
        return cls(index, past, tuple(references), shift)


def past_shares(plan: StreamPlan, state: StreamState) -> Weights | None:
    """[S, O]: the past's share of the next view's overlap frames after every step; None where nothing is joined."""
    steps, layout = plan.table.steps, plan.layout
    if state.past is None or plan.method == "independent" or not layout.overlap:
        return None
    if plan.swaps:
        return np.stack([plan.schedule.weights(index, steps, layout.overlap) for index in range(steps)])
    return np.stack([past_share(layout.view, layout.overlap, state.index, plan.method)] * steps)
