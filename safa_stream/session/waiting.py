"""Commands that wait: for a sample, or for a line of the tempo's grid, with which they move when the tempo changes."""

from __future__ import annotations

from dataclasses import replace

from safa_stream.errors import UsageError
from safa_stream.session import messages as m
from safa_stream.session.state import LARGEST_QUEUE, State, Waiting


def of(state: State, command: m.Command, number: int) -> Waiting | None:
    """The command as one that waits; None where it is to be carried out now.

    Raises UsageError for a time or lines that cannot be, and where too many wait.
    """
    at, line = max(command.at or 0, state.position), None
    if command.quantise is not None:
        line = state.grid.line(at, command.quantise)
        at = max(at, state.grid.sample(line))
    if at <= state.position:
        return None
    if len(state.waiting) >= LARGEST_QUEUE:
        raise UsageError(f"{LARGEST_QUEUE} commands are waiting for their time; no more can")
    return Waiting(at, number, command, line)


def add(state: State, waiting: Waiting) -> None:
    """Let a command wait; who waits for the same sample is carried out in the order of numbers."""
    state.waiting = _in_order([*state.waiting, waiting])


def change_tempo(state: State, command: m.Tempo) -> m.TempoChanged:
    """Change the grid from here on, and move what waits for its lines. Raises UsageError naming what is wrong."""
    before = state.grid.beat(state.position)
    state.grid = state.grid.changed(state.position, command.bpm, command.beat, command.beats_per_bar)
    jump = state.grid.beat(state.position) - before
    state.waiting = _in_order([_moved(state, one, jump) for one in state.waiting])
    grid = state.grid
    return m.TempoChanged(
        position=state.position, bpm=grid.bpm, beat=grid.beat(state.position), beats_per_bar=grid.beats_per_bar
    )


def _moved(state: State, waiting: Waiting, jump: float) -> Waiting:
    """Where a command waits after a change: for the same line, or after a leap for the next one of the new grid.

    A jump of less than half the way from line to line is a correction: it must not put a command off to the line after
    the one that it happens to step over.
    """
    quantise, line, grid = waiting.command.quantise, waiting.line, state.grid
    if quantise is None or line is None:
        return waiting
    interval = grid.interval(quantise)
    on_a_line = abs(line / interval - round(line / interval)) * interval < 1e-3
    if not on_a_line or abs(jump) >= interval / 2:
        line = grid.line(max(waiting.command.at or 0, state.position), quantise)
    return replace(waiting, at=max(state.position, grid.sample(line)), line=line)


def _in_order(waiting: list[Waiting]) -> list[Waiting]:
    return sorted(waiting, key=lambda one: (one.at, one.number))
