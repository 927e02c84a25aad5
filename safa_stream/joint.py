"""Joint generation: all views of a canvas at the same step, joined after each. This is SaFa as the paper has it.

A step: denoise the n views (and the reference, while it guides) in batches, make the solver step, write every merged
overlap into both neighbours, then every second Mid frame from the reference. On a circle the last view's neighbour is
the first. MultiDiffusion's methods average the views on the canvas instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import array_api_compat

from safa_stream.errors import UsageError
from safa_stream.layout import Span, ViewLayout
from safa_stream.models.interface import Denoiser, Encoded
from safa_stream.operators import Along, like, self_loop_swap, view_window
from safa_stream.scene import METHODS
from safa_stream.solvers import SolverTable, step
from safa_stream.trajectory import guided_steps
from safa_stream.types import Array
from safa_stream.views import REFERENCE, Batch, Lender, Record, first_state, roll_of

#: Views that the denoiser gets at once.
BATCH = 8
#: Called after every solver step with how many are done and how many there are.
Report = Callable[[int, int], None]


def _unchanged(index: int, views: Array) -> Array:
    return views


def _unseen(index: int, clean: Array) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a method does at a step, given its number, besides joining the views after it.

    before: the views' states [n, C, T, F] that the step starts from, in place of those given. around: entered around
    the denoiser's calls. after: shown the views' clean estimates [n, C, T, F] once the step is done.
    """

    before: Callable[[int, Array], Array] = _unchanged
    around: Callable[[int], AbstractContextManager[object]] = nullcontext
    after: Callable[[int, Array], None] = _unseen


#: Of methods that only join.
NO_HOOKS = Hooks()


@dataclass(frozen=True, slots=True)
class JointPlan:
    """How a canvas is made; methods as in `scene.METHODS`. Raises LayoutError where a swap has too much overlap.

    reference_roll: as in a stream, but off by default as the paper has none.
    """

    layout: ViewLayout
    table: SolverTable
    method: str = "safa"
    interval: int = 1
    reference_ratio: float = 0.3
    circular: bool = False
    seed: int = 0
    max_batch: int = BATCH
    reference_along: Along = "frames"
    reference_roll: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"no method is called {self.method!r}; there are {', '.join(METHODS)}")
        if not 0 <= self.reference_ratio <= 1 or self.max_batch < 1:
            raise UsageError("the reference ratio lies between 0 and 1, and a batch holds at least one view")
        if self.method in ("safa", "safa-self"):
            self.layout.require_tiling(f"method {self.method}")

    def spans(self, views: int) -> tuple[Span, ...]:
        """Where so many views lie."""
        if self.circular:
            return self.layout.circular_spans(views)
        return self.layout.linear_spans(self.layout.linear_width(views))

    def width(self, spans: Sequence[Span], width: int | None = None) -> int:
        """Frames of the canvas: `width` on a circle whose views were fitted to it, else what the views cover."""
        if width is not None:
            return width
        return len(spans) * self.layout.hop if self.circular else spans[-1].stop


def generate(
    model: Denoiser,
    plan: JointPlan,
    views: int | Sequence[Span],
    encoded: Encoded,
    guidance: float,
    report: Report | None = None,
    width: int | None = None,
    hooks: Hooks = NO_HOOKS,
) -> Array:
    """The canvas [C, W, F]; `views` says how many there are, or where they lie (on a circle: of `width` frames).

    Independent views are joined by a straight cross-fade of their final latents.
    """
    spans = plan.spans(views) if isinstance(views, int) else tuple(views)
    width = plan.width(spans, width)
    return on_canvas(plan, denoise_views(model, plan, spans, width, encoded, guidance, report, hooks), spans, width)


def on_canvas(plan: JointPlan, views: Array, spans: Sequence[Span], width: int) -> Array:
    """Views [n, C, L, F], joined already unless they are independent, laid on a canvas [C, W, F]."""
    if plan.method == "independent":
        return _averaged(views, spans, width, "triangular")
    xp, device = array_api_compat.array_namespace(views), array_api_compat.device(views)
    canvas = xp.empty((views.shape[1], width, views.shape[3]), dtype=views.dtype, device=device)
    for index, span in enumerate(spans):
        for inside, outside in span.pieces(width):
            canvas[:, outside] = views[index, :, inside]
    return canvas


def denoise_views(
    model: Denoiser,
    plan: JointPlan,
    spans: Sequence[Span],
    width: int,
    encoded: Encoded,
    guidance: float,
    report: Report | None = None,
    hooks: Hooks = NO_HOOKS,
) -> Array:
    """All views' final latents [n, C, L, F]; where two were merged they hold the same frames."""
    table, n = plan.table, len(spans)
    guided = guided_steps(plan.reference_ratio, table.steps) if plan.method == "safa" else 0
    x = _first_states(model, plan, spans, width, with_reference=guided > 0)
    xp = array_api_compat.array_namespace(x)
    h: Array | None = x * 0.0 if table.multistep else None
    reference = Record(n)
    if guided:
        reference.note(x, h)
    lenders = _lenders(plan, reference, n)
    batch = Batch([encoded] * min(plan.max_batch, n + 1), guidance)
    for index in range(table.steps):
        if index == guided:
            x, h = x[:n], None if h is None else h[:n]
        timestep = table.timesteps[index]
        if hooks is not NO_HOOKS:
            x = xp.concat([hooks.before(index, x[:n]), x[n:]])
        pieces = [x[at : at + plan.max_batch] for at in range(0, x.shape[0], plan.max_batch)]
        with hooks.around(index):
            m = xp.concat([model.denoise(piece, *batch.told(piece, timestep)) for piece in pieces])
        x, clean = step(table.row(index), x, m, h)
        h = clean if table.multistep else None
        if index < guided:
            reference.note(x, h)
        for rows, which in ((x, "states"), (h, "history")):
            if rows is not None:
                _join(plan, rows[:n], spans, width)
                if index < guided:
                    for view, lender in enumerate(lenders):
                        before, after = _overlaps(plan, spans, width, view)
                        lender.lend(rows[view], which, index, before, plan.layout.view - after)
        hooks.after(index, clean[:n])
        if report is not None:
            report(index + 1, table.steps)
    return x[:n]


def _first_states(model: Denoiser, plan: JointPlan, spans: Sequence[Span], width: int, with_reference: bool) -> Array:
    """[n (+ 1), C, L, F]: crops of one canvas of noise, shared where views overlap, and the reference's own."""
    length, scale = plan.layout.view, plan.table.initial_scale
    drawn = []
    for index, span in enumerate(spans):
        if plan.method == "independent":
            drawn.append(first_state(model, plan.seed, f"view {index}", 0, length, scale))
            continue
        for _, outside in span.pieces(width):
            count = outside.stop - outside.start
            drawn.append(first_state(model, plan.seed, "view", outside.start, count, scale))
    xp = array_api_compat.array_namespace(drawn[0])
    frames = xp.concat(drawn, axis=2)
    channels, bins = int(frames.shape[1]), int(frames.shape[3])
    states = xp.permute_dims(xp.reshape(frames, (channels, len(spans), length, bins)), (1, 0, 2, 3))
    if not with_reference:
        return states
    return xp.concat([states, first_state(model, plan.seed, REFERENCE, 0, length, scale)])


def _lenders(plan: JointPlan, reference: Record, views: int) -> list[Lender]:
    shifts = [roll_of(index, plan.layout.middle) if plan.reference_roll else 0 for index in range(views)]
    return [Lender([reference], [1.0], shift, plan.interval, plan.reference_along) for shift in shifts]


def _overlaps(plan: JointPlan, spans: Sequence[Span], width: int, view: int) -> tuple[int, int]:
    """Frames that a view shares with the one before and the one after it; at a line's ends the layout's overlap."""
    starts = [span.start for span in spans] + ([width] if plan.circular else [spans[-1].start + plan.layout.hop])
    before = plan.layout.hop if view == 0 and not plan.circular else starts[view] - starts[view - 1]
    if view == 0 and plan.circular:
        before = width - spans[-1].start
    after = starts[view + 1] - starts[view]
    return plan.layout.view - before, plan.layout.view - after


def _join(plan: JointPlan, rows: Array, spans: Sequence[Span], width: int) -> None:
    """Merge the overlaps of rows [n, C, L, F] in place by the plan's method."""
    if plan.method == "independent":
        return
    if plan.method in ("average", "triangular"):
        canvas = _averaged(rows, spans, width, plan.method)
        for index, span in enumerate(spans):
            for inside, outside in span.pieces(width):
                rows[index, :, inside] = canvas[:, outside]
        return
    length = plan.layout.view
    for left in range(len(spans) if plan.circular else len(spans) - 1):
        right = (left + 1) % len(spans)
        shared = _overlaps(plan, spans, width, left)[1]
        if shared:
            merged = self_loop_swap(rows[left, :, length - shared :], rows[right, :, :shared], plan.interval)
            rows[left, :, length - shared :] = merged
            rows[right, :, :shared] = merged


def _averaged(rows: Array, spans: Sequence[Span], width: int, method: str) -> Array:
    """The views' weighted mean on the canvas [C, W, F] (MultiDiffusion, and MD* with a triangular window)."""
    xp, device = array_api_compat.array_namespace(rows), array_api_compat.device(rows)
    window = like(view_window(int(rows.shape[2]), method)[:, None], rows)
    total = xp.zeros((rows.shape[1], width, rows.shape[3]), dtype=rows.dtype, device=device)
    weight = xp.zeros((width, 1), dtype=rows.dtype, device=device)
    for index, span in enumerate(spans):
        for inside, outside in span.pieces(width):
            total[:, outside] += window[inside] * rows[index, :, inside]
            weight[outside] += window[inside]
    return total / weight
