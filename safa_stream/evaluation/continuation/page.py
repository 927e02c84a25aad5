"""The study as tables, as a page and as pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from safa_stream.errors import OutputError
from safa_stream.evaluation.continuation import measures
from safa_stream.evaluation.continuation.methods import METHODS
from safa_stream.evaluation.continuation.results import Results, Row, as_dict, rows
from safa_stream.evaluation.paper.pace import spoken
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table, to_json

#: From this heading on a page is written by people: it stays as it is when the page is written again.
BY_HAND = "## Findings"
#: At most so many curves can be told apart in a picture.
SHOWN = ("stream", "one-sided", "ahead-1", "pairs-cut", "queue", "queue-levelled", "outpaint", "joint")

#: A table: its title, its columns, and a row's cells for them.
Table = tuple[str, tuple[str, ...], list[list[str]]]


def tables(results: Results) -> list[Table]:
    """Seams, likeness, cost and latency, changes, drift; those that were measured."""
    found = rows(results)
    out = [
        _table(
            "Seams",
            found,
            ("worst border", "±", "by chance", "frame", "vs joint", "overlap", "edges"),
            lambda r: [
                *_places(3, r.worst, r.worst_error, r.worst_by_chance),
                str(r.frame),
                *_places(3, r.worst_vs_joint, r.overlap, r.edges),
            ],
        ),
        _table(
            "Level and likeness",
            found,
            ("level step: seam", "less the default's", "±", "inside", "aliasing", "±", "FD", "±", "likeness of hops"),
            lambda r: [
                *_places(
                    3, r.level_seam, r.level_gap, r.level_gap_error, r.level_inside, r.aliasing_ratio, r.aliasing_error
                ),
                *_places(2, r.fd, r.fd_error),
                *_places(3, r.likeness),
            ],
        ),
        _table(
            "Cost and latency",
            found,
            ("rows a second", "time", "first sound: rows", "its seconds", "begun, s", "held, kB"),
            lambda r: [
                *_places(2, r.rows_per_second, r.time_ratio),
                *_places(0, r.first_rows),
                *_places(2, r.first_seconds, r.begun_seconds),
                *_places(0, r.held_kilobytes),
            ],
        ),
    ]
    if results.changes:
        known = [row for row in found if row.method in results.changes]
        header = ("half the way, s", "0.8 of it, s", "after 2 s", "after 10 s", "after 30 s", "worst border near it")
        out.append(_table("A change of prompt", known, header, lambda r: _change_cells(results, r)))
    if results.drifts:
        drifts = [
            [name, str(d.minutes), *_places(2, d.loudness_drift, 100 * d.hf_drift, d.colour_drift)]
            for name, d in results.drifts.items()
        ]
        columns = ("method", "minutes", "loudness, LU", "variance of change, %", "colour, nats")
        out.append((f"Drift, {results.prompt}", columns, drifts))
    return out


def _change_cells(results: Results, row: Row) -> list[str]:
    mean = results.changes[row.method].mean
    at = [min(len(mean) - 1, round(seconds / measures.CHANGE_SECONDS)) for seconds in (2, 10, 30)]
    return [
        *_places(1, row.change_half, row.change_most),
        *_places(2, *(float(mean[index]) for index in at), row.change_worst),
    ]


def _table(title: str, found: Sequence[Row], header: tuple[str, ...], cells: Callable[[Row], list[str]]) -> Table:
    return title, ("method", *header), [[row.method, *cells(row)] for row in found]


def _places(count: int, *values: float) -> list[str]:
    return [f"{value:.{count}f}" if math.isfinite(value) else "-" for value in values]


def table(results: Results) -> str:
    """For the terminal."""
    return "\n\n".join(f"{title}\n{text_table(header, cells)}" for title, header, cells in tables(results))


def markdown(results: Results, command: str, pictures: Sequence[str]) -> str:
    """The page but for its findings."""
    clips = results.clips
    names = [method for method in METHODS.values() if method.name in clips.made]
    parts = [
        "# Going on and on: the live continuation and its rivals",
        "",
        f"Model {results.model}, {results.steps} steps, views of {clips.layout.view} frames with an overlap of "
        f"{clips.layout.overlap}, {clips.frames_per_second:g} frames a second; sounds: {', '.join(clips.labels)}; "
        f"{len(clips.seeds)} seed(s), {clips.settings.views} views each, measured on decoded sound. Made by "
        f"`{command}` in {spoken(results.seconds)} minutes on {results.machine}.",
        "",
        "## Methods",
        "",
        *(f"- `{method.name}`: {method.about}." for method in names),
        "",
        "## Figures",
        "",
        *(f"- {line}" for line in notes(results)),
    ]
    for title, header, cells in tables(results):
        parts += ["", f"### {title}", "", markdown_table(header, cells)]
    parts += [line for name in pictures for line in ("", f"![{name}]({name}.svg)")]
    return "\n".join([*parts, ""])


def notes(results: Results) -> list[str]:
    """What a reader has to know of the columns, a sentence or two each."""
    return [
        "*worst border*, *overlap*, *edges*: mean |Δ log-mel| at latent-frame borders over the interior's, 1.00 is "
        "seamless; the worst of all from one overlap before a view's start to one after its overlap, by chance: what "
        "the worst of so many would show if all were seamless; frame: where it is, from the view's start.",
        f"*level step*: mean over bands of |difference of the mean log-mel| of {measures.LEVEL_SECONDS:g} s before and "
        "after, in nats, at the middle of the overlaps and at the middle of views; less the default's on the same "
        "sounds, with an error of its own.",
        "*aliasing*: the aliasing ratio, change inside overlaps over change inside Mids. *FD*: Fréchet distance by "
        f"{results.embedding} to native views with other noise; it compares rows of this table. *likeness of hops*: "
        "mean cosine of the embeddings of a sound's hops; more is less variety.",
        "*rows a second*: views denoised one step for a second of sound, once the method runs; guidance doubles it for "
        "all alike. *time*: median ratio to the default's processor time on the same sound, in turns. *first sound*: "
        "rows until the first of it is final, and how much is final then. *begun*: seconds of sound that are "
        "made or in the making and not given. *held*: what is kept between calls.",
        "*a change of prompt*: windows of the sound on the straight line from the mean log-mel of a stream that always "
        f"had the old prompt (0) to one that always had the new (1), mean over {_pairs(results)}; time counts from the "
        "last sound that was given before the change.",
        "*drift*: the largest difference of any minute from minute 1; costlier methods were followed more shortly.",
    ]


def _pairs(results: Results) -> str:
    return ", ".join(f"{old} to {new}" for old, new in results.pairs) or "no pairs"


def pictures(results: Results) -> dict[str, str]:
    """SVG by name: profiles around a seam, the way to a new prompt, loudness by minute."""
    clips = results.clips
    profiles = {name: clips.profile(name).mean for name in _shown(clips.made)}
    out = {
        "continuation-seams": line_plot(
            {name: (np.arange(len(mean)) - clips.layout.overlap, mean) for name, mean in profiles.items()},
            "Change at every frame border around a seam, over the interior's",
            "border, in latent frames from the view's start",
            "|Δ log-mel| / interior",
            spans=[(0, clips.layout.overlap)],
            levels=[1.0, 1.1],
        )
    }
    if results.changes:
        out["continuation-change"] = line_plot(
            {
                name: (np.arange(len(results.changes[name].mean)) * measures.CHANGE_SECONDS, results.changes[name].mean)
                for name in _shown(results.changes)
            },
            "The way to a new prompt",
            "seconds after the change",
            "0: the old prompt's sound, 1: the new one's",
            levels=[0.0, 1.0],
        )
    if results.drifts:
        out["continuation-drift"] = line_plot(
            {
                name: (np.arange(results.drifts[name].minutes) + 1, _relative(results, name))
                for name in _shown(results.drifts)
            },
            f"Loudness of {results.prompt} against minute 1",
            "minute",
            "LU",
            levels=[-1.0, 1.0],
        )
    return out


def _relative(results: Results, name: str) -> list[float]:
    loud = results.drifts[name].loudness
    return [float(value) for value in loud - loud[0]]


def _shown(names: Iterable[str]) -> list[str]:
    known = list(names)
    return [name for name in SHOWN if name in known] or known[: len(SHOWN)]


def write(results: Results, path: Path, command: str) -> None:
    """Write the page, its figures as JSON, and its pictures beside it; findings that are on the page stay.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = pictures(results)
        text = markdown(results, command, list(drawn))
        if path.exists():
            _, heading, findings = path.read_text(encoding="utf-8").partition(f"\n{BY_HAND}\n")
            text += heading + findings
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".json").write_text(to_json(as_dict(results)) + "\n", encoding="utf-8")
        for name, picture in drawn.items():
            path.with_name(f"{name}.svg").write_text(picture, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the study to {path}: {error}") from error
