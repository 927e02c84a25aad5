"""Sounds to measure: streams, joint canvases and cross-faded independent views, as latents or as samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from safa_stream import joint, stream
from safa_stream.continuation import StreamPlan
from safa_stream.decode import decode_whole
from safa_stream.engine import chunks
from safa_stream.errors import UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models.builtin.features import Array
from safa_stream.models.interface import Encoded, Model
from safa_stream.scene import Scene, parse_prompts
from safa_stream.swap import DEFAULT_SCHEDULE, SwapSchedule


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a sound of several views.

    kind: "stream" (one view after the other, chunk by chunk as a listener gets it) or "joint" (all views at once).
    `method` and `schedule` are those of the stream or the canvas; a stream's independent views are cross-faded.
    interval: the swap interval of a canvas.
    """

    kind: str
    method: str = "safa"
    schedule: SwapSchedule = DEFAULT_SCHEDULE
    interval: int = 1


#: What the seam measures compare. "stream" is what the project ships; "joint" is the paper's SaFa.
WAYS: dict[str, Way] = {
    "stream": Way("stream"),
    "joint": Way("joint"),
    "one-sided": Way("stream", schedule=SwapSchedule("alternate", context=False)),
    "average": Way("joint", "average"),
    "stream-average": Way("stream", "average", replace(DEFAULT_SCHEDULE, context=False)),
    "cached": Way("stream", schedule=SwapSchedule("cached", context=False)),
    "independent": Way("stream", "independent"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What all sounds of a comparison share. None: the model's default. hop: frames that each view of a stream adds,
    where that is fewer than its layout's, as with hops on bars.
    """

    views: int = 5
    steps: int | None = None
    guidance: float | None = None
    overlap: float | None = None
    reference_ratio: float = 0.3
    hop: int | None = None

    def measured(self, model: Model) -> ViewLayout:
        """Where views and overlaps lie in the sound: that of views as long as the hop and the overlap."""
        layout = self.layout(model)
        return layout if self.hop is None else ViewLayout(self.hop + layout.overlap, layout.overlap)

    def layout(self, model: Model) -> ViewLayout:
        """The view layout."""
        facts = model.facts
        ratio = facts.default_overlap if self.overlap is None else self.overlap
        return ViewLayout.from_ratio(facts.view_frames, ratio, facts.frame_alignment)

    def steps_of(self, model: Model) -> int:
        """Solver steps a view."""
        return self.steps or model.facts.default_steps

    def guidance_of(self, model: Model) -> float:
        """Guidance scale."""
        return model.facts.default_guidance if self.guidance is None else self.guidance


def encode(model: Model, prompt: str, seed: int) -> Encoded:
    """The conditioning of a prompt line."""
    return model.encode(parse_prompts(prompt), (), seed)


def latents(model: Model, prompt: str, way: Way, settings: Settings, seed: int) -> Array:
    """Latents [C, W, F] of `settings.views` views in a line; independent views only exist as sound."""
    layout, table = settings.layout(model), model.solver(settings.steps_of(model))
    encoded, guidance = encode(model, prompt, seed), settings.guidance_of(model)
    if way.kind == "joint":
        if settings.hop is not None:
            raise UsageError("hops of their own are for streams; joint views lie where their canvas puts them")
        canvas_plan = joint.JointPlan(layout, table, way.method, way.interval, settings.reference_ratio, seed=seed)
        return model.to_numpy(joint.generate(model, canvas_plan, settings.views, encoded, guidance))
    plan = StreamPlan(layout, table, way.schedule, settings.reference_ratio, seed=seed, method=way.method)
    state, parts = stream.begin(plan), []
    for _ in range(settings.views):
        state, hop = stream.advance(model, plan, state, encoded, guidance, settings.hop)
        parts.append(model.to_numpy(hop))
    return np.concatenate([*parts, model.to_numpy(stream.flush(state))], axis=1)


def sound(model: Model, prompt: str, way: Way, settings: Settings, seed: int) -> tuple[Array, list[int]]:
    """Samples [channels, N] of the same, and the samples where its chunks meet."""
    if way.kind == "joint" or settings.hop is not None:
        return decode_whole(model.decoder(), latents(model, prompt, way, settings, seed), seed), []
    scene = Scene(
        parse_prompts(prompt),
        seed=seed,
        steps=settings.steps,
        guidance=settings.guidance,
        overlap=settings.overlap,
        reference_ratio=settings.reference_ratio,
        method=way.method,
    )
    seconds = settings.layout(model).linear_width(settings.views) / model.facts.frames_per_second
    made = list(chunks(model, scene, seconds, schedule=way.schedule))
    return np.concatenate([chunk.samples for chunk in made], axis=1), [chunk.start for chunk in made[1:]]


def clip(
    model: Model, prompt: str, seconds: float, seed: int, steps: int | None = None, guidance: float | None = None
) -> Array:
    """`seconds` of the stream of a prompt, as a listener gets it: samples [channels, N] before levelling."""
    scene = Scene(parse_prompts(prompt), seed=seed, steps=steps, guidance=guidance)
    count = round(seconds * model.facts.sample_rate)
    made = np.concatenate([c.samples for c in chunks(model, scene, seconds)], axis=1)
    return made[:, :count]


def prompts_of(model: Model, classes: tuple[str, ...]) -> dict[str, str]:
    """The prompt line of each class, which is its name in words; of all the model's sounds where none is given."""
    return {name: name.replace("_", " ") for name in classes or model.facts.sounds}
