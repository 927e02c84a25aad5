"""The host's tempo, and how the session is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safa_stream.session.messages import COMMANDS, Command

#: Sessions that have a tempo take this command; there is none where they do not.
_COMMAND: Any = next((command for command in COMMANDS if command.name == "tempo"), None)


@dataclass(frozen=True, slots=True)
class Tempo:
    """beats a minute; the beat of the timeline that it was said at, counted from 0; beats a bar."""

    bpm: float
    beat: float
    beats_per_bar: float


def tempo_commands(tempo: Tempo) -> tuple[Command, ...]:
    """The commands that tell a session of the tempo, none where sessions have no tempo."""
    if _COMMAND is None:
        return ()
    return (_COMMAND(bpm=tempo.bpm, beat=tempo.beat, beats_per_bar=tempo.beats_per_bar),)
