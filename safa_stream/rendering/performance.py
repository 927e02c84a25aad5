"""A session's journal as a sound file: `safa-stream replay`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safa_stream import __version__
from safa_stream.errors import SnapshotError
from safa_stream.models.interface import Model
from safa_stream.rendering import formats
from safa_stream.rendering.metadata import Tags
from safa_stream.rendering.output import SoundWriter, check_target
from safa_stream.session.journal import read_journal
from safa_stream.session.livescene import LiveScene
from safa_stream.session.replay import replay


def render_performance(
    model: Model,
    journal: Path,
    out: Path,
    steps: int | None = None,
    force: bool = False,
    report: Callable[[float, float], None] | None = None,
) -> dict[str, Any]:
    """Replay a journal into a file, sample for sample as it left the session (exactly in a .wav of 32-bit floats).

    steps: solver steps for every view instead of those that it was performed with. `report` is told seconds done and
    in all. Raises SnapshotError for a journal that cannot be replayed, UsageError or OutputError for the file.
    """
    entries = list(read_journal(journal))
    if not entries:
        raise SnapshotError(f"{journal} is empty")
    chosen = formats.choose(out, None, "32f" if out.suffix.lower() == ".wav" else None)
    check_target(out, force)
    facts, total, done = model.facts, entries[-1].position, 0
    about = {"journal": journal.name, "model": facts.name, "version": facts.version, "steps": steps}
    tags = Tags(f"performance {journal.parent.name}", f"safa-stream {__version__}", json.dumps(about))
    channels = LiveScene.from_value(entries[0].values.get("scene")).channels
    writer = SoundWriter(out, chosen, facts.sample_rate, channels, total / facts.sample_rate, tags, force)
    with writer:
        for chunk in replay(model, entries, steps):
            writer.write(chunk.samples)
            done += chunk.samples.shape[1]
            if report is not None:
                report(done / facts.sample_rate, total / facts.sample_rate)
        writer.finish()
    return {
        "file": str(out),
        "seconds": done / facts.sample_rate,
        "sample_rate": facts.sample_rate,
        "channels": channels,
        "model": f"{facts.name} {facts.version}",
        "journal": str(journal),
        "steps": steps,
        "views": sum(entry.kind == "complete" for entry in entries),
        "commands": sum(entry.kind == "command" for entry in entries),
    }
