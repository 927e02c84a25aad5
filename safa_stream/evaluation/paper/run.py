"""`eval paper` from its options to a report, and a report's files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safa_stream.errors import OutputError
from safa_stream.evaluation import plot_png
from safa_stream.evaluation.paper import findings, report
from safa_stream.evaluation.paper.experiment import Setup, measure
from safa_stream.evaluation.paper.hearing import Ears
from safa_stream.evaluation.paper.methods import Job
from safa_stream.evaluation.paper.provenance import Provenance
from safa_stream.evaluation.paper.rows import Sets, rows_of
from safa_stream.evaluation.tables import Report as Say
from safa_stream.evaluation.tables import quiet, to_json
from safa_stream.models.interface import Model
from safa_stream.scene import SYNC


def run(model: Model, jobs: Sequence[Job], setup: Setup, ears: Ears, say: Say = quiet) -> report.Report:
    """Make and measure all jobs. Raises UsageError, PromptError and LayoutError for what cannot be made."""
    begun = time.perf_counter()
    measured = measure(model, jobs, setup, ears, say)
    sets = Sets.of(measured, "rows")
    return report.Report(
        rows_of(model, measured),
        findings.bars(model, measured),
        measured,
        ears,
        sets.components,
        sets.count,
        Provenance.since(begun, model, setup),
        model.likeness(None).name if any(job.method.join == SYNC for job in jobs) else None,
    )


def write_files(folder: Path, name: str, page: str, figures: Mapping[str, Any], pictures: Mapping[str, str]) -> None:
    """Write NAME.md, NAME.json and every picture as SVG, and as PNG where Pillow is installed.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture, svg in pictures.items():
            (folder / f"{picture}.svg").write_text(svg, encoding="utf-8")
            if plot_png.available():
                (folder / f"{picture}.png").write_bytes(plot_png.png(svg))
        told = json.dumps(json.loads(to_json(figures)), indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(told + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
