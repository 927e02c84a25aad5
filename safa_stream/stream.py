"""The continuation step: one view after the other, each joined to the trajectory of the one before it.

    view k-1   [ Left |      Mid      | Right ]         finished; the states of Right are kept for every step
    view k                            [ Left  |      Mid      | Right ]
                                       past ->   <- reference

After every solver step, overlap frames that the swap schedule names are replaced by the past's at the same step, and
in the first steps every second Mid frame by the reference trajectory's. A view's first `hop` frames are then final;
its Right waits for the next view. Frames are counted from the stream's start, and so is the noise: views share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import array_api_compat
import numpy as np

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models.interface import Encoded, Model, mix_encoded
from safa_stream.operators import Along, Weights, like, past_share
from safa_stream.solvers import SolverTable, step
from safa_stream.swap import DEFAULT_SCHEDULE, SwapSchedule
from safa_stream.trajectory import AnyNumpy, ReferenceTrajectory, Tensors, Trajectory, guided_steps
from safa_stream.types import Array
from safa_stream.views import METHODS, Batch, Lender, Record, digest, first_state, roll_of

#: Prompts as (encoded, weight); weights sum to 1.
Mixture = Sequence[tuple[Encoded, float]]


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
    """Where a stream stands: the next view's index, the past's Right, and reference trajectories by conditioning."""

    index: int = 0
    past: Trajectory | None = None
    references: tuple[tuple[str, ReferenceTrajectory], ...] = ()

    def to_tensors(self, model: Model) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        tensors: Tensors = {"stream/index": np.array(self.index)}
        if self.past is not None:
            tensors |= self.past.to_tensors("stream/past/", model.to_numpy)
        for key, reference in self.references:
            tensors |= reference.trajectory.to_tensors(f"stream/reference/{key}/", model.to_numpy)
            tensors[f"stream/reference/{key}/ratio"] = np.array(reference.ratio)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], model: Model) -> StreamState:
        """What `to_tensors` wrote. Raises SnapshotError where a tensor is missing."""
        if "stream/index" not in tensors:
            raise SnapshotError("a saved stream lacks its tensor stream/index")
        past, references = None, []
        if "stream/past/states" in tensors:
            past = Trajectory.from_tensors(tensors, "stream/past/", model.from_numpy)
        for name in sorted(tensors):
            if name.startswith("stream/reference/") and name.endswith("/ratio"):
                prefix = name.removesuffix("ratio")
                trajectory = Trajectory.from_tensors(tensors, prefix, model.from_numpy)
                reference = ReferenceTrajectory(trajectory, float(np.asarray(tensors[name])))
                references.append((prefix.split("/")[2], reference))
        return cls(int(np.asarray(tensors["stream/index"])), past, tuple(references))


def begin(plan: StreamPlan) -> StreamState:
    """The state before the first view."""
    return StreamState()


def flush(state: StreamState) -> Array:
    """The last view's Right [C, O, F], which `advance` holds back: what ends the stream."""
    if state.past is None:
        raise UsageError("a stream that has no view yet has nothing to flush")
    return state.past.states[-1]


def advance(
    model: Model, plan: StreamPlan, state: StreamState, direction: Encoded | Mixture, guidance: float
) -> tuple[StreamState, Array]:
    """Make the next view; returns the state after it and the `hop` latents [C, H, F] that are now final.

    During a morph `direction` is a mixture: the view is told the weighted conditioning, and borrows from each prompt's
    reference a share of frames equal to its weight. A reference is made, in the same batch, when it is first needed,
    and kept while its prompt has weight.
    """
    parts: Mixture = [(direction, 1.0)] if isinstance(direction, Encoded) else direction
    layout, table, guided = plan.layout, plan.table, plan.guided_steps
    kept = dict(state.references)
    keyed = {digest(model, part): (part, weight) for part, weight in parts} if guided else {}
    missing = [key for key in keyed if key not in kept]
    batch = Batch([mix_encoded(parts), *(keyed[key][0] for key in missing)], guidance)
    made = {key: Record(row) for row, key in enumerate(missing, start=1)}
    right = Record(0, layout.hop)
    lender = Lender(
        [made[key] if key in made else kept[key].trajectory for key in keyed],
        [weight for _, weight in keyed.values()],
        roll_of(state.index, layout.middle) if plan.reference_roll else 0,
        plan.reference_interval,
        plan.reference_along,
        plan.reference_level,
    )
    x = _noise(model, plan, state.index, len(missing))
    h: Array | None = x * 0.0 if table.multistep else None
    for record in (right, *made.values()):
        record.note(x, h)
    past = _Past(model, plan, state, x)
    for index in range(table.steps):
        if index == guided and missing:
            x, h = x[:1], None if h is None else h[:1]
        m = model.denoise(x, *batch.told(x, table.timesteps[index]), *past.told(x, index))
        x, clean = step(table.row(index), x, m, h)
        h = clean if table.multistep else None
        if index < guided:
            for record in made.values():
                record.note(x, h)
        for rows, which in ((x, "states"), (h, "history")):
            if rows is None:
                continue
            past.join(rows[0], which, index)
            if index < guided:
                lender.lend(rows[0], which, index, layout.overlap, layout.hop)
        right.note(x, h)
    fresh = {key: ReferenceTrajectory(record.trajectory(), plan.reference_ratio) for key, record in made.items()}
    references = tuple((key, (kept | fresh)[key]) for key in keyed)
    return StreamState(state.index + 1, right.trajectory(), references), x[0, :, : layout.hop]


def past_shares(plan: StreamPlan, state: StreamState) -> Weights | None:
    """[S, O]: the past's share of the next view's overlap frames after every step; None where nothing is joined."""
    steps, layout = plan.table.steps, plan.layout
    if state.past is None or plan.method == "independent" or not layout.overlap:
        return None
    if plan.swaps:
        return np.stack([plan.schedule.weights(index, steps, layout.overlap) for index in range(steps)])
    return np.stack([past_share(layout.view, layout.overlap, state.index, plan.method)] * steps)


class _Past:
    """The view before, as the next one meets it: joined to its overlap after every step, told to models that listen."""

    def __init__(self, model: Model, plan: StreamPlan, state: StreamState, x: Array) -> None:
        self.trajectory, self.overlap = state.past, plan.layout.overlap
        shares = past_shares(plan, state)
        self.joins = shares is not None
        self.tells = self.joins and model.facts.takes_context and plan.swaps and plan.schedule.context
        if shares is None:
            return
        whole = shares > 0.5
        self.copied = np.all(shares == whole, axis=1).tolist()
        self.masks, self.shares, self.rest = (like(table[:, :, None], x) for table in (whole, shares, 1 - shares))
        self.known = like(np.asarray(shares == 1, np.float32), x)

    def join(self, view: Array, which: str, index: int) -> None:
        """Write the past's states or history after step `index` into a view's [C, L, F]."""
        if self.joins:
            xp, own = array_api_compat.array_namespace(view), view[:, : self.overlap]
            past = getattr(self.trajectory, which)[index + 1]
            if self.copied[index]:
                own[...] = xp.where(self.masks[index], past, own)
            else:
                own[...] = self.shares[index] * past + self.rest[index] * own

    def told(self, x: Array, index: int) -> tuple[Array | None, Array | None]:
        """(context [B, C, L, F], known [B, L]) for the batch's first row; the others, references, are told nothing.

        Known are just the frames that this step takes from the past anyway: what a model says there may mean nothing.
        """
        if not self.tells or self.trajectory is None:
            return None, None
        context, known = x * 0.0, x[:, 0, :, 0] * 0.0
        known[0, : self.overlap] = self.known[index]
        context[0, :, : self.overlap] = self.trajectory.states[-1] * self.known[index][:, None]
        return context, known


def _noise(model: Model, plan: StreamPlan, index: int, references: int) -> Array:
    """First states [1 + R, C, L, F]: the view's noise, and the reference's, which is the same for every prompt.

    One noise for all references lets those of a morph put their events at the same places.
    """
    view, scale = plan.layout.view, plan.table.initial_scale
    if plan.method == "independent":
        own = first_state(model, plan.seed, f"view {index}", 0, view, scale)
    else:
        own = first_state(model, plan.seed, "view", index * plan.layout.hop, view, scale)
    if not references:
        return own
    lent = first_state(model, plan.seed, "reference", 0, view, scale)
    return array_api_compat.array_namespace(own).concat([own] + [lent] * references)
