"""A listener in this process beside the program under test: what it hears is the session's own output, to the bit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from safa_server.client import SafaClient
from safa_server.control import Close, Control, Pause, Play
from safa_stream.errors import SafaError
from safa_stream.session.messages import Command
from safa_stream.types import FloatArray

PATIENCE = 60.0
#: What is placed in space is a layer by itself.
RAIN_AND_FIRE = {
    "format": "safa-live-1",
    "layers": [{"layer": 0, "prompts": "rain on a tent"}, {"layer": 1, "prompts": "campfire"}],
}
FIRE = 1


class Witness:
    """Hears a session from its first sample (or, joined later, from a frame) on. Made by `opened` and `joined`."""

    def __init__(self, url: str, owns: bool) -> None:
        self.url, self.opened, self._owns = url, dict[str, Any](), owns
        self.events: list[dict[str, Any]] = []
        self._frames: list[FloatArray] = []
        self.first: int | None = None
        self._loop = asyncio.new_event_loop()
        self._client: SafaClient | None = None
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._failed: BaseException | None = None

    @property
    def frames(self) -> FloatArray:
        """[N, 2]: what was heard so far; it begins at sample `first`."""
        return np.ascontiguousarray(np.concatenate(self._frames, axis=1).T) if self._frames else np.zeros((0, 2))

    def send(self, message: Command | Control) -> Any:
        """Have a message carried out."""
        return self._call(lambda client: client.send(message))

    def state(self) -> dict[str, Any]:
        """The session's state."""
        found: dict[str, Any] = self._call(lambda client: client.state())
        return found

    def play(self) -> None:
        """Let the session's clock run."""
        self.send(Play())

    def pause(self) -> None:
        """Let it stand; what has left is heard before this returns."""
        self.send(Pause())
        position = self.state()["position"]
        wait_for(lambda: (self.first or 0) + sum(part.shape[1] for part in self._frames) >= position)

    def wait_for_listeners(self, count: int) -> None:
        """Until so many hear the session, this one among them."""
        wait_for(lambda: len(self.state()["listeners"]) >= count)

    def _call(self, what: Callable[[SafaClient], Any]) -> Any:
        assert self._client is not None
        done: Future[Any] = asyncio.run_coroutine_threadsafe(what(self._client), self._loop)
        return done.result(PATIENCE)

    async def _live(self, enter: Callable[[SafaClient], Any]) -> None:
        async with SafaClient.connect(self.url) as client:
            self.opened = await enter(client)
            self._client = client
            self._ready.set()

            async def hear() -> None:
                async for frame in client:
                    assert frame.lost == 0, "the witness lost something"
                    self.first = frame.header.start if self.first is None else self.first
                    self._frames.append(frame.samples())
                    self.events += client.events
                    client.events.clear()

            hearing = asyncio.create_task(hear())
            await self._over.wait()
            hearing.cancel()
            if self._owns:
                with suppress(SafaError):
                    await client.send(Close())

    def _run(self, enter: Callable[[SafaClient], Any]) -> None:
        try:
            self._loop.run_until_complete(self._live(enter))
        except BaseException as error:
            self._failed = error
        finally:
            self._loop.close()
            self._ready.set()


@contextmanager
def _running(url: str, enter: Callable[[SafaClient], Any], owns: bool) -> Iterator[Witness]:
    witness = Witness(url, owns)
    thread = threading.Thread(target=witness._run, args=(enter,))
    thread.start()
    try:
        assert witness._ready.wait(PATIENCE), "the server does not answer"
        if witness._failed is not None:
            raise witness._failed
        yield witness
    finally:
        if not witness._loop.is_closed():
            witness._loop.call_soon_threadsafe(witness._over.set)
        thread.join(PATIENCE)


def opened(url: str, scene: Any, **fields: Any) -> Any:
    """A session whose clock stands until `play`; a context that gives its Witness, and ends it."""
    return _running(url, lambda client: client.open(scene, play=False, **fields), owns=True)


def joined(url: str, session: str, token: str | None = None, **fields: Any) -> Any:
    """A session that exists, from its second frame on while the server keeps it; a context that gives its Witness."""
    return _running(url, lambda client: client.join(session, token, **{"from_": 0, **fields}), owns=False)


def stretches(recorded: FloatArray, wanted: FloatArray, gaps: int) -> int:
    """How many frames of `wanted` [N, 2] a recording holds to the last bit, one after the other, from its first sound
    on; with at most as many silences between them as the player counted."""
    begin = at = int(np.flatnonzero(wanted.any(axis=1))[0])
    place, found = int(np.flatnonzero(recorded.any(axis=1))[0]), 0
    while at < len(wanted) and place < len(recorded):
        count = min(len(recorded) - place, len(wanted) - at)
        differs = np.flatnonzero((recorded[place : place + count] != wanted[at : at + count]).any(axis=1))
        same = int(differs[0]) if len(differs) else count
        at, place, found = at + same, place + same, found + 1
        assert found <= gaps + 1, f"{found} stretches, and the player counted {gaps} gaps"
        # A gap: silence until it goes on where it stopped, which may be silence, too.
        heard, silent = (np.flatnonzero(part.any(axis=1)) for part in (recorded[place:], wanted[at:]))
        if not len(heard) or not len(silent):
            break
        assert heard[0] >= silent[0], f"frame {at} is missing"
        at, place = at + int(silent[0]), place + int(heard[0])
    return at - begin


def wait_for(met: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `met` gives once it is true. Raises AssertionError when time is up."""
    end = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < end, f"not so within {seconds:g} s"
        time.sleep(0.02)
    return found
