"""The swap-schedule study: every schedule of the stream at several step counts, beside joint SaFa."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safa_stream.errors import OutputError
from safa_stream.evaluation import seams
from safa_stream.evaluation.generate import WAYS, Settings, Way
from safa_stream.evaluation.tables import Report, markdown_table, quiet
from safa_stream.models.interface import Model
from safa_stream.swap import KINDS, SwapSchedule

JOINT = "joint"


@dataclass(frozen=True, slots=True)
class StudyReport:
    """Seam reports by step count."""

    model: str
    seeds: int
    views: int
    on_latents: bool
    by_steps: Mapping[int, seams.SeamReport]


def schedules(context: bool) -> dict[str, SwapSchedule]:
    """Every kind of schedule, with its default numbers, blind; and with the context where the model takes one."""
    out = {kind: SwapSchedule(kind, context=False) for kind in KINDS}
    if context:
        out |= {f"{kind} + context": SwapSchedule(kind) for kind in KINDS}
        out |= {
            f"cut-left keeping {kept:g} + context": SwapSchedule("cut-left", 0.25, kept=kept)
            for kept in (0.0, 0.25, 0.5)
        }
    return out


def measure(
    model: Model,
    chosen: Mapping[str, SwapSchedule],
    classes: Sequence[str] = (),
    seeds: Sequence[int] = tuple(range(8)),
    steps: Sequence[int] = (),
    settings: Settings | None = None,
    on_latents: bool = False,
    report: Report = quiet,
    so_far: Callable[[StudyReport], None] | None = None,
) -> StudyReport:
    """Measure the schedules `chosen` and the named rivals at each step count; none given: the default and 50.

    so_far: told after every step count, so that hours of work are not lost when the next is interrupted.
    """
    settings = settings or Settings()
    default = model.facts.default_steps
    ways = {name: WAYS[name] for name in (JOINT, "average", "stream-average", "independent")}
    ways |= {name: Way("stream", schedule=schedule) for name, schedule in chosen.items()}
    by_steps: dict[int, seams.SeamReport] = {}
    name = f"{model.facts.name} {model.facts.version}"
    found = StudyReport(name, len(seeds), settings.views, on_latents, by_steps)
    for count in steps or sorted({default, max(50, default)}):
        report(f"{count} steps")
        setting = replace(settings, steps=count)
        by_steps[count] = seams.measure(model, classes, seeds, ways, setting, on_latents, report)
        if so_far is not None:
            so_far(found)
    return found


def rows(report: seams.SeamReport) -> list[dict[str, Any]]:
    """A row of figures a way, the lowest worst border first; `worst_in_classes` is the worst class's worst border."""
    joint = report.profile(JOINT).worst if JOINT in report.found else float("nan")
    out = []
    for name, by_class in report.found.items():
        profile = report.profile(name)
        in_classes = {label: report.profile(name, label).worst for label in by_class}
        worst_class = max(in_classes, key=lambda label: in_classes[label])
        out.append(
            {
                "schedule": name,
                "overlap": profile.overlap_ratio,
                "edges": profile.edges,
                "worst": profile.worst,
                "error": profile.worst_error,
                "chance": profile.worst_by_chance,
                "frame": profile.worst_place,
                "vs_joint": profile.worst / joint,
                "worst_in_classes": in_classes[worst_class],
                "worst_class": worst_class,
            }
        )
    return sorted(out, key=lambda row: float(row["worst"]))


def as_dict(report: StudyReport) -> dict[str, Any]:
    """The study as JSON values."""
    return {
        "model": report.model,
        "seeds": report.seeds,
        "views": report.views,
        "on_latents": report.on_latents,
        "steps": {str(count): rows(found) for count, found in report.by_steps.items()},
    }


def markdown(report: StudyReport, command: str) -> str:
    """The study as a Markdown page that names the command that made it."""
    what = "the log-mel that the latents stand for" if report.on_latents else "the log-mel of the decoded sound"
    labels = list(next(iter(next(iter(report.by_steps.values())).found.values())))
    parts = [
        "# The streaming swap schedule: a study",
        "",
        f"Model {report.model}; classes: {', '.join(labels)}; {report.seeds} seeds, {report.views} views each. "
        f"Measured on {what}. Made by `{command}`.",
        "",
        "Each figure is mean |Δ log-mel| at latent-frame borders over the interior's; 1.00 is seamless. *overlap*: "
        "mean over the overlap's borders. *edges*: its two ends. *worst border*: the largest of all borders from one "
        "overlap before the view's start to one after the overlap, of the mean over classes, with its standard error; "
        "*by chance*: what the worst of so many borders would show on average if all were seamless. *frame*: where it "
        "is, counted from the view's start. *vs joint*: over joint SaFa's worst border. *worst class*: the largest "
        "worst border of a single class.",
    ]
    header = ["schedule", "overlap", "edges", "worst border", "± s.e.", "by chance", "frame", "vs joint", "worst class"]
    for count, found in report.by_steps.items():
        lines = [
            [
                r["schedule"],
                *(f"{r[k]:.3f}" for k in ("overlap", "edges", "worst", "error", "chance")),
                r["frame"],
                f"{r['vs_joint']:.3f}",
                f"{r['worst_in_classes']:.2f} {r['worst_class']}",
            ]
            for r in rows(found)
        ]
        parts += ["", f"## {count} steps", "", markdown_table(header, lines)]
    return "\n".join([*parts, ""])


def write(report: StudyReport, path: Path, command: str) -> None:
    """Write the page, and beside it one picture of profiles a step count.

    Raises:
        OutputError: the files cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = markdown(report, command)
        for count, found in report.by_steps.items():
            picture = path.with_name(f"{path.stem}-{count}.svg")
            picture.write_text(seams.picture(found), encoding="utf-8")
            text += f"\n![Profiles at {count} steps]({picture.name})\n"
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the study to {path}: {error}") from error
