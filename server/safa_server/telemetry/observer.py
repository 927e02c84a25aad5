"""Who is told what happens to a chunk on its way from a command to the socket. The one here listens to nothing.

    station      took         a command was accepted, and when its message had come
    runner       began        a view of a layer was begun; stepped, decoded; gave_up where it is not wanted any more
    station      left         a block left the session
    fan-out      wrote        and was handed to the sockets of those who listen

A server has one observer, which it hands to its runner; stations and fan-outs have theirs from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safa_server.telemetry.traceparent import Traceparent

if TYPE_CHECKING:  # those who tell know the observer; it knows what they tell of by name only
    from safa_server.blocks import Block
    from safa_server.listener import Sent
    from safa_server.live import Live
    from safa_stream.session.messages import Command
    from safa_stream.session.work import Work


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from. door: "websocket" or "osc"; received_ns: on the monotonic clock; parent: the client's
    place in a trace of its own."""

    door: str
    received_ns: int
    parent: Traceparent | None = None


class Observer:
    """Listens to nothing; subclasses do. Calls come from the event loop and from the engine's thread, some of them
    with a session's lock held, so that their order is that of what happened: none may wait, and none may raise.

    lost: what could not be told further, a count.
    """

    lost: int = 0

    def opened(self, live: Live, origin: Origin) -> None:
        """A session was opened."""

    def took(self, live: Live, command: Command, number: int, origin: Origin | None) -> None:
        """A command was accepted; its session's lock is held."""

    def began(self, live: Live, work: Work) -> None:
        """A view was begun; its session's lock is held."""

    def stepped(self, works: Sequence[Work], rows: int, seconds: float) -> None:
        """Solver steps of views that shared a batch of so many rows have just ended."""

    def decoded(self, live: Live, work: Work, seconds: float, heard: int | None) -> None:
        """A view has just been decoded, within so many seconds. heard: the first sample of the session's clock that
        may sound otherwise for it, None where nobody wants it any more."""

    def gave_up(self, live: Live, work: Work) -> None:
        """A view in the making is not wanted any more."""

    def left(self, live: Live, block: Block) -> None:
        """A block has left the session; nobody has it yet."""

    def wrote(self, live: Live, block: Block, sent: Sent, listeners: int, seconds: float) -> None:
        """The fan-out has encoded a block and written what there was to write, within so many seconds."""

    def closed(self, live: Live) -> None:
        """A session is over."""


#: Of a server that nobody observes.
NOBODY = Observer()
