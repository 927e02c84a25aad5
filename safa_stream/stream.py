"""The continuation step: one view after the other, each joined to the trajectory of the one before it.

    view k-1   [ Left |      Mid      | Right ]         finished; the states of Right are kept for every step
    view k                            [ Left  |      Mid      | Right ]
                                       past ->   <- reference

After every solver step, overlap frames that the swap schedule names are replaced by the past's at the same step, and
in the first steps every second Mid frame by the reference trajectory's. A view's first `hop` frames are then final;
its Right waits for the next view. Frames are counted from the stream's start, and so is the noise: views share it.

A `View` is one of these in the making: it says what the denoiser is to be asked, takes the answer, and does one step.
So views of many streams, each at its own step, share the denoiser's batches (`step_views`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import array_api_compat
import numpy as np

from safa_stream.continuation import StreamPlan, StreamState, past_shares
from safa_stream.errors import UsageError
from safa_stream.models.grouped import asked, gathered, plain
from safa_stream.models.interface import Conditioning, Encoded, Model, mix_encoded, stack
from safa_stream.operators import like
from safa_stream.solvers import step
from safa_stream.trajectory import ReferenceTrajectory, Trajectory, copied
from safa_stream.types import Array, DoubleArray
from safa_stream.views import REFERENCE, Batch, Lender, Record, digest, first_state, roll_of

#: Prompts as (encoded, weight); weights sum to 1. Where they change within a view, all are arrays [L] of its frames.
Mixture = Sequence[tuple[Encoded, float]] | Sequence[tuple[Encoded, DoubleArray]]


def begin(plan: StreamPlan) -> StreamState:
    """The state before the first view."""
    return StreamState()


def flush(state: StreamState) -> Array:
    """The last view's Right [C, O, F], which `advance` holds back: what ends the stream."""
    if state.past is None:
        raise UsageError("a stream that has no view yet has nothing to flush")
    return state.past.states[-1]


def advance(
    model: Model,
    plan: StreamPlan,
    state: StreamState,
    direction: Encoded | Mixture,
    guidance: float,
    hop: int | None = None,
) -> tuple[StreamState, Array]:
    """Make the next view; returns the state after it and the `hop` latents [C, H, F] that are now final.

    hop: as of `View`.
    """
    view = View(model, plan, state, direction, guidance, hop)
    while not view.done:
        step_views(model, [view])
    made = view.finish()
    return made.state, made.hop


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A finished view: the stream's state after it, its whole trajectory [S + 1, C, L, F], and its first frame."""

    state: StreamState
    trajectory: Trajectory
    first_frame: int
    hop_frames: int

    @property
    def hop(self) -> Array:
        """The latents [C, H, F] that are now final."""
        return self.trajectory.states[-1][:, : self.hop_frames]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What the denoiser is to be asked for some rows [R, ...] of one view; each group of a row is one."""

    x: Array
    timesteps: Array
    conditioning: Conditioning
    negative: Conditioning
    guidance: Array
    context: Array | None
    known: Array | None


class View:
    """One view of a stream while it is made, from its noise to its last solver step.

    During a morph `direction` is a mixture: the view is told the weighted conditioning, and borrows from each prompt's
    reference a share of frames equal to its weight. A reference is made, in the same batch, when it is first needed,
    and kept while its prompt has weight. Where weights change from frame to frame, the view is told each prompt in a
    row of its own, and what the denoiser answers is weighted frame by frame.
    """

    def __init__(
        self,
        model: Model,
        plan: StreamPlan,
        state: StreamState,
        direction: Encoded | Mixture,
        guidance: float,
        hop: int | None = None,
    ) -> None:
        """hop: frames that are final once the view is made, the layout's or fewer: the next one begins after them."""
        self.model, self.plan, self.before = model, plan, state
        self.frame, self.hop = state.frame(plan), plan.layout.hop if hop is None else hop
        if not 0 < self.hop <= plan.layout.hop:
            raise UsageError(f"a view of this plan has a hop of 1 to {plan.layout.hop} frames, not {hop}")
        self.index, self._groups = 0, model.facts.groups
        parts: Mixture = [(direction, 1.0)] if isinstance(direction, Encoded) else direction
        # One that was made for fewer steps than this view wants guided is made again, to the same noise.
        self._kept = {key: kept for key, kept in state.references if kept.ratio >= plan.reference_ratio - 1e-9}
        moves = any(np.ndim(weight) for _, weight in parts)
        told = [part for part, _ in parts] if moves else [mix_encoded([(part, float(w)) for part, w in parts])]
        mid = slice(plan.layout.overlap, plan.layout.hop)
        keyed = {
            digest(model, part): (part, np.asarray(weight)[mid] if moves else weight)
            for part, weight in (parts if plan.guided_steps else ())
        }
        self._keys = tuple(keyed)
        missing = [key for key in keyed if key not in self._kept]
        self._made = {key: Record(row) for row, key in enumerate(missing, start=1)}
        self._batch = Batch([*told, *(keyed[key][0] for key in missing)], guidance)
        self._record = Record(0)
        self._x = _noise(model, plan, state, len(missing))
        self._h: Array | None = self._x * 0.0 if plan.table.multistep else None
        self._told = len(told)
        weights = np.stack([np.asarray(weight, np.float32) for _, weight in parts])
        self._weights = like(weights[:, None, :, None], self._x) if moves else None
        times = plan.table.times
        sources = [self._made[key] if key in self._made else self._kept[key].trajectory.at(times) for key in self._keys]
        self._lender = Lender(
            sources,
            [weight for _, weight in keyed.values()],
            roll_of(state.index, plan.layout.middle) if plan.reference_roll else 0,
            plan.reference_interval,
            plan.reference_along,
            plan.reference_level,
        )
        # A kept reference that was made with other steps may end earlier than this view would like.
        lengths = [source.steps for source in sources if isinstance(source, Trajectory)]
        self._guided = min([plan.guided_steps, *lengths])
        for record in (self._record, *self._made.values()):
            record.note(self._x, self._h)
        self._past = Past(model, plan, state, self._x)

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.index >= self.plan.table.steps

    @property
    def rows(self) -> int:
        """Rows that the next step asks the denoiser for: of the view's groups, and of references in the making."""
        return self._told * self._groups + self._lent

    @property
    def _lent(self) -> int:
        """Rows of references in the next step; all groups have the same."""
        return 0 if self.index >= self.plan.guided_steps else int(self._x.shape[0]) - 1

    def question(self) -> Question:
        """What the denoiser is to be asked for the next step."""
        if self.index >= self.plan.guided_steps:
            self._x = self._x[:1]
            self._h = None if self._h is None else self._h[:1]
        x, xp = self._x, array_api_compat.array_namespace(self._x)
        if self._told > 1:
            x = xp.concat([x[:1]] * self._told + [x[1:]])
        told = self._batch.told(x, self.plan.table.timesteps[self.index])
        return Question(*asked(self._groups, self._lent, x, *told, *self._past.told(x, self.index, self._told)))

    def answer(self, m: Array) -> None:
        """Take the denoiser's output [R, C, L, F] for the question's rows and make the step."""
        plan, index, layout = self.plan, self.index, self.plan.layout
        m = gathered(m, self._groups, self._lent)
        if self._weights is not None:
            xp = array_api_compat.array_namespace(m)
            own = xp.sum(m[: self._told] * self._weights, axis=0, keepdims=True)
            m = xp.concat([own, m[self._told :]])
        x, clean = step(plan.table.row(index), self._x, m, self._h)
        h = clean if plan.table.multistep else None
        if index < plan.guided_steps:
            for record in self._made.values():
                record.note(x, h)
        for rows, which in ((x, "states"), (h, "history")):
            if rows is None:
                continue
            self._past.join(rows[0], which, index)
            if index < self._guided:
                self._lender.lend(rows[0], which, index, layout.overlap, layout.hop)
        self._record.note(x, h)
        self._x, self._h, self.index = x, h, index + 1

    def finish(self) -> Made:
        """What was made. Raises UsageError before the last step."""
        if not self.done:
            raise UsageError(f"the view has made {self.index} of {self.plan.table.steps} steps")
        times, before, layout = self.plan.table.times, self.before, self.plan.layout
        whole = self._record.trajectory(times)
        fresh = {
            key: ReferenceTrajectory(record.trajectory(times), self.plan.reference_ratio)
            for key, record in self._made.items()
        }
        references = tuple((key, (self._kept | fresh)[key]) for key in self._keys)
        right = whole.frames(self.hop, self.hop + layout.overlap).each(copied)
        after = StreamState(before.index + 1, right, references, before.shift + self.hop - layout.hop)
        return Made(after, whole, self.frame, self.hop)


def step_views(model: Model, views: Sequence[View]) -> None:
    """One solver step of every view in one denoiser call; views of any stream, at any step, of one length, and of as
    many groups of channels as each has."""
    questions = [view.question() for view in views]
    answer = _ask(plain(model), questions)
    start = 0
    for view, question in zip(views, questions, strict=True):
        stop = start + int(question.x.shape[0])
        view.answer(answer[start:stop])
        start = stop


def _ask(model: Model, questions: Sequence[Question]) -> Array:
    if len(questions) == 1:
        q = questions[0]
        return model.denoise(q.x, q.timesteps, q.conditioning, q.negative, q.guidance, q.context, q.known)
    xp = array_api_compat.array_namespace(questions[0].x)
    context = known = None
    if any(q.context is not None for q in questions):
        # Nothing is known where a view was told nothing.
        context = xp.concat([q.x * 0.0 if q.context is None else q.context for q in questions])
        known = xp.concat([q.x[:, 0, :, 0] * 0.0 if q.known is None else q.known for q in questions])
    return model.denoise(
        xp.concat([q.x for q in questions]),
        xp.concat([q.timesteps for q in questions]),
        stack([q.conditioning for q in questions]),
        stack([q.negative for q in questions]),
        xp.concat([q.guidance for q in questions]),
        context,
        known,
    )


class Past:
    """The view before, as the next one meets it: joined to its overlap after every step, told to models that listen."""

    def __init__(self, model: Model, plan: StreamPlan, state: StreamState, x: Array) -> None:
        self.trajectory = None if state.past is None else state.past.at(plan.table.times)
        self.overlap = plan.layout.overlap
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
        if self.joins and self.trajectory is not None:
            xp, own = array_api_compat.array_namespace(view), view[:, : self.overlap]
            past = self.trajectory.kept(which, index + 1)
            if self.copied[index]:
                own[...] = xp.where(self.masks[index], past, own)
            else:
                own[...] = self.shares[index] * past + self.rest[index] * own

    def told(self, x: Array, index: int, rows: int) -> tuple[Array | None, Array | None]:
        """(context [B, C, L, F], known [B, L]) for the batch's first rows; the others, references, are told nothing.

        Known are just the frames that this step takes from the past anyway: what a model says there may mean nothing.
        """
        if not self.tells or self.trajectory is None:
            return None, None
        context, known = x * 0.0, x[:, 0, :, 0] * 0.0
        known[:rows, : self.overlap] = self.known[index]
        context[:rows, :, : self.overlap] = self.trajectory.states[-1] * self.known[index][:, None]
        return context, known


def _noise(model: Model, plan: StreamPlan, state: StreamState, references: int) -> Array:
    """First states [1 + R, C, L, F]: the view's noise, and the reference's, which is the same for every prompt.

    One noise for all references lets those of a morph put their events at the same places.
    """
    view, scale = plan.layout.view, plan.table.initial_scale
    if plan.method == "independent":
        own = first_state(model, plan.seed, f"view {state.index}", 0, view, scale)
    else:
        own = first_state(model, plan.seed, "view", state.frame(plan), view, scale)
    if not references:
        return own
    lent = first_state(model, plan.seed, REFERENCE, 0, view, scale)
    return array_api_compat.array_namespace(own).concat([own] + [lent] * references)
