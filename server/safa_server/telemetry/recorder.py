"""The observer of a server that is traced: notes what happens and has another thread make spans of it.

    event loop ──┐  facts, in the order that they happened         spans
                 ├─► bounded queue ─► thread ─► Journeys (pure) ─► OpenTelemetry's own bounded queue ─► the collector
    engine ──────┘

Telling costs who tells a tuple and an append. Where facts come faster than the thread takes them the oldest are lost,
and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from safa_server.blocks import Block
from safa_server.listener import Sent
from safa_server.live import Live
from safa_server.telemetry import facts
from safa_server.telemetry.facts import Fact
from safa_server.telemetry.observer import Observer, Origin
from safa_stream.session.messages import Command
from safa_stream.session.work import Work

#: Facts that wait at most; a busy server of 16 sessions tells 2000 a second.
MOST_FACTS = 16_384
#: The thread looks so often, seconds: nobody waits for a span.
LOOK_SECONDS = 0.1

log = logging.getLogger("safa_server.telemetry")


class Recorder(Observer):
    """Start it, hand it to a runner, stop it. take: called with every fact, in order, on the recorder's own thread."""

    def __init__(self, take: Callable[[Fact], None], most: int = MOST_FACTS) -> None:
        self._take, self._most = take, most
        self._facts: deque[Fact] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="safa-traces", daemon=True)
        self._failed = False

    def start(self) -> None:
        """Begin to take what is told."""
        self._thread.start()

    def stop(self) -> None:
        """Take what was told so far, then end the thread."""
        self._stopping.set()
        self._thread.join()

    def opened(self, live: Live, origin: Origin) -> None:
        """See Observer, as for all that follow."""
        self._tell(facts.Opened(live, time.monotonic_ns(), tuple(live.session.state.layers), origin))

    def took(self, live: Live, command: Command, number: int, origin: Origin | None) -> None:
        state = live.session.state
        layers = tuple(state.layers)
        self._tell(facts.Took(live, time.monotonic_ns(), command, number, state.position, layers, origin))

    def began(self, live: Live, work: Work) -> None:
        # The work forgets what it was told ahead when the command's time comes.
        origin, per_frame = work.base.origin, work.model.facts.samples_per_frame
        told = {number: origin + round(frame * per_frame) for number, frame in work.foretold.items()}
        self._tell(facts.Began(live, time.monotonic_ns(), work, told))

    def stepped(self, works: Sequence[Work], rows: int, seconds: float) -> None:
        self._tell(facts.Stepped(time.monotonic_ns(), tuple(works), rows, round(seconds * 1e9)))

    def decoded(self, live: Live, work: Work, seconds: float, heard: int | None) -> None:
        self._tell(facts.Decoded(live, time.monotonic_ns(), work, round(seconds * 1e9), heard))

    def gave_up(self, live: Live, work: Work) -> None:
        self._tell(facts.GaveUp(live, time.monotonic_ns(), work))

    def left(self, live: Live, block: Block) -> None:
        self._tell(facts.Left(live, block.clock_ns, block.start, block.samples.shape[1], block.sequence))

    def wrote(self, live: Live, block: Block, sent: Sent, listeners: int, seconds: float) -> None:
        now = time.monotonic_ns()
        self._tell(facts.Wrote(live, now, block.sequence, listeners, sent.frames, sent.bytes, round(seconds * 1e9)))

    def closed(self, live: Live) -> None:
        self._tell(facts.Closed(live, time.monotonic_ns()))

    def _tell(self, fact: Fact) -> None:
        # Two threads may pass this at once, so there may be a fact more than the most: no lock is needed for that.
        if len(self._facts) >= self._most:
            self._facts.popleft()
            self.lost += 1
        self._facts.append(fact)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        for _ in range(len(self._facts)):
            try:
                self._take(self._facts.popleft())
            except IndexError:  # it was lost meanwhile
                return
            except Exception as error:  # a fault in the traces must not end them, and is told once
                self.lost += 1
                if not self._failed:
                    log.error("traces are incomplete: %s: %s", type(error).__name__, error)
                self._failed = True
