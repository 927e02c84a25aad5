"""A recorded performance made again from its journal: bit-equal at the same settings, or with more steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.models.interface import Model
from safa_stream.session.journal import Entry
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import Configure
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from safa_stream.types import Chunk


def replay(model: Model, entries: Iterable[Entry], steps: int | None = None) -> Iterator[Chunk]:
    """The chunks that the session gave, in order. steps: solver steps for every view instead of the recorded ones.

    Raises SnapshotError where the journal is of another model or does not fit itself.
    """
    again: Again | None = None
    for entry in entries:
        if again is None:
            again = Again.begun(model, entry, steps)
            continue
        yield from again.until(entry.position)
        again.carry_out(entry)


class Again:
    """A session to which a journal's entries happen again. steps: as in `replay`."""

    def __init__(self, session: Session, block: int, steps: int | None = None) -> None:
        self.session, self.block, self.steps = session, block, steps

    @classmethod
    def begun(cls, model: Model, entry: Entry, steps: int | None = None) -> Again:
        """From a journal's first entry. Raises SnapshotError where the model is another."""
        values, facts = entry.values, model.facts
        if (values.get("model"), values.get("version")) != (facts.name, facts.version):
            said = f"{values.get('model')} {values.get('version')}"
            raise SnapshotError(f"the journal is of model {said}, this is {facts.name} {facts.version}")
        if "without" in values:
            raise SnapshotError("the journal has lost its beginning with the machine that it was on")
        scene = LiveScene.from_value(values.get("scene"))
        scene = scene if steps is None else replace(scene, steps=steps)
        return cls(Session.begin(model, scene), int(values.get("block", 960)), steps)

    def until(self, position: int) -> Iterator[Chunk]:
        """What is read up to a position."""
        while self.session.position < position:
            yield self.session.read(min(self.block, position - self.session.position))

    def carry_out(self, entry: Entry) -> None:
        """Let an entry happen at the position where the session stands. Raises SnapshotError where it cannot."""
        try:
            self._carry_out(entry)
        except (UsageError, KeyError) as error:
            raise SnapshotError(f"the journal does not fit itself at sample {entry.position}: {error}") from error

    def _carry_out(self, entry: Entry) -> None:
        session, values = self.session, entry.values
        if entry.kind == "command":
            command = values["command"]
            if self.steps is not None and isinstance(command, Configure):
                command = replace(command, steps=None)
            session.receive(command)
        elif entry.kind == "start":
            session.start(values["layer"], values["steps"] if self.steps is None else None, values["expected"])
        elif entry.kind == "complete":
            work = session.state.layers[values["layer"]].work
            if work is None:
                raise UsageError(f"layer {values['layer']} completes a view that was not begun")
            while not work.view.done:
                step_views(session.state.model, [work.view])
            session.complete(work.finish())
        elif entry.kind == "restored":
            session.forget_works()
