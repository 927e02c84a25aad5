"""A session on the air: its clock, its blocks of sound, its events, and who listens. All on one event loop.

live    the wall clock drives: blocks of 20 ms leave as their time comes, a short burst ahead at first
pull    listeners' credits drive: a block leaves when it is granted and ready; generation waits for them
host    so do a client's, of a session that is played as it is made: what is late is heard as a bed, as in live
device  and so do a sound device's
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from safa_server.blocks import BLOCK, Block, Blocks, Resumed
from safa_server.live import Live
from safa_server.loops import Loops
from safa_server.record import Record
from safa_server.requests import BURST_SECONDS, OpenRequest
from safa_server.runner import Runner
from safa_server.secret import Secret
from safa_server.storage import LONGEST_UNWRITTEN, Storage
from safa_server.telemetry.observer import Origin
from safa_stream.errors import SafaError, UsageError
from safa_stream.session.journal import Journal
from safa_stream.session.loops import Capture
from safa_stream.session.messages import AddLayer, Command, Event, Mix, RecallScene
from safa_stream.session.scenes import content
from safa_stream.session.tempo import Grid

#: After a stall of the event loop longer than this a live clock goes on from where it stands instead of catching up.
LONGEST_CATCH_UP = 5.0
LARGEST_CREDIT_SECONDS = 60.0
#: Who catches up lets others have their turn after so many blocks.
YIELD_BLOCKS = 10

log = logging.getLogger("safa_server.station")


class Station:
    """One session. Everything here is called on the event loop; nothing blocks for longer than a block's mixing.

    apart: layers whose own sound is in the blocks, too; who listens to one sets it. allow: raises QuotaError where so
    many more layers are more than the tenant may have.
    """

    def __init__(
        self,
        runner: Runner,
        live: Live,
        request: OpenRequest,
        session_id: str,
        secret: Secret,
        storage: Storage | None = None,
        journal: Journal | None = None,
        resumed: Resumed | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        past = None if resumed is None else deque(resumed.past)
        resumed = resumed or Resumed(Blocks(live.session))
        self._runner, self._live, self._storage, self.clock = runner, live, storage, clock
        self.observer, self.live, live.name = runner.observer, live, session_id
        self.id, self.secret, self.name, self.tenant = session_id, secret, request.name, request.tenant
        self.allow: Callable[[int], None] = lambda more: None
        self.pacing = request.pacing
        #: Whether clients' grants drive it.
        self.by_grant = request.pacing in ("pull", "host")
        self.rate = live.session.rate
        self.channels = live.session.state.channels
        self.apart: frozenset[int] = frozenset()
        #: What left since shortly before the session was restored, for who has not had all of it; None later on.
        self.past = past
        self.playing, self.closed = resumed.playing, False
        self.blocks = self.underruns = 0
        self.opened_at = clock()
        self.first_block_at: float | None = None
        self._credit = 0
        self._block_callbacks: list[Callable[[Block], None]] = []
        self._event_callbacks: list[Callable[[Event], None]] = []
        self._loops = Loops(runner, self.rate)
        self._granted = asyncio.Event()
        self._blocks, self._restored = resumed.blocks, live.session.state.sequence
        self.ahead = BURST_SECONDS if request.ahead is None else request.ahead
        self._origin = None if resumed.due is None else clock() - resumed.due / self.rate
        self._record = Record(session_id, self.rate, journal, resumed.once)
        self._tasks = [asyncio.create_task(self._run(), name=f"station {session_id}")]

    @property
    def token(self) -> str | None:
        """The token that steers the session, None where only its hash is known: it was restored."""
        return self.secret.token

    @property
    def journal(self) -> Journal | None:
        """Where the session is written down; None where it is not, or a full disk has ended that."""
        return self._record.journal

    @property
    def position(self) -> int:
        """The next sample to leave."""
        return self._live.session.position

    @property
    def grid(self) -> Grid:
        """The tempo's grid on the session's clock."""
        return self._live.session.state.grid

    @property
    def delay(self) -> int:
        """Samples after which what happens at a sample is heard."""
        return self._live.session.state.limiter.delay

    @property
    def sequence(self) -> int:
        """The number of the next block."""
        return self._live.session.state.sequence

    @property
    def layers(self) -> int:
        """Layers that it has, and those that waiting commands will bring."""
        with self._live.lock:
            state = self._live.session.state
            later = [waiting.command for waiting in state.waiting if waiting.number not in state.prepared]
            return len(state.layers) + sum(map(self._more_layers, later))

    @property
    def rows(self) -> int:
        """Layers, each as often as it has groups of channels: what the session costs."""
        with self._live.lock:
            return len(self._live.session.state.layers) * self._live.groups

    @property
    def failure(self) -> str | None:
        """Why the session cannot go on, None while it does."""
        return self._live.failure

    @property
    def lead(self) -> float:
        """Seconds of sound that are ready ahead."""
        with self._live.lock:
            return self._live.session.ready() / self.rate

    # Steering ------------------------------------------------------------------------------------------------------

    def submit(self, command: Command, once: str | None = None, origin: Origin | None = None) -> int:
        """Hand a command to the session; returns its number. Raises SafaError saying what is wrong with it.

        once: what its sender calls it: of those of one name only the first is carried out, also by a session that was
        restored meanwhile.
        """
        if self.closed:
            raise UsageError("the session is closed")
        known = self._record.known(once)
        if known is not None:
            return known
        with self._live.lock:
            more = self._more_layers(command)
        if more:
            self.allow(more)
        if self.pacing != "pull" and more:
            self._runner.admit(more, self._live.groups)
        with self._live.lock:
            number = self._live.session.receive(command)
            self.observer.took(self._live, command, number, origin)
        self._runner.wake()
        if isinstance(command, Mix):
            # Faders may be moved again before the next block, so their line in the journal is not written yet.
            self._tell_events()
        elif once is None:
            self._pump()
        else:
            self._pump([self._record.named(once, number, self.position)])
        return number

    def renew_token(self) -> str:
        """One more token for the session, as one that was restored knows none in clear; the others stay good."""
        self.secret = self.secret.renewed()
        if self._storage is not None:
            self._storage.keep_secret(self._live, self.secret)
        assert self.secret.token is not None, "a renewed secret has a token"
        return self.secret.token

    def state(self) -> dict[str, Any]:
        """The session as a JSON object."""
        with self._live.lock:
            described = self._live.session.describe()
        return {"session": self.id, "name": self.name, "pacing": self.pacing, "playing": self.playing, **described}

    def provenance(self, number: int) -> dict[str, Any]:
        """What made the blocks that carry a number. Raises UsageError where it is forgotten or never was."""
        return self._blocks.provenance(number)

    def play(self) -> None:
        """Let the clock run."""
        if not self.playing:
            self.playing, self._origin = True, None
            self._granted.set()
            self._record.write([{"type": "play", "position": self.position}], self.position)

    def pause(self) -> None:
        """Stop the clock; generation goes on up to the lead and waits there."""
        if self.playing:
            self.playing = False
            self._record.write([{"type": "pause", "position": self.position}], self.position)

    def grant(self, samples: int) -> None:
        """Allow so many more samples to leave (pull pacing). Raises UsageError for what is no such number."""
        most = round(LARGEST_CREDIT_SECONDS * self.rate)
        if isinstance(samples, bool) or not isinstance(samples, int) or not 0 < samples <= most:
            raise UsageError(f"field 'samples' must be a whole number from 1 to {most}, not {samples!r}")
        if self.pacing == "live":
            raise UsageError("a session with pacing 'live' takes no grants")
        self._credit = min(most, self._credit + samples)
        self._granted.set()

    # Listening -----------------------------------------------------------------------------------------------------

    def on_block(self, callback: Callable[[Block], None]) -> Callable[[], None]:
        """Call back with every block; returns what ends that. The callback must not block."""
        return _subscribed(self._block_callbacks, callback)

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back with every event; returns what ends that."""
        return _subscribed(self._event_callbacks, callback)

    def loop(self, loop_id: str) -> bytes:
        """A captured loop as a WAV file. Raises UsageError where there is none of that name."""
        return self._loops.wav(loop_id)

    def check_layer(self, number: int) -> None:
        """Raises UsageError where the session has no such layer now."""
        with self._live.lock:
            self._live.session.state.layer(number)

    def close(self, stays: bool = False) -> None:
        """End the session. stays: only for now; what is kept of it on disk can be restored."""
        if self.closed:
            return
        self.closed = True
        self._runner.close(self._live)
        with self._live.lock:
            lines = self._live.session.journal()
        # The journal first: a snapshot that knows more than it could not be gone on from.
        self._record.write([*lines, {"type": "at" if stays else "end", "position": self.position}], self.position)
        if self._storage is not None:
            (self._storage.leave if stays else self._storage.end)(self._live)
        for task in self._tasks:
            task.cancel()
        self._record.close()
        self._loops.close()
        self._block_callbacks.clear()
        self._event_callbacks.clear()

    def reach(self, sequence: int) -> None:
        """Let blocks leave up to a number, as far as a journal may be behind: a listener has had them before the
        session was restored, so nothing that comes from now on may change them."""
        last = min(sequence, self._restored + round(LONGEST_UNWRITTEN * self.rate / BLOCK))
        while self.past is not None and self.sequence <= last and self.lead * self.rate >= BLOCK:
            self._leave()
            self._credit -= BLOCK  # granted when it left for the first time

    # The clock -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        # A session is heard once all of its first layers can be.
        while not self._begun():
            await asyncio.sleep(0.005)
            self._pump()
        while True:
            match self.pacing:
                case "live":
                    await self._live_step()
                case "host" | "device":
                    await self._device_step()
                case _:
                    await self._pull_step()
            self._pump()

    def _begun(self) -> bool:
        with self._live.lock:
            return self._live.session.begun

    async def _live_step(self) -> None:
        if not self.playing:
            await self._called()
            return
        now = self.clock()
        if self._origin is None:
            self._origin = now - self.position / self.rate - self.ahead
        due = (now - self._origin) * self.rate
        if due - self.position > (self.ahead + LONGEST_CATCH_UP) * self.rate:
            self._origin = now - self.position / self.rate - self.ahead
            due = self.position + self.ahead * self.rate
        for left in itertools.count(1):
            if not self._may_leave(due):
                break
            self._leave()
            if left % YIELD_BLOCKS == 0:
                await asyncio.sleep(0)
        late = (self.position + BLOCK) / self.rate + self._origin - now
        # What is due and waits until it is made is looked at now and then.
        await asyncio.sleep(late if late > 0.0 else 0.005)

    def _may_leave(self, due: float) -> bool:
        """Whether the next block may leave by now; one that players do not need yet waits until it is made."""
        if self.position + BLOCK > due:
            return False
        return self.position + BLOCK <= due - self.ahead * self.rate or self.lead * self.rate >= BLOCK

    async def _pull_step(self) -> None:
        if not self.playing or self._credit < BLOCK:
            await self._called()
        elif self.lead * self.rate >= BLOCK:
            self._leave()
            self._credit -= BLOCK
            # Other sessions' turn: a client may have granted a minute at once.
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.005)

    async def _device_step(self) -> None:
        if not self.playing or self._credit < BLOCK:
            await self._called()
            return
        self._leave()
        self._credit -= BLOCK
        await asyncio.sleep(0)

    async def _called(self) -> None:
        """Wait for `play` or `grant`, not long: events have to be told meanwhile."""
        self._granted.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._granted.wait(), 0.1)

    def _leave(self) -> None:
        """Let one block go to all who listen; by then the journal has what it was made of."""
        with self._live.lock:
            block, lines = self._blocks.next(self.apart), self._live.session.journal()
            if self._live.left is not None:
                self._live.left.append(block)
        self._record.write(lines, self.position)
        self.blocks += 1
        if self.past is not None:
            self.past.append(block)
        self.observer.left(self._live, block)
        if self.first_block_at is None:
            self.first_block_at = self.clock()
        for callback in list(self._block_callbacks):
            callback(block)

    def _pump(self, more: Sequence[dict[str, Any]] = ()) -> None:
        """Write the journal and `more` lines after it, make loops, tell events."""
        with self._live.lock:
            lines, captures = self._live.session.journal(), self._live.session.captures()
        self._record.write([*lines, *more], self.position)
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks += [asyncio.create_task(self._make_loop(capture)) for capture in captures]
        self._tell_events()

    def _tell_events(self) -> None:
        with self._live.lock:
            events = self._live.session.events()
        for event in events:
            self._tell(event)

    async def _make_loop(self, capture: Capture) -> None:
        self._tell(await self._loops.make(capture, lambda: self.position))

    def _tell(self, event: Event) -> None:
        if event.name == "bed.began":
            self.underruns += 1
        for callback in list(self._event_callbacks):
            callback(event)

    def _more_layers(self, command: Command) -> int:
        """How many layers a command brings; with the session's lock held."""
        state = self._live.session.state
        if isinstance(command, AddLayer):
            return 1
        if isinstance(command, RecallScene):
            try:
                return max(0, len(content(state, command).layers) - len(state.layers))
            except SafaError:
                return 0
        return 0


def _subscribed(callbacks: list[Any], callback: Any) -> Callable[[], None]:
    callbacks.append(callback)

    def end() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    return end
