"""Streaming with look-ahead: a view is denoised together with those that will follow it, which are then thrown away.

    finished   view k-1   [ Left |  Mid  | Right ]
    this call  view k                    [ Left  |  Mid  | Right ]                       given
               view k+1                                  [ Left  |  Mid  | Right ]       thrown away, made again next
                                          one-sided        both ways

Unfinished neighbours swap both ways as in joint SaFa, the first of them one-sided with the finished past as in the
stream. With `given` above 1 so many of them are kept: the same cost as the stream, a seam to the past every so many
hops, and so many hops at once. With nothing ahead this is the stream, bit for bit.

With `level_ratio` above the plan's reference ratio, Mid's mean goes on to be made the reference's for that share of the
steps, though its frames are no longer swapped in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import array_api_compat

from safa_stream.continuation import StreamPlan, StreamState
from safa_stream.evaluation.continuation.ground import Ground
from safa_stream.models.interface import Encoded
from safa_stream.operators import Mask, choose
from safa_stream.solvers import step
from safa_stream.stream import Past
from safa_stream.swap import SwapSchedule
from safa_stream.trajectory import ReferenceTrajectory, copied, guided_steps
from safa_stream.types import Array
from safa_stream.views import Batch, Lender, Record, digest, first_state, roll_of

#: How unfinished neighbours swap in the paper: every second frame, at every step.
BOTH_WAYS = SwapSchedule("alternate", context=False)


@dataclass(slots=True, eq=False)
class LookAhead:
    """A stream by `plan` in which every view is made with `ahead` more; `between` says how those swap."""

    ground: Ground
    plan: StreamPlan
    ahead: int = 0
    given: int = 1
    between: SwapSchedule = BOTH_WAYS
    level_ratio: float = 0.0
    state: StreamState = field(default_factory=StreamState)

    def advance(self, told: Encoded) -> Array:
        """The next `given` hops."""
        self.state, latents = advance(
            self.ground, self.plan, self.state, told, self.ahead, self.given, self.between, self.level_ratio
        )
        return latents

    def flush(self) -> Array:
        """The last view's Right."""
        assert self.state.past is not None
        return self.state.past.states[-1]

    @property
    def begun(self) -> int:
        return self.plan.layout.overlap

    @property
    def held(self) -> Sequence[Array]:
        kept = [] if self.state.past is None else [self.state.past]
        kept += [reference.trajectory for _, reference in self.state.references]
        return [a for trajectory in kept for a in (trajectory.states, trajectory.history) if a is not None]


def advance(
    ground: Ground,
    plan: StreamPlan,
    state: StreamState,
    told: Encoded,
    ahead: int = 0,
    given: int = 1,
    between: SwapSchedule = BOTH_WAYS,
    level_ratio: float = 0.0,
) -> tuple[StreamState, Array]:
    """Make `1 + ahead` views together; the state after the first `given` of them, and their hops [C, given * H, F]."""
    model, layout, table, count = ground.model, plan.layout, plan.table, 1 + ahead
    levelled = max(plan.guided_steps, guided_steps(level_ratio, table.steps)) if plan.guided_steps else 0
    key, references = digest(model, told), dict(state.references)
    fresh = Record(count) if plan.guided_steps and key not in references else None
    x = _first_states(ground, plan, state, count, with_reference=fresh is not None)
    xp = array_api_compat.array_namespace(x)
    h: Array | None = x * 0.0 if table.multistep else None
    batch = Batch([told] * (count + 1), ground.guidance)
    lent = fresh or (references[key].trajectory.at(table.times) if plan.guided_steps else Record(0))
    lenders = [
        Lender(
            [lent],
            [1.0],
            roll_of(state.index + at, layout.middle) if plan.reference_roll else 0,
            plan.reference_interval,
            plan.reference_along,
            plan.reference_level,
        )
        for at in range(count)
    ]
    past, records = Past(model, plan, state, x), [Record(row) for row in range(count)]
    for record in (*records, *([fresh] if fresh else [])):
        record.note(x, h)
    for index in range(table.steps):
        if index == levelled:
            x, h = x[:count], None if h is None else h[:count]
        m = model.denoise(x, *batch.told(x, table.timesteps[index]), *past.told(x, index, 1))
        x, clean = step(table.row(index), x, m, h)
        h = clean if table.multistep else None
        if fresh and index < levelled:
            fresh.note(x, h)
        for rows, which in ((x, "states"), (h, "history")):
            if rows is None:
                continue
            if plan.guided_steps <= index < levelled:
                level(rows[:count], getattr(lent, which)[index + 1], layout.overlap)
            past.join(rows[0], which, index)
            merge(rows[:count], between.mask(index, table.steps, layout.overlap))
            if index < plan.guided_steps:
                for at, lender in enumerate(lenders):
                    lender.lend(rows[at], which, index, layout.overlap, layout.hop)
        for record in records:
            record.note(x, h)
    made = [record.trajectory(table.times) for record in records[:given]]
    if fresh:
        references[key] = ReferenceTrajectory(fresh.trajectory(table.times), plan.reference_ratio)
    kept = ((key, references[key]),) if plan.guided_steps else ()
    after = replace(
        state,
        index=state.index + given,
        past=made[-1].frames(layout.hop, layout.view).each(copied),
        references=kept,
    )
    return after, xp.concat([trajectory.states[-1][:, : layout.hop] for trajectory in made], axis=1)


def merge(rows: Array, mask: Mask) -> None:
    """Swap the overlaps of neighbours in rows [n, C, L, F] in place: both then hold the same, each frame one parent's.

    The mask [O] is True where the left view's frame is taken (Eq. 9 with any mask).
    """
    overlap = len(mask)
    for left in range(int(rows.shape[0]) - 1 if overlap else 0):
        merged = choose(mask, rows[left, :, -overlap:], rows[left + 1, :, :overlap])
        rows[left, :, -overlap:] = merged
        rows[left + 1, :, :overlap] = merged


def level(rows: Array, reference: Array, overlap: int) -> None:
    """Move rows [n, C, L, F] in place, all frames by one amount, so that Mid's mean is the reference's."""
    xp, mid = array_api_compat.array_namespace(rows), slice(overlap, int(rows.shape[2]) - overlap)
    rows += xp.mean(reference[:, mid], axis=1, keepdims=True) - xp.mean(rows[:, :, mid], axis=2, keepdims=True)


def _first_states(ground: Ground, plan: StreamPlan, state: StreamState, count: int, with_reference: bool) -> Array:
    """[n (+ 1), C, L, F]: the views' noise, shared where they overlap, and the reference's own."""
    layout, scale = plan.layout, plan.table.initial_scale
    drawn = [
        first_state(ground.model, plan.seed, "view", state.frame(plan) + at * layout.hop, layout.view, scale)
        for at in range(count)
    ]
    if with_reference:
        drawn.append(first_state(ground.model, plan.seed, "reference", 0, layout.view, scale))
    return array_api_compat.array_namespace(drawn[0]).concat(drawn)
