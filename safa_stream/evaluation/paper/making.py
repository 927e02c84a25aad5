"""The experiment's sounds: canvases on a circle by each method, and native-length views of the same model."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from safa_stream import joint
from safa_stream.decode import decode_circular, decode_whole
from safa_stream.evaluation.paper.methods import Job
from safa_stream.evaluation.wrapping import TimedModel
from safa_stream.layout import ViewLayout
from safa_stream.models.builtin.features import Array
from safa_stream.models.interface import Encoded, Model
from safa_stream.scene import SYNC
from safa_stream.solvers import SolverTable

#: Added to a clip's seed for the noise of the views that it is held against.
OTHER_NOISE = 500_009


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A made sound in pieces [channels, N] that are compared with each other: hops of a canvas, or native views.

    calls: view evaluations (a batch of n views counts n), counted at the model; batches: evaluations of a batch;
    seconds: wall time to the finished sound, denoise_seconds of it in the denoiser.
    """

    pieces: tuple[Array, ...]
    latents: Array
    calls: int
    batches: int
    seconds: float
    denoise_seconds: float

    @property
    def samples(self) -> Array:
        """All pieces on end, [channels, N]."""
        return np.concatenate(self.pieces, axis=1)


def first_order(table: SolverTable) -> SolverTable:
    """The table with the history replaced by the present clean estimate: DPM-Solver++ 2M becomes DDIM.

    x' = A x + B m + C h with h := P x + Q m. DPM-Solver++ of first order is DDIM at eta 0 (arXiv 2211.01095, 4.1).
    """
    if not table.multistep:
        return table
    columns = zip(table.A, table.B, table.C, table.P, table.Q, strict=True)
    new = [(a + c * p, b + c * q) for a, b, c, p, q in columns]
    first, second = zip(*new, strict=True)
    nothing = (0.0,) * table.steps
    return SolverTable("ddim", table.timesteps, first, second, nothing, table.P, table.Q, table.initial_scale)


def canvas(model: Model, job: Job, encoded: Encoded, guidance: float, seed: int) -> Take:
    """A job's canvas as sound; its pieces are its hops at the default overlap."""
    watched, begun = TimedModel(model), time.perf_counter()
    plan, spans = plan_of(model, job, seed), job.method.spans(model, job.views)
    width, coupling = plan.width(spans), job.method.coupling
    likeness = watched.likeness(None) if coupling.method == SYNC else None
    hooks = coupling.hooks(watched, plan.table, spans, width, encoded, guidance, likeness)
    made = joint.generate(watched, plan, spans, encoded, guidance, width=width, hooks=hooks)
    latents = model.to_numpy(made)
    sound = decode_circular(watched.decoder(), latents, seed)
    seconds = time.perf_counter() - begun
    clock = watched.clock
    pieces = tuple(np.array_split(sound, job.views, axis=1))
    return Take(pieces, latents, clock.rows, clock.calls, seconds, clock.denoise)


def plan_of(model: Model, job: Job, seed: int) -> joint.JointPlan:
    """How a job's canvas is made: DDIM, circular."""
    method = job.method
    return joint.JointPlan(
        method.layout(model),
        first_order(model.solver(job.steps)),
        method.coupling.joined,
        method.interval,
        method.reference_ratio,
        circular=True,
        seed=seed,
        max_batch=method.coupling.batch(len(method.spans(model, job.views)), joint.BATCH),
    )


def native(model: Model, count: int, steps: int, encoded: Encoded, guidance: float, seed: int) -> Take:
    """`count` views of the model's own length that share nothing, each decoded on its own; latents are [C, n L, F]."""
    facts, watched, begun = model.facts, TimedModel(model), time.perf_counter()
    layout = ViewLayout(facts.view_frames, 0, facts.frame_alignment)
    plan = joint.JointPlan(layout, first_order(model.solver(steps)), "independent", seed=seed)
    spans = layout.linear_spans(layout.linear_width(count))
    made = joint.denoise_views(watched, plan, spans, layout.linear_width(count), encoded, guidance)
    views, decoder = model.to_numpy(made), watched.decoder()
    pieces = tuple(decode_whole(decoder, view, seed + at) for at, view in enumerate(views))
    clock = watched.clock
    seconds = time.perf_counter() - begun
    latents = np.concatenate(list(views), axis=1)
    return Take(pieces, latents, clock.rows, clock.calls, seconds, clock.denoise)
