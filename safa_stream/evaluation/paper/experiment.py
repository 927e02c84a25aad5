"""The experiment: every prompt and seed by every job, in turns, held against native-length views of the same model.

The reference set is native-length output with other noise: same words, same seed of the conditioning. The row
"Reference" is another such set, so it shows what no join at all comes to. Jobs take turns on every clip, and another
one begins each time, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.evaluation.generate import encode, prompts_of
from safa_stream.evaluation.paper import making
from safa_stream.evaluation.paper.hearing import Ears, Heard, hear
from safa_stream.evaluation.paper.methods import OVERLAP, REFERENCE, Job, Method
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.interface import Model

#: Prompts where none are named: steady sounds and sounds of events, of those that the model knows.
PROMPTS = ("rain", "birds", "ocean", "fire", "drone", "crickets", "stream", "train", "wind", "frogs")


@dataclass(frozen=True, slots=True)
class Setup:
    """What all jobs share. reference_views: native views a clip in the reference set and in the row "Reference"."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    steps: int = 200
    guidance: float = 3.5
    reference_views: int = 3

    def __post_init__(self) -> None:
        if not self.prompts or not self.seeds:
            raise UsageError("the experiment needs at least one prompt and one seed")

    @property
    def clips(self) -> tuple[tuple[str, int], ...]:
        """Every prompt with every seed."""
        return tuple((prompt, seed) for prompt in self.prompts for seed in self.seeds)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was heard, clip by clip: the reference set, the row "Reference", and every job's."""

    setup: Setup
    clips: tuple[tuple[str, int], ...]
    jobs: tuple[Job, ...]
    reference: tuple[Heard, ...]
    native: tuple[Heard, ...]
    made: tuple[tuple[Heard, ...], ...]

    def of(self, job: Job) -> tuple[Heard, ...]:
        """One job's clips."""
        return self.made[self.jobs.index(job)]


def default_prompts(model: Model, count: int) -> tuple[str, ...]:
    """The first `count` of PROMPTS that the model knows, or of its own sounds where it knows none of them."""
    known = tuple(prompts_of(model, ()).values())
    return tuple(prompt for prompt in PROMPTS if prompt in known)[:count] or known[:count]


def measure(model: Model, jobs: Sequence[Job], setup: Setup, ears: Ears, report: Report = quiet) -> Measured:
    """Make and hear everything.

    Raises:
        UsageError: no prompts, no jobs, or a method whose views cannot be laid out.
        PromptError: the model knows no word of a prompt.
    """
    if not jobs:
        raise UsageError("the experiment needs at least one method")
    for job in jobs:
        job.method.coupling.require(model)
        making.plan_of(model, job, 0)
    rate = model.facts.sample_rate
    side = Job(Method(REFERENCE, "independent", OVERLAP), setup.reference_views, setup.steps)
    pace = Pace(
        len(setup.clips) * (2 * side.cost + sum(job.cost for job in jobs)), len(setup.clips) * (2 + len(jobs)), report
    )
    encoded = {clip: encode(model, *clip) for clip in setup.clips}
    making.native(model, 1, 1, encoded[setup.clips[0]], setup.guidance, 0)  # what is slow only at first
    reference: list[Heard] = []
    native: list[Heard] = []
    made: list[list[Heard]] = [[] for _ in jobs]
    for number, clip in enumerate(setup.clips):
        prompt, seed = clip
        for side_heard, noise in ((reference, seed + making.OTHER_NOISE), (native, seed)):
            take = making.native(model, side.views, side.steps, encoded[clip], setup.guidance, noise)
            side_heard.append(hear(take, ears, prompt, rate))
            pace.passed(side.cost, f"{prompt}, seed {seed}: native views")
        for at in np.roll(np.arange(len(jobs)), -number).tolist():
            job = jobs[at]
            take = making.canvas(model, job, encoded[clip], setup.guidance, seed)
            made[at].append(hear(take, ears, prompt, rate))
            pace.passed(job.cost, f"{prompt}, seed {seed}: {job.method.title}, {job.views} views")
    return Measured(
        setup,
        setup.clips,
        tuple(jobs),
        tuple(reference),
        tuple(native),
        tuple(tuple(column) for column in made),
    )
