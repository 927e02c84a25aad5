"""What a traced server notes: one tuple for each thing that can happen; observer.py says which. Times are of the
monotonic clock, in nanoseconds, and of the end of what took time."""

from __future__ import annotations

from typing import NamedTuple

from safa_server.live import Live
from safa_server.telemetry.observer import Origin
from safa_stream.session.messages import Command
from safa_stream.session.work import Work


class Opened(NamedTuple):
    """A session was opened, with these layers."""

    live: Live
    at: int
    layers: tuple[int, ...]
    origin: Origin


class Took(NamedTuple):
    """A command was accepted. position, layers: the session's next sample, and its layers, then."""

    live: Live
    at: int
    command: Command
    number: int
    position: int
    layers: tuple[int, ...]
    origin: Origin | None


class Began(NamedTuple):
    """A view was begun. told: the session's samples from which on it is told of commands that wait, by number."""

    live: Live
    at: int
    work: Work
    told: dict[int, int]


class Stepped(NamedTuple):
    """A step of views that shared a batch."""

    at: int
    works: tuple[Work, ...]
    rows: int
    lasted: int


class Decoded(NamedTuple):
    """A view was decoded. heard: the first sample that may sound otherwise for it, None where it was not wanted."""

    live: Live
    at: int
    work: Work
    lasted: int
    heard: int | None


class GaveUp(NamedTuple):
    """A view in the making was thrown away."""

    live: Live
    at: int
    work: Work


class Left(NamedTuple):
    """A block left, from sample `start` on."""

    live: Live
    at: int
    start: int
    samples: int
    sequence: int


class Wrote(NamedTuple):
    """A block went to the sockets of those who listen: encoded and written."""

    live: Live
    at: int
    sequence: int
    listeners: int
    frames: int
    bytes: int
    lasted: int


class Closed(NamedTuple):
    """A session is over."""

    live: Live
    at: int


Fact = Opened | Took | Began | Stepped | Decoded | GaveUp | Left | Wrote | Closed
