"""A session on the air: its clock, its blocks of sound, its events, and who listens. All on one event loop.

live    the wall clock drives: blocks of 20 ms leave as their time comes, a short burst ahead at first
pull    listeners' credits drive: a block leaves when it is granted and ready; generation waits for them
host    so do a client's, of a session that is played as it is made: what is late is heard as a bed, as in live
device  and so do a sound device's
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safa_server.live import Live
from safa_server.loops import Loops
from safa_server.runner import Runner
from safa_server.storage import Storage
from safa_server.telemetry.observer import Origin
from safa_stream.errors import OutputError, SafaError, UsageError
from safa_stream.session.journal import Journal
from safa_stream.session.livescene import LiveScene
from safa_stream.session.loops import Capture
from safa_stream.session.messages import AddLayer, Command, Event, Mix, RecallScene
from safa_stream.session.tempo import Grid
from safa_stream.types import FloatArray

#: Samples of a block that leaves a session: 20 ms at 48 kHz.
BLOCK = 960
#: A live session's first blocks leave at once, for the players' jitter buffers.
BURST_SECONDS = 0.2
#: Sound that is kept ready ahead, seconds; more makes changes without `now` later, less makes late views likelier.
LEAST_LEAD, DEFAULT_LEAD, LARGEST_LEAD = 2.0, 8.0, 60.0
#: After a stall of the event loop longer than this a live clock goes on from where it stands instead of catching up.
LONGEST_CATCH_UP = 5.0
LARGEST_PROVENANCE = 256
LARGEST_CREDIT_SECONDS = 60.0
#: A journal says so often how far the session was heard.
AT_SECONDS = 0.5

log = logging.getLogger("safa_server.station")


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What a client wants. scene: a prompt line or a scene's JSON object; lead_seconds: sound kept ready ahead.

    channels: the session's, where the scene does not say; None and 1 are 2.
    """

    scene: Any
    pacing: str = "live"
    lead_seconds: float | None = None
    name: str | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.pacing not in ("live", "pull", "host", "device"):
            raise UsageError(f"field 'pacing' must be 'live', 'pull', 'host' or 'device', not {self.pacing!r}")
        lead = self.lead_seconds
        if lead is not None and (
            isinstance(lead, bool) or not isinstance(lead, int | float) or not LEAST_LEAD <= lead <= LARGEST_LEAD
        ):
            raise UsageError(f"field 'lead' must be from {LEAST_LEAD:g} to {LARGEST_LEAD:g} seconds, not {lead!r}")
        if self.name is not None and (not isinstance(self.name, str) or not 0 < len(self.name) <= 64):
            raise UsageError("field 'name' must have 1 to 64 characters")


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What left a session: `samples` [channels, BLOCK] from sample `start` on; `provenance`: what made it; `grid`:
    which beat is heard at which of them; layers: those that somebody hears by themselves, in the same way."""

    samples: FloatArray
    start: int
    sequence: int
    clock_ns: int
    provenance: int
    grid: Grid
    layers: Mapping[int, FloatArray] = field(default_factory=dict)

    def of(self, layer: int | None) -> FloatArray:
        """A layer's sound, or with None that of all."""
        return self.samples if layer is None else self.layers[layer]


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
    ) -> None:
        self._runner, self._live, self._storage = runner, live, storage
        self.observer, self.live, live.name = runner.observer, live, session_id
        self.id, self.token, self.name = session_id, token, request.name
        self.pacing = request.pacing
        #: Whether clients' grants drive it.
        self.by_grant = request.pacing in ("pull", "host")
        self.rate = live.session.rate
        self.channels = live.session.state.channels
        self.apart: frozenset[int] = frozenset()
        self.playing, self.closed = True, False
        self.blocks = self.underruns = 0
        self.opened_at = time.monotonic()
        self.first_block_at: float | None = None
        self._credit = 0
        self._block_callbacks: list[Callable[[Block], None]] = []
        self._event_callbacks: list[Callable[[Event], None]] = []
        self._provenances: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._loops = Loops(runner, self.rate)
        self._granted = asyncio.Event()
        self._origin: float | None = None
        self._described, self._made_by = "", 0
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
    def failure(self) -> str | None:
        """Why the session cannot go on, None while it does."""
        return self._live.failure

    @property
    def lead(self) -> float:
        """Seconds of sound that are ready ahead."""
        with self._live.lock:
            return self._live.session.ready() / self.rate

    # Steering ------------------------------------------------------------------------------------------------------

    def submit(self, command: Command, origin: Origin | None = None) -> int:
        """Hand a command to the session; returns its number. Raises SafaError saying what is wrong with it."""
        if self.closed:
            raise UsageError("the session is closed")
        more = self._more_layers(command)
        if self.pacing != "pull" and more:
            self._runner.admit(more, self._live.groups)
        with self._live.lock:
            number = self._live.session.receive(command)
            self.observer.took(self._live, command, number, origin)
        self._runner.wake()
        if isinstance(command, Mix):
            # Faders may be moved again before the next block, so their line in the journal is not written yet.
            self._tell_events()
        else:
            self._pump()
        return number

    def state(self) -> dict[str, Any]:
        """The session as a JSON object."""
        with self._live.lock:
            described = self._live.session.describe()
        return {"session": self.id, "name": self.name, "pacing": self.pacing, "playing": self.playing, **described}

    def provenance(self, number: int) -> dict[str, Any]:
        """What made the blocks that carry a number. Raises UsageError where it is forgotten or never was."""
        if number not in self._provenances:
            raise UsageError(f"provenance {number} is not known (any more)")
        return self._provenances[number]

    def play(self) -> None:
        """Let the clock run."""
        if not self.playing:
            self.playing, self._origin = True, None
            self._granted.set()

    def pause(self) -> None:
        """Stop the clock; generation goes on up to the lead and waits there."""
        self.playing = False

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
        if self.journal is not None and not stays:
            self._write([{"type": "end", "position": self.position}])
        if self.journal is not None:
            self.journal.close()
        self._loops.close()
        self._block_callbacks.clear()
        self._event_callbacks.clear()

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
        now = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = now - self.position / self.rate - BURST_SECONDS
        due = (now - self._origin) * self.rate
        if due - self.position > LONGEST_CATCH_UP * self.rate:
            self._origin = now - self.position / self.rate
            due = float(self.position)
        while self.position + BLOCK <= due:
            self._leave()
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
        """Let one block go to all who listen."""
        with self._live.lock:
            chunk, layers = self._live.session.read_apart(BLOCK, self.apart)
            provenance, grid = self._provenance(), self._live.session.heard_grid
        block = Block(chunk.samples, chunk.start, chunk.sequence, time.monotonic_ns(), provenance, grid, layers)
        self.blocks += 1
        self.observer.left(self._live, block)
        if self.first_block_at is None:
            self.first_block_at = time.monotonic()
        for callback in list(self._block_callbacks):
            callback(block)

    def _provenance(self) -> int:
        """The number of what makes the present block; a new one when that has changed."""
        made = self._live.session.provenance()
        key = repr(made)
        if key != self._described:
            self._described = key
            self._made_by += 1
            self._provenances[self._made_by] = made
            while len(self._provenances) > LARGEST_PROVENANCE:
                self._provenances.popitem(last=False)
        return self._made_by

    def _pump(self) -> None:
        """Write the journal, make loops, tell events."""
        with self._live.lock:
            lines, captures = self._live.session.journal(), self._live.session.captures()
        self._write(lines)
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
        try:
            self.journal.write(lines)
        except OutputError as error:
            log.warning("session %s goes on without its journal: %s", self.id, error)
            self.journal.close()
            self.journal = None

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
