"""The panorama experiment: every prompt and seed by every method, in turns, and pictures of native size beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.images import measures
from safa_stream.evaluation.images.networks import Eyes
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.images.interface import Pixels

#: Added to a picture's seed for the native pictures that it is held against.
OTHER_NOISE = 500_009


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture that was made, in what time, and how many views were denoised one step for it."""

    pixels: Pixels
    run_time_s: float
    calls: int


#: Makes a picture of a prompt and a seed by a method; of native size where the method is None.
Maker = Callable[[str, int, str | None], Shot]


@dataclass(frozen=True, slots=True)
class Row:
    """One method's figures; NaN where no network made them."""

    method: str
    pictures: int
    fid: float
    kid: float
    clip: float
    i_stylel: float
    i_lpips: float
    run_time_s: float
    run_time_ratio: float
    denoiser_calls: int


@dataclass(frozen=True, slots=True)
class ImageReport:
    """Rows, the networks behind their columns, and how all was made."""

    rows: tuple[Row, ...]
    eyes: Eyes
    model: str
    machine: str
    seconds: float
    width: int
    height: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "rows": [{**asdict(row), "embedding": self.eyes.label} for row in self.rows],
            "embeddings": self.eyes.columns,
            "empty_columns": dict(self.eyes.missing),
            "model": self.model,
            "machine": self.machine,
            "took_s": self.seconds,
            "width": self.width,
            "height": self.height,
            "prompts": list(self.prompts),
            "seeds": list(self.seeds),
        }


def measure(
    make: Maker,
    model: str,
    methods: Sequence[str],
    prompts: Sequence[str],
    seeds: Sequence[int],
    eyes: Eyes,
    say: Report = quiet,
) -> ImageReport:
    """Make and look at everything. The row "reference" is of native pictures, held against others of them.

    Raises UsageError where there is nothing to make.
    """
    clips = [(prompt, seed) for prompt in prompts for seed in seeds]
    if not clips or not methods:
        raise UsageError("the experiment needs at least one prompt, one seed and one method")
    begun = time.perf_counter()
    compares = eyes.embedding is not None
    native = [None, None] if compares else []
    pace = Pace(1.0 * len(clips) * (len(native) + len(methods)), len(clips) * (len(native) + len(methods)), say)
    sides: list[list[Shot]] = [[], []]
    made: dict[str, list[Shot]] = {method: [] for method in methods}
    for number, (prompt, seed) in enumerate(clips):
        for side in range(len(native)):
            sides[side].append(make(prompt, seed + side * OTHER_NOISE, None))
            pace.passed(1.0, f"{prompt}, seed {seed}: native size")
        for at in np.roll(np.arange(len(methods)), -number).tolist():
            made[methods[at]].append(make(prompt, seed, methods[at]))
            pace.passed(1.0, f"{prompt}, seed {seed}: {methods[at]}")
    words = [prompt for prompt, _ in clips]
    real = [shot.pixels for shot in sides[1]]
    quickest = float(np.mean([shot.run_time_s for shot in made.get("safa", made[methods[0]])]))
    sets = {"reference": sides[0], **made} if compares else made
    rows = tuple(row_of(name, shots, words, real, eyes, quickest) for name, shots in sets.items())
    shape = made[methods[0]][0].pixels.shape
    return ImageReport(
        rows,
        eyes,
        model,
        machine(),
        time.perf_counter() - begun,
        shape[1],
        shape[0],
        tuple(prompts),
        tuple(seeds),
    )


def row_of(
    name: str, shots: Sequence[Shot], words: Sequence[str], real: Sequence[Pixels], eyes: Eyes, quickest: float
) -> Row:
    """The figures of one method's pictures. real: native ones to compare with; quickest: SaFa's mean time."""
    draw = np.random.default_rng(0)
    side = min(shots[0].pixels.shape[:2])
    ones = [measures.random_crop(shot.pixels, side, draw) for shot in shots]
    parts = [measures.crops(shot.pixels, side) for shot in shots]
    nothing, spent = float("nan"), float(np.mean([shot.run_time_s for shot in shots]))
    embedding, clip, style, perceptual = eyes.embedding, eyes.clip, eyes.style, eyes.perceptual
    native = [measures.random_crop(picture, side, draw) for picture in real]
    told = [(crop, word) for crops, word in zip(parts, words, strict=True) for crop in crops]
    return Row(
        name,
        len(shots),
        nothing if embedding is None else measures.fid(native, ones, embedding),
        nothing if embedding is None else measures.kid(native, ones, embedding),
        nothing if clip is None else measures.clip_score([c for c, _ in told], [w for _, w in told], clip[1], clip[2]),
        nothing if style is None else float(np.mean([measures.i_style(crops, style[1]) for crops in parts])),
        nothing if perceptual is None else float(np.mean([measures.i_lpips(c, perceptual[1]) for c in parts])),
        spent,
        spent / quickest,
        shots[0].calls,
    )
