"""From a scene to sound: an endless stream of chunks, one a hop, or a whole canvas at once.

scene -> conditioning -> stream.advance -> hop latents -> decode.push -> Chunk        `chunks`, `resume`
scene -> conditioning -> joint.generate -> canvas -> decode -> sound                  `whole`
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from safa_stream import decode, joint, stream
from safa_stream.continuation import StreamPlan, StreamState
from safa_stream.coupling import Coupling
from safa_stream.errors import SnapshotError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models.interface import Encoded, Model
from safa_stream.scene import MAD, SYNC, PromptChange, Scene
from safa_stream.solvers import SolverTable
from safa_stream.swap import DEFAULT_SCHEDULE, SwapSchedule
from safa_stream.trajectory import Tensors
from safa_stream.types import Chunk, FloatArray

SNAPSHOT_FORMAT = "safa-stream-snapshot-1"
SNAPSHOT_KEY = "safa_stream"


def chunks(
    model: Model,
    scene: Scene,
    seconds: float | None = None,
    snapshot: bytes | None = None,
    schedule: SwapSchedule | None = None,
) -> Stream:
    """An iterator of chunks that begin where the last one ended; endless, or of `seconds` to the sample.

    With the `snapshot` of a stream of the same scene, length and model it goes on from there. `schedule` replaces the
    default swap schedule. Raises UsageError, LayoutError, SceneError or PromptError for what cannot be made, and
    SnapshotError where the snapshot does not fit.
    """
    return Stream(model, scene, seconds, snapshot, schedule)


def resume(model: Model, snapshot: bytes) -> Stream:
    """The stream that `Stream.snapshot` saved: its further chunks equal those of the stream that was not interrupted.

    Raises SnapshotError where the bytes are damaged or belong to another model or version.
    """
    about = _about(snapshot)
    scene, schedule = Scene.from_json(about["scene"]), SwapSchedule(**json.loads(about["schedule"]))
    return Stream(model, scene, json.loads(about["seconds"]), snapshot, schedule)


@dataclass(frozen=True, slots=True, eq=False)
class StreamPosition:
    """All that changes while a stream runs; `fading` is the last view's end, to be faded out, of independent views."""

    views: StreamState
    decoding: decode.DecodeState
    fading: FloatArray | None = None
    start: int = 0
    sequence: int = 0


class Stream(Iterator[Chunk]):
    """Iterate over it for chunks; `snapshot` between two of them. Memory use does not grow.

    unknown_words: what in the scene's prompts meant nothing to the model.
    """

    def __init__(
        self,
        model: Model,
        scene: Scene,
        seconds: float | None = None,
        snapshot: bytes | None = None,
        schedule: SwapSchedule | None = None,
    ) -> None:
        if scene.mode != "stream":
            raise UsageError("a scene with mode 'joint' is made at once: use `whole`")
        self.model, self.scene, self.seconds = model, scene, seconds
        self.plan = stream_plan(model, scene, schedule)
        self.guidance = _guidance(model, scene)
        self.total = None if seconds is None else _samples(model, seconds)
        self.decoder = model.decoder()
        self._last_view: int | None = None
        if self.total is not None:
            self._last_view = self.plan.layout.views_for(-(-self.total // model.facts.samples_per_frame)) - 1
        self._directions = [
            model.encode(prompts, scene.negative, scene.seed)
            for prompts in (scene.prompts, *(change.prompts for change in scene.changes))
        ]
        self.unknown_words = tuple(dict.fromkeys(word for told in self._directions for word in told.unknown_words))
        self.position = self._begin() if snapshot is None else self._restore(snapshot)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Chunk:
        """The next chunk. Raises StopIteration when `seconds` are complete."""
        began, position = time.perf_counter(), self.position
        if self.total is not None and position.start >= self.total:
            raise StopIteration
        position, made = self._advance(position)
        # Where a hop is shorter than the decoder's halo, the first views yield no sound yet.
        while made is None:
            position, made = self._advance(position)
        samples: FloatArray = made
        if self.total is not None:
            samples = samples[:, : self.total - position.start]
        facts, start = self.model.facts, position.start
        chunk = Chunk(samples, start, position.sequence, facts.sample_rate, time.perf_counter() - began)
        self.position = replace(position, start=start + samples.shape[1], sequence=position.sequence + 1)
        return chunk

    def snapshot(self) -> bytes:
        """All that is needed to go on from here, as a safetensors file's bytes (no code in it)."""
        position = self.position
        tensors: Tensors = {
            **position.views.to_tensors(self.model),
            **position.decoding.to_tensors(),
            "engine/start": np.array(position.start),
            "engine/sequence": np.array(position.sequence),
        }
        if position.fading is not None:
            tensors["engine/fading"] = np.ascontiguousarray(position.fading)
        # One entry, because safetensors writes several in no fixed order.
        return bytes(safetensors_numpy.save(tensors, {SNAPSHOT_KEY: json.dumps(self._identity())}))

    def _begin(self) -> StreamPosition:
        facts = self.model.facts
        decoding = decode.start(self.decoder, self.scene.seed, facts.latent_channels, facts.latent_bins)
        return StreamPosition(stream.begin(self.plan), decoding)

    def _advance(self, position: StreamPosition) -> tuple[StreamPosition, FloatArray | None]:
        """One view: decide what it is told, make it, decode what became final."""
        index, last = position.views.index, position.views.index == self._last_view
        direction = self._direction(index)
        views, hop = stream.advance(self.model, self.plan, position.views, direction, self.guidance)
        latents = self.model.to_numpy(hop)
        if last or self.plan.method == "independent":
            latents = np.concatenate([latents, self.model.to_numpy(stream.flush(views))], axis=1)
        if self.plan.method == "independent":
            pcm = decode.decode_whole(self.decoder, latents, _view_seed(self.scene.seed, index))
            faded, fading = self._faded(pcm, position.fading, last)
            return replace(position, views=views, fading=fading), faded
        decoding, samples = decode.push(self.decoder, position.decoding, latents, final=last)
        return replace(position, views=views, decoding=decoding), samples

    def _faded(self, pcm: FloatArray, before: FloatArray | None, last: bool) -> tuple[FloatArray, FloatArray]:
        """(sound that is final, end that the next view is faded into) of one view decoded on its own."""
        if before is not None and before.shape[1]:
            pcm[:, : before.shape[1]] = decode.crossfade(before, pcm[:, : before.shape[1]])
        held = pcm.shape[1] - self.plan.layout.hop * self.decoder.samples_per_frame
        ready = pcm.shape[1] if last else pcm.shape[1] - held
        return pcm[:, :ready], pcm[:, ready:].copy()

    def _direction(self, index: int) -> list[tuple[Encoded, float]]:
        """What view `index` is told: the prompts' weights in the middle of the frames that it adds."""
        middle = (index + 0.5) * self.plan.layout.hop / self.model.facts.frames_per_second
        weights = prompt_weights(self.scene.changes, middle)
        return [(told, weight) for told, weight in zip(self._directions, weights, strict=True) if weight > 0]

    def _identity(self) -> dict[str, str]:
        """What a snapshot must agree on, and what `resume` needs."""
        facts = self.model.facts
        return {
            "format": SNAPSHOT_FORMAT,
            "model": f"{facts.name} {facts.version}",
            "scene": self.scene.to_json(None),
            "seconds": json.dumps(self.seconds),
            "schedule": json.dumps(asdict(self.plan.schedule)),
        }

    def _restore(self, snapshot: bytes) -> StreamPosition:
        about, identity = _about(snapshot), self._identity()
        differing = [name for name, value in identity.items() if about.get(name) != value]
        if differing:
            raise SnapshotError(f"the snapshot is of another stream: its {', '.join(differing)} differ(s)")
        tensors = safetensors_numpy.load(snapshot)
        try:
            start, sequence = (int(tensors[f"engine/{name}"]) for name in ("start", "sequence"))
        except KeyError as error:
            raise SnapshotError(f"the snapshot lacks its tensor {error.args[0]}") from None
        return StreamPosition(
            StreamState.from_tensors(tensors, self.model),
            decode.DecodeState.from_tensors(tensors, self.decoder, self.scene.seed),
            tensors.get("engine/fading"),
            start,
            sequence,
        )


def whole(
    model: Model,
    scene: Scene,
    seconds: float,
    report: Callable[[int, int], None] | None = None,
    likeness: Any = None,
) -> FloatArray:
    """All of a scene with mode "joint" as sound [channels, N]; `report(done, steps)` after every solver step.

    With `scene.loop` it is a circle: its end leads over into its beginning, and N is `seconds` to the nearest frame, or
    with method mad to the nearest step of the model's alignment. likeness: the model's, by which method syncdiffusion
    compares views, None for the one without a network. Raises UsageError for what cannot be made, LayoutError for loops
    that no views tile, ModelError where the method cannot reach into the model.
    """
    if scene.mode != "joint":
        raise UsageError("a scene with mode 'stream' is made chunk by chunk: use `chunks`")
    coupling = Coupling(scene.method, scene.attend_ratio, scene.sync_weight, scene.sync_steps)
    coupling.require(model)
    if scene.method == SYNC and likeness is None:
        likeness = model.likeness(None)
    facts, decoder, layout = model.facts, model.decoder(), _layout(model, scene)
    samples = _samples(model, seconds)
    if scene.loop:
        step = layout.alignment if scene.method == MAD else 1
        width = max(1, round(samples / facts.samples_per_frame / step)) * step
        spans = layout.loop_spans(width, step)
        samples = width * facts.samples_per_frame
    else:
        spans = layout.linear_spans(-(-samples // facts.samples_per_frame))
        width = spans[-1].stop
    plan = joint.JointPlan(
        layout,
        _table(model, scene),
        coupling.joined,
        scene.swap_interval,
        scene.reference_ratio,
        scene.loop,
        scene.seed,
        coupling.batch(len(spans), joint.BATCH),
    )
    encoded, guidance = model.encode(scene.prompts, scene.negative, scene.seed), _guidance(model, scene)
    hooks = coupling.hooks(model, plan.table, spans, width, encoded, guidance, likeness)
    if scene.method == "independent":
        views = model.to_numpy(joint.denoise_views(model, plan, spans, width, encoded, guidance, report))
        pieces = [decode.decode_whole(decoder, view, _view_seed(scene.seed, at)) for at, view in enumerate(views)]
        return decode.lay_out(pieces, spans, width, decoder.samples_per_frame, scene.loop)[:, :samples]
    canvas = model.to_numpy(joint.generate(model, plan, spans, encoded, guidance, report, width, hooks))
    decoded = decode.decode_circular if scene.loop else decode.decode_whole
    return decoded(decoder, canvas, scene.seed)[:, :samples]


def stream_plan(model: Model, scene: Scene, schedule: SwapSchedule | None = None) -> StreamPlan:
    """The plan of a scene's stream, the model's defaults filled in."""
    return StreamPlan(
        _layout(model, scene),
        _table(model, scene),
        schedule or replace(DEFAULT_SCHEDULE, interval=scene.swap_interval),
        scene.reference_ratio,
        scene.swap_interval,
        scene.seed,
        scene.method,
    )


def prompt_weights(changes: tuple[PromptChange, ...], seconds: float) -> list[float]:
    """Weights, summing to 1, of the first prompts and of every change's: each change fades out all before it."""
    weights = [1.0] + [0.0] * len(changes)
    for index in sorted(range(len(changes)), key=lambda at: changes[at].at):
        change = changes[index]
        since = seconds - change.at
        share = 0.0 if since < 0 else 1.0 if since >= change.morph else since / change.morph
        weights = [weight * (1 - share) for weight in weights]
        weights[index + 1] = share
    return weights


def _layout(model: Model, scene: Scene) -> ViewLayout:
    facts = model.facts
    ratio = facts.default_overlap if scene.overlap is None else scene.overlap
    return ViewLayout.from_ratio(facts.view_frames, ratio, facts.frame_alignment)


def _table(model: Model, scene: Scene) -> SolverTable:
    return model.solver(model.facts.default_steps if scene.steps is None else scene.steps)


def _guidance(model: Model, scene: Scene) -> float:
    return model.facts.default_guidance if scene.guidance is None else scene.guidance


def _samples(model: Model, seconds: float) -> int:
    if not math.isfinite(seconds) or seconds <= 0:
        raise UsageError(f"the duration must be a number of seconds above 0, not {seconds}")
    return max(1, round(seconds * model.facts.sample_rate))


def _view_seed(seed: int, index: int) -> int:
    """Seeds for the decoding of views that share nothing, far apart so that scenes' own seeds do not meet them."""
    return seed + (index + 1) * 1_000_003


def _about(snapshot: bytes) -> dict[str, str]:
    """A snapshot's own description. Raises SnapshotError where the bytes are not one of this version."""
    try:
        safetensors_numpy.load(snapshot)
        size = int.from_bytes(snapshot[:8], "little")
        about = json.loads(json.loads(snapshot[8 : 8 + size]).get("__metadata__", {}).get(SNAPSHOT_KEY, "{}"))
    except (SafetensorError, ValueError) as error:
        raise SnapshotError(f"the snapshot is damaged: {error}") from error
    if about.get("format") != SNAPSHOT_FORMAT:
        raise SnapshotError(f"the snapshot is not of the format {SNAPSHOT_FORMAT}")
    return dict(about)
