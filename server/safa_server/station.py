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
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safa_server.blocks import BLOCK, Block, Blocks
from safa_server.live import Live
from safa_server.loops import Loops
from safa_server.requests import BURST_SECONDS, OpenRequest
from safa_server.runner import Runner
from safa_server.storage import LONGEST_UNWRITTEN, Storage
from safa_stream.errors import OutputError, SafaError, UsageError
from safa_stream.session.journal import Journal
from safa_stream.session.livescene import LiveScene
from safa_stream.session.loops import Capture
from safa_stream.session.messages import AddLayer, Command, Event, Mix, RecallScene
from safa_stream.session.tempo import Grid

#: After a stall of the event loop longer than this a live clock goes on from where it stands instead of catching up.
LONGEST_CATCH_UP = 5.0
LARGEST_CREDIT_SECONDS = 60.0
#: Commands of so many names are remembered, to be carried out once.
LARGEST_ONCE = 4096
#: Who catches up lets others have their turn after so many blocks.
YIELD_BLOCKS = 10
#: A journal says so often how far the session was heard.
AT_SECONDS = 0.5

log = logging.getLogger("safa_server.station")


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session that was on the air before. past: the latest blocks that left it then; playing: whether its clock ran;
    due: the sample that ought to leave about now, where that is known: the clock catches up; once: numbers of commands
    that must not be carried out again, by their names."""

    blocks: Blocks
    past: tuple[Block, ...] = ()
    playing: bool = True
    due: int | None = None
    once: Mapping[str, int] = field(default_factory=dict)


class Station:
    """One session. Everything here is called on the event loop; nothing blocks for longer than a block's mixing.

    apart: layers whose own sound is in the blocks, too; who listens to one sets it.
    """

    def __init__(
        self,
        runner: Runner,
        live: Live,
        request: OpenRequest,
        session_id: str,
        token: str,
        storage: Storage | None = None,
        journal: Journal | None = None,
        resumed: Resumed | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        past = None if resumed is None else deque(resumed.past)
        resumed = resumed or Resumed(Blocks(live.session))
        self._runner, self._live, self._storage, self.clock = runner, live, storage, clock
        self.id, self.token, self.name = session_id, token, request.name
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
        self._ahead = BURST_SECONDS if request.ahead is None else request.ahead
        self._origin = None if resumed.due is None else clock() - resumed.due / self.rate
        self._once: OrderedDict[str, int] = OrderedDict(resumed.once)
        self._written_at = 0
        self.journal = journal
        self._tasks = [asyncio.create_task(self._run(), name=f"station {session_id}")]

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

    def submit(self, command: Command, once: str | None = None) -> int:
        """Hand a command to the session; returns its number. Raises SafaError saying what is wrong with it.

        once: what its sender calls it: of those of one name only the first is carried out, also by a session that was
        restored meanwhile.
        """
        if self.closed:
            raise UsageError("the session is closed")
        if once is not None and once in self._once:
            return self._once[once]
        more = self._more_layers(command)
        if self.pacing != "pull" and more:
            self._runner.admit(more, self._live.groups)
        with self._live.lock:
            number = self._live.session.receive(command)
        self._runner.wake()
        if isinstance(command, Mix):
            # Faders may be moved again before the next block, so their line in the journal is not written yet.
            self._tell_events()
        elif once is None:
            self._pump()
        else:
            self._once[once] = number
            while len(self._once) > LARGEST_ONCE:
                self._once.popitem(last=False)
            self._pump([{"type": "once", "position": self.position, "name": once, "number": number}])
        return number

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
            self._write([{"type": "play", "position": self.position}])

    def pause(self) -> None:
        """Stop the clock; generation goes on up to the lead and waits there."""
        if self.playing:
            self.playing = False
            self._write([{"type": "pause", "position": self.position}])

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
        if self._storage is not None:
            (self._storage.leave if stays else self._storage.end)(self._live)
        for task in self._tasks:
            task.cancel()
        self._write([{"type": "at" if stays else "end", "position": self.position}])
        if self.journal is not None:
            self.journal.close()
        self._loops.close()
        self._block_callbacks.clear()
        self._event_callbacks.clear()

    def reach(self, sequence: int) -> None:
        """Let blocks leave up to a number, as far as a journal may be behind: a listener has had them before the session
        was restored, so nothing that comes from now on may change them."""
        last = min(sequence, self._restored + round(LONGEST_UNWRITTEN * self.rate / BLOCK))
        while self.past is not None and self.sequence <= last and self.lead * self.rate >= BLOCK:
            self._leave()

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
            self._origin = now - self.position / self.rate - self._ahead
        due = (now - self._origin) * self.rate
        if due - self.position > LONGEST_CATCH_UP * self.rate:
            self._origin = now - self.position / self.rate
            due = float(self.position)
        for left in itertools.count(1):
            if self.position + BLOCK > due:
                break
            self._leave()
            if left % YIELD_BLOCKS == 0:
                await asyncio.sleep(0)
        late = (self.position + BLOCK) / self.rate + self._origin - now
        await asyncio.sleep(max(0.001, late))

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
        self._write(lines)
        self.blocks += 1
        if self.past is not None:
            self.past.append(block)
        if self.first_block_at is None:
            self.first_block_at = self.clock()
        for callback in list(self._block_callbacks):
            callback(block)

    def _pump(self, more: Sequence[dict[str, Any]] = ()) -> None:
        """Write the journal and `more` lines after it, make loops, tell events."""
        with self._live.lock:
            lines, captures = self._live.session.journal(), self._live.session.captures()
        self._write([*lines, *more])
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks += [asyncio.create_task(self._make_loop(capture)) for capture in captures]
        self._tell_events()

    def _tell_events(self) -> None:
        with self._live.lock:
            events = self._live.session.events()
        for event in events:
            self._tell(event)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self.journal is None:
            return
        if self.position - self._written_at >= (AT_SECONDS * self.rate if not lines else 1):
            self._written_at = self.position
            lines = [*lines, {"type": "at", "position": self.position}]
        if not lines:
            return
        behind = self.journal.behind
        try:
            self.journal.write(lines)
        except OutputError as error:
            log.warning("session %s goes on without its journal: %s", self.id, error)
            self.journal.close()
            self.journal = None
            return
        if self.journal.behind and not behind:
            log.warning("session %s is ahead of its journal, which waits: %s", self.id, self.journal.problem)
        elif behind and not self.journal.behind:
            log.warning("session %s has its whole journal on the disk again", self.id)

    async def _make_loop(self, capture: Capture) -> None:
        self._tell(await self._loops.make(capture, lambda: self.position))

    def _tell(self, event: Event) -> None:
        if event.name == "bed.began":
            self.underruns += 1
        for callback in list(self._event_callbacks):
            callback(event)

    def _more_layers(self, command: Command) -> int:
        if isinstance(command, AddLayer):
            return 1
        if isinstance(command, RecallScene) and not isinstance(command.scene, str):
            try:
                wanted = LiveScene.from_value(command.scene)
            except SafaError:
                return 0
            return max(0, len(wanted.layers) - len(self._live.session.state.layers))
        return 0


def _subscribed(callbacks: list[Any], callback: Any) -> Callable[[], None]:
    callbacks.append(callback)

    def end() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    return end
