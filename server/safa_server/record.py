"""What a session on the air writes into its journal: its own lines, its clock's, and what commands are called."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from safa_stream.errors import OutputError
from safa_stream.session.journal import Journal

#: A journal says so often how far the session was heard.
AT_SECONDS = 0.5
#: Commands of so many names are remembered, to be carried out once.
LARGEST_ONCE = 4096

log = logging.getLogger("safa_server.record")


class Record:
    """A session's journal, None where it has none (any more). once: numbers of named commands that it has already."""

    def __init__(self, session_id: str, rate: int, journal: Journal | None, once: Mapping[str, int]) -> None:
        self.journal = journal
        self._id, self._rate = session_id, rate
        self._written_at = 0
        self._once: OrderedDict[str, int] = OrderedDict(once)

    def known(self, once: str | None) -> int | None:
        """The number of the command that was called so, None where there was none."""
        return None if once is None else self._once.get(once)

    def named(self, once: str, number: int, position: int) -> dict[str, Any]:
        """Remember what a command is called; the line that says so, to be written together with the command's."""
        self._once[once] = number
        while len(self._once) > LARGEST_ONCE:
            self._once.popitem(last=False)
        return {"type": "once", "position": position, "name": once, "number": number}

    def write(self, lines: Sequence[dict[str, Any]], position: int) -> None:
        """Write lines, and how far the session is where that is due; called without any now and then, too, as lines
        that wait for a disk go there as soon as it takes them. That it takes nothing is logged, once, and that it does
        again."""
        if self.journal is None:
            return
        if position - self._written_at >= (1 if lines else AT_SECONDS * self._rate):
            self._written_at = position
            lines = [*lines, {"type": "at", "position": position}]
        behind = self.journal.behind
        if not lines and not behind:
            return
        try:
            self.journal.write(lines)
        except OutputError as error:
            log.warning("session %s goes on without its journal: %s", self._id, error)
            self.journal.close()
            self.journal = None
            return
        if self.journal.behind and not behind:
            log.warning("session %s is ahead of its journal, which waits: %s", self._id, self.journal.problem)
        elif behind and not self.journal.behind:
            log.warning("session %s has its whole journal on the disk again", self._id)

    def close(self) -> None:
        """No more lines."""
        if self.journal is not None:
            self.journal.close()
