"""Mix commands that come faster than sound is read: those of one moment become one for each layer.

Nothing that is said between two reads can be heard before the next, so a fader that is moved ten times in between is
moved once: the later value counts. What its layer was told so far is taken back and carried out anew, so the mixer is
exactly where the journal's lines leave it. What else is said in between ends a moment, and so does a snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from safa_stream.session import messages as m
from safa_stream.session import roster
from safa_stream.session.mixing import MixState
from safa_stream.session.state import State

#: More commands than this are not taken back; ramps of many lengths could make more than there are layers.
LARGEST = 32


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A command, its number, and its line in the journal, which is not written yet."""

    command: m.Mix
    number: int
    line: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """The mixer ahead of some commands and behind them, and the journal's lines that they are in."""

    before: MixState
    after: MixState
    log: list[dict[str, Any]]
    parts: tuple[Part, ...]

    def lasts(self, state: State, mix: MixState) -> bool:
        """Whether the mixer is still as it left it and its lines can still be changed."""
        return self.after is mix and self.log is state.log


def begun(state: State, command: m.Command, number: int, before: MixState) -> None:
    """Note a command that was carried out just now, its line the journal's last. before: the mixer ahead of it."""
    if not isinstance(command, m.Mix) or not _at_once(command):
        state.moment = None
        return
    part, moment = Part(command, number, state.log[-1]), state.moment
    if moment is not None and moment.lasts(state, before) and len(moment.parts) < LARGEST:
        state.moment = replace(moment, after=state.mix, parts=(*moment.parts, part))
    else:
        state.moment = Moment(before, state.mix, state.log, (part,))


def merged(state: State, command: m.Command) -> int | None:
    """Carry a command out as a part of an earlier one, and give that one's number; None where there is none such.

    That is the layer's latest in this moment, with a ramp of the same length. Raises UsageError, and nothing changes.
    """
    moment = state.moment
    if moment is None or not isinstance(command, m.Mix) or not _at_once(command):
        return None
    if not moment.lasts(state, state.mix):
        return None
    index = max((n for n, part in enumerate(moment.parts) if part.command.layer == command.layer), default=-1)
    if index < 0 or moment.parts[index].command.ramp != command.ramp:
        return None
    old = moment.parts[index]
    said = {f.name: getattr(command, f.name) for f in fields(command) if getattr(command, f.name) is not None}
    part = replace(old, command=replace(old.command, **said))
    parts = (*moment.parts[:index], part, *moment.parts[index + 1 :])
    state.mix, again = _taken_back(moment, parts, command.layer)
    try:
        for one in again:
            roster.mix(state, one.command)
    except BaseException:
        state.mix = moment.after
        raise
    part.line["command"] = part.command
    state.moment = replace(moment, after=state.mix, parts=parts)
    return part.number


def _at_once(command: m.Command) -> bool:
    """Whether it waits for nothing."""
    return command.at is None and command.quantise is None


def _taken_back(moment: Moment, parts: tuple[Part, ...], layer: int | None) -> tuple[MixState, tuple[Part, ...]]:
    """A mixer, and the parts that are to be carried out on it in their order.

    One layer is taken back by itself, unless somebody's mute or solo decides who else is heard.
    """
    if any(part.command.mute is not None or part.command.solo is not None for part in parts):
        return moment.before, parts
    mine = tuple(part for part in parts if part.command.layer == layer)
    if layer is None:
        return replace(moment.after, master=moment.before.master), mine
    return replace(moment.after, layers={**moment.after.layers, layer: moment.before.layers[layer]}), mine
