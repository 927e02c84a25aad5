"""A recorded performance made again from its journal: bit-equal at the same settings, or with more steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.models.interface import Model
from safa_stream.session.journal import Entry
from safa_stream.session.layer import Work
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import Configure
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from safa_stream.types import Chunk


def replay(model: Model, entries: Iterable[Entry], steps: int | None = None) -> Iterator[Chunk]:
    """The chunks that the session gave, in order. steps: solver steps for every view instead of the recorded ones.

    Raises SnapshotError where the journal is of another model or does not fit itself.
    """
    session: Session | None = None
    works: dict[int, Work] = {}
    block = 960
    for entry in entries:
        if session is None:
            session, block = _begun(model, entry, steps)
            continue
        while session.position < entry.position:
            yield session.read(min(block, entry.position - session.position))
        try:
            _repeat(session, works, entry, steps)
        except (UsageError, KeyError) as error:
            raise SnapshotError(f"the journal does not fit itself at sample {entry.position}: {error}") from error


def _begun(model: Model, entry: Entry, steps: int | None) -> tuple[Session, int]:
    values, facts = entry.values, model.facts
    if (values.get("model"), values.get("version")) != (facts.name, facts.version):
        said = f"{values.get('model')} {values.get('version')}"
        raise SnapshotError(f"the journal is of model {said}, this is {facts.name} {facts.version}")
    scene = LiveScene.from_value(values.get("scene"))
    scene = scene if steps is None else replace(scene, steps=steps)
    return Session.begin(model, scene), int(values.get("block", 960))


def _repeat(session: Session, works: dict[int, Work], entry: Entry, steps: int | None) -> None:
    values = entry.values
    if entry.kind == "command":
        command = values["command"]
        if steps is not None and isinstance(command, Configure):
            command = replace(command, steps=None)
        session.receive(command)
    elif entry.kind == "start":
        layer = values["layer"]
        works[layer] = session.start(layer, values["steps"] if steps is None else None, values["expected"])
    elif entry.kind == "complete":
        work = works.pop(values["layer"])
        while not work.view.done:
            step_views(session.state.model, [work.view])
        session.complete(work.finish())
