"""Panoramas: pictures wider than a model's view, made of views that are joined at every step, in a line or a circle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat

from safa_stream import joint
from safa_stream.coupling import Coupling
from safa_stream.errors import LayoutError
from safa_stream.layout import ViewLayout
from safa_stream.models.images.interface import ImageModel, Pixels
from safa_stream.operators import Along
from safa_stream.rendering.fitting import Canvas, fit, fit_aligned
from safa_stream.rendering.wanted import Panorama
from safa_stream.scene import MAD, SYNC, format_prompts
from safa_stream.trajectory import guided_steps
from safa_stream.types import Array

#: The reference lends rows, as the paper has it for pictures.
ALONG: Along = "rows"
#: The widest that a look is, in pixels; looks at a picture in the making; rows of latents that one has at least.
LOOK_WIDTH, LOOKS, LOOK_ROWS = 1024, 10, 4


@dataclass(frozen=True, slots=True)
class Planned:
    """How a panorama is made. notes: what differs from what was asked for, and why."""

    model: ImageModel
    plan: joint.JointPlan
    canvas: Canvas
    guidance: float
    coupling: Coupling
    notes: tuple[str, ...]
    likeness: Any = None

    @property
    def width(self) -> int:
        """Pixels of the picture."""
        return self.canvas.width * self.model.facts.scale


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a panorama is. `part` is "step" or "window"; left: seconds, None while that is not known."""

    part: str
    done: int
    total: int
    left: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A finished picture, the words that the model was not told, and the seconds that denoising and decoding took."""

    pixels: Pixels
    unknown_words: tuple[str, ...]
    run_time_s: float


def plan(model: ImageModel, wanted: Panorama) -> Planned:
    """Round what was asked for to what the model can make. Raises UsageError and LayoutError for what cannot be."""
    facts, notes = model.facts, list[str]()
    unit = facts.alignment * facts.scale
    height = _rounded("height", wanted.height or facts.height, unit, notes)
    model = model.at_height(height)
    view = _rounded("view", wanted.view or facts.view_frames * facts.scale, unit, notes) // facts.scale
    if facts.largest is not None and view > facts.largest:
        raise LayoutError(f"{facts.name} makes views of at most {facts.largest * facts.scale} pixels of width")
    if wanted.stride is not None:
        stride = _rounded("stride", wanted.stride, facts.scale, notes) // facts.scale
        if stride > view:
            raise LayoutError(f"a stride of {wanted.stride} pixels leaves gaps between views of {view * facts.scale}")
        layout = ViewLayout(view, view - stride)
    else:
        layout = ViewLayout.from_ratio(view, facts.default_overlap if wanted.overlap is None else wanted.overlap)
    frames = max(1, round(wanted.width / facts.scale))
    if wanted.method == MAD:
        canvas = fit_aligned(layout, frames, wanted.circular, facts.alignment)
    else:
        canvas = fit(layout, frames, wanted.circular, wanted.method.startswith("safa"))
    coupling = Coupling(wanted.method, wanted.attend_ratio, wanted.sync_weight, wanted.sync_steps)
    coupling.require(model)
    made = joint.JointPlan(
        layout,
        model.solver(facts.default_steps if wanted.steps is None else wanted.steps),
        coupling.joined,
        wanted.swap_interval,
        wanted.reference_ratio,
        wanted.circular,
        wanted.seed,
        coupling.batch(len(canvas.spans), wanted.batch),
        ALONG,
    )
    if canvas.width * facts.scale != wanted.width:
        notes.append(
            f"the width is {canvas.width * facts.scale} pixels instead of {wanted.width}: "
            f"whole views of {view * facts.scale} and latent columns of {facts.scale} fit that"
        )
    guidance = facts.default_guidance if wanted.guidance is None else wanted.guidance
    likeness = model.likeness(wanted.perceptual) if wanted.method == SYNC else None
    return Planned(model, made, canvas, guidance, coupling, tuple(notes), likeness)


def make(
    planned: Planned,
    wanted: Panorama,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    look: Callable[[Pixels], None] | None = None,
) -> Made | None:
    """The picture; None where it was stopped before it was done.

    stop: asked after every solver step and every decoded window. A KeyboardInterrupt counts as a stop. look: shown what
    the picture is to become, small, after every tenth of the steps; its time counts as the picture's.
    """
    model, plan, canvas = planned.model, planned.plan, planned.canvas

    def telling(part: str) -> Callable[[int, int], None]:
        began = time.perf_counter()

        def tell(done: int, total: int) -> None:
            passed = time.perf_counter() - began
            report(Progress(part, done, total, passed / done * (total - done)))
            if done < total and stop():
                raise KeyboardInterrupt

        report(Progress(part, 0, 1, None))
        return tell

    try:
        with model.memory():
            encoded = model.encode(wanted.prompts, wanted.negative)
            began = time.perf_counter()
            hooks = planned.coupling.hooks(
                model, plan.table, canvas.spans, canvas.width, encoded, planned.guidance, planned.likeness
            )
            latents = joint.generate(
                model,
                plan,
                canvas.spans,
                encoded,
                planned.guidance,
                telling("step"),
                canvas.width,
                _looking(planned, hooks, look),
            )
            pixels = model.decode(latents, wanted.circular, telling("window"))
    except KeyboardInterrupt:
        return None
    return Made(pixels, encoded.unknown_words, time.perf_counter() - began)


def calls(planned: Planned, wanted: Panorama) -> int:
    """How many views are denoised one step: the reference's and SyncDiffusion's gradients' included."""
    steps, views = planned.plan.table.steps, len(planned.canvas.spans)
    reference = guided_steps(planned.plan.reference_ratio, steps) if planned.plan.method == "safa" else 0
    synchronised = min(wanted.sync_steps, steps) * views if wanted.method == SYNC else 0
    return steps * views + reference + synchronised


def reduced_latents(latents: Array, factor: int) -> Array:
    """Latents [C, T, F] as means over squares of `factor`, what does not fill one left out."""
    xp = array_api_compat.array_namespace(latents)
    channels, columns, rows = int(latents.shape[0]), int(latents.shape[1]) // factor, int(latents.shape[2]) // factor
    whole = latents[:, : columns * factor, : rows * factor]
    return xp.mean(xp.reshape(whole, (channels, columns, factor, rows, factor)), axis=(2, 4))


def _looking(planned: Planned, hooks: joint.Hooks, look: Callable[[Pixels], None] | None) -> joint.Hooks:
    """The hooks, with a look after every tenth of the steps: reduced latents decode to a small picture."""
    if look is None:
        return hooks
    model, plan, canvas = planned.model, planned.plan, planned.canvas
    fewest, most = -(-planned.width // LOOK_WIDTH), model.facts.latent_bins // LOOK_ROWS
    factor, steps = max(1, min(max(2, fewest), most)), plan.table.steps

    def after(index: int, clean: Array) -> None:
        if (index + 1) * LOOKS // steps > index * LOOKS // steps and index + 1 < steps:
            latents = joint.on_canvas(plan, clean, canvas.spans, canvas.width)
            look(model.decode(reduced_latents(latents, factor), plan.circular))

    return replace(hooks, after=after)


def about(planned: Planned, wanted: Panorama) -> dict[str, Any]:
    """What a picture says of itself, and what its result says beside that: enough to make it again."""
    facts, layout = planned.model.facts, planned.plan.layout
    numbers: dict[str, dict[str, Any]] = {
        MAD: {"attend_ratio": wanted.attend_ratio},
        SYNC: {
            "sync_weight": wanted.sync_weight,
            "sync_steps": wanted.sync_steps,
            "distance": planned.likeness.name if planned.likeness else None,
        },
    }
    return {
        "prompt": format_prompts(wanted.prompts),
        "negative": format_prompts(wanted.negative),
        "seed": wanted.seed,
        "model": facts.name,
        "licence": facts.licence,
        "method": wanted.method,
        "width": planned.width,
        "height": facts.height,
        "circular": wanted.circular,
        "views": len(planned.canvas.spans),
        "view": layout.view * facts.scale,
        "overlap": round((layout.view - planned.canvas.hop) * facts.scale),
        "swap_interval": wanted.swap_interval,
        "reference_ratio": wanted.reference_ratio,
        "sampler": planned.plan.table.name,
        "steps": planned.plan.table.steps,
        "guidance": planned.guidance,
        **numbers.get(wanted.method, {}),
    }


def _rounded(name: str, pixels: int, unit: int, notes: list[str]) -> int:
    """The nearest multiple of `unit`, at least one; a difference is noted."""
    out = max(1, round(pixels / unit)) * unit
    if out != pixels:
        notes.append(f"the {name} is {out} pixels instead of {pixels}: the model takes multiples of {unit}")
    return out
