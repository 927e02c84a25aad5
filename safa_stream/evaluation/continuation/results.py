"""The study's results: a row of figures a method, as JSON values and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from safa_stream.evaluation.continuation import measures
from safa_stream.evaluation.continuation.changes import Change
from safa_stream.evaluation.continuation.clips import Clip, Clips
from safa_stream.evaluation.continuation.drifting import Drift
from safa_stream.evaluation.continuation.methods import JOINT, METHODS, SHIPPED
from safa_stream.evaluation.embedding import Projection
from safa_stream.evaluation.paper.measures import components_for, jackknife_error, mean_cosine, standard_error
from safa_stream.evaluation.paper.rows import Sets

NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """What was measured so far, and how: the embedding's name, the machine, the pairs, and what was drifting."""

    model: str
    embedding: str
    machine: str
    seconds: float
    clips: Clips
    steps: int
    pairs: tuple[tuple[str, str], ...] = ()
    changes: Mapping[str, Change] = field(default_factory=dict)
    prompt: str = ""
    drifts: Mapping[str, Drift] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One method. Errors are standard errors over sounds; nan where a column does not apply.

    level_gap: level_seam less the default's on the same sounds; pairs have the smaller errors.
    rows_per_second: views denoised one step for each second of sound, once it runs; time_ratio: of their processor time
    to the default's on the same sounds, in turns, the median. first_rows: rows until the first sound.
    begun_seconds: of sound, begun and not given. held_kilobytes: kept between calls.
    """

    method: str
    worst: float
    worst_error: float
    worst_by_chance: float
    frame: int
    worst_vs_joint: float
    overlap: float
    edges: float
    level_seam: float
    level_seam_error: float
    level_gap: float
    level_gap_error: float
    level_inside: float
    aliasing_ratio: float
    aliasing_error: float
    fd: float
    fd_error: float
    likeness: float
    rows_per_second: float
    time_ratio: float
    first_rows: float
    first_seconds: float
    begun_seconds: float
    held_kilobytes: float
    change_half: float
    change_most: float
    change_worst: float


def rows(results: Results) -> list[Row]:
    """A row a method, in the order of METHODS."""
    clips = results.clips
    sets = _sets(clips)
    joint = clips.profile(JOINT).worst if JOINT in clips.made else NAN
    return [_row(results, name, sets, joint) for name in METHODS if name in clips.made]


def _sets(clips: Clips) -> Sets:
    sides = [clips.reference, *([clip.rows for clip in made] for made in clips.made.values())]
    count = min(sum(len(rows) for rows in side) for side in sides)
    reference = np.concatenate(clips.reference)
    components = components_for(count, reference.shape[1])
    return Sets(tuple(clips.reference), Projection.fit(reference, components, whiten=False), count)


def _row(results: Results, name: str, sets: Sets, joint: float) -> Row:
    clips, made, rate = results.clips, results.clips.made[name], results.clips.frames_per_second
    profile, embedded = clips.profile(name), [clip.rows for clip in made]
    gaps = [a.level_seam - b.level_seam for a, b in zip(made, clips.made.get(SHIPPED, made), strict=True)]
    live, change = METHODS[name].live, results.changes.get(name)
    last = made[-1].costs[-1]
    return Row(
        method=name,
        worst=profile.worst,
        worst_error=profile.worst_error,
        worst_by_chance=profile.worst_by_chance,
        frame=profile.worst_place,
        worst_vs_joint=profile.worst / joint,
        overlap=profile.overlap_ratio,
        edges=profile.edges,
        level_seam=measures.mean_of([clip.level_seam for clip in made]),
        level_seam_error=standard_error([clip.level_seam for clip in made]),
        level_gap=measures.mean_of(gaps),
        level_gap_error=standard_error(gaps),
        level_inside=measures.mean_of([clip.level_inside for clip in made]),
        aliasing_ratio=measures.mean_of([clip.aliasing_ratio for clip in made]),
        aliasing_error=standard_error([clip.aliasing_ratio for clip in made]),
        fd=sets.distance(embedded),
        fd_error=jackknife_error(sets.without_each(embedded)),
        likeness=measures.mean_of([mean_cosine(clip.hop_rows) for clip in made]),
        rows_per_second=_pace(made, "rows") * rate,
        time_ratio=_time_ratio(made, clips.made.get(SHIPPED, made)),
        first_rows=float(np.mean([clip.costs[0].rows for clip in made])),
        first_seconds=last.frames / rate if not live else made[0].costs[0].frames / rate,
        begun_seconds=last.begun / rate if live else NAN,
        held_kilobytes=max(cost.held for cost in made[-1].costs) / 1000 if live else NAN,
        change_half=NAN if change is None else change.seconds_to(0.5),
        change_most=NAN if change is None else change.seconds_to(0.8),
        change_worst=NAN if change is None else float(change.worst.mean()),
    )


def _pace(made: Sequence[Clip], which: str) -> float:
    """Rows or seconds for each frame, once it runs."""
    costs = [cost for clip in made for cost in clip.steady]
    return float(sum(getattr(cost, which) for cost in costs) / sum(cost.frames for cost in costs))


def _time_ratio(made: Sequence[Clip], shipped: Sequence[Clip]) -> float:
    pairs = zip(made, shipped, strict=True)
    return float(np.median([_pace([one], "seconds") / _pace([other], "seconds") for one, other in pairs]))


def as_dict(results: Results) -> dict[str, Any]:
    """JSON values."""
    clips = results.clips
    return {
        "model": results.model,
        "embedding": results.embedding,
        "machine": results.machine,
        "took_s": results.seconds,
        "classes": list(clips.labels),
        "seeds": list(clips.seeds),
        "views": clips.settings.views,
        "steps": results.steps,
        "rows": [asdict(row) for row in rows(results)],
        "profiles": {name: list(clips.profile(name).mean) for name in clips.made},
        "changes": {
            name: {"pairs": [list(pair) for pair in results.pairs], "share_by_window": list(change.mean)}
            for name, change in results.changes.items()
        },
        "drift": {
            name: {
                "prompt": results.prompt,
                "minutes": drift.minutes,
                "loudness_drift_lu": drift.loudness_drift,
                "hf_variance_drift": drift.hf_drift,
                "colour_drift": drift.colour_drift,
                "most_held_bytes": drift.held,
                "loudness_by_minute": list(drift.loudness),
                "hf_variance_by_minute": list(drift.hf_variance),
            }
            for name, drift in results.drifts.items()
        },
    }
