"""A session in pygame's mixer: its layers each on a channel of its own, so that a game can place them.

A thread of its own talks to the server; the game's loop calls `Ear.pump` in every picture and never waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
import pygame

from safa_server.client import SafaClient
from safa_server.control import Close
from safa_stream.errors import SafaError
from safa_stream.session.messages import Command

RATE = 48_000
#: One sound of the mixer's; it plays one and holds one more, so a picture may take so long.
BLOCK_SECONDS = 0.2
#: Sound that is gathered before a channel begins, and begins again after a gap.
AHEAD_SECONDS = 0.6


def start_mixer() -> None:
    """pygame's mixer as a session's sound fits it: 32-bit floats, 48 kHz, stereo."""
    pygame.mixer.init(RATE, 32, 2, 1024, allowedchanges=0)


class Ear:
    """What one connection hears, on a channel of the mixer. given: frames that the mixer has got; gaps: times that the
    channel found nothing to play."""

    def __init__(self, channel: int) -> None:
        self.channel, self.given, self.gaps = pygame.mixer.Channel(channel), 0, 0
        self._came: deque[np.ndarray] = deque()
        self._held, self._playing = 0, False

    def take(self, samples: np.ndarray) -> None:
        """The network's thread: a frame, float32 [2, N]."""
        self._came.append(np.ascontiguousarray(samples.T))
        self._held += samples.shape[1]

    def pump(self) -> None:
        """The game's thread: hand the mixer what it has room for."""
        if self._playing and not self.channel.get_busy():
            self._playing, self.gaps = False, self.gaps + 1
        if not self._playing and self._held < AHEAD_SECONDS * RATE:
            return
        while self._held >= BLOCK_SECONDS * RATE and self.channel.get_queue() is None:
            sound = pygame.mixer.Sound(buffer=self._block())
            if self._playing:
                self.channel.queue(sound)
            else:
                self.channel.play(sound)
            self._playing = True

    def _block(self) -> bytes:
        parts, count = [], 0
        while count < BLOCK_SECONDS * RATE:
            parts.append(self._came.popleft())
            count += len(parts[-1])
        self._held, self.given = self._held - count, self.given + count
        return np.concatenate(parts).tobytes()


class Session:
    """A session that this game opened. Everything here may be called from the game's thread; only `open` waits."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url, self._token = url, token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._over = asyncio.Event()
        self._client: SafaClient | None = None
        self.opened: dict[str, Any] = {}
        self.troubles: deque[str] = deque(maxlen=100)
        self._thread.start()

    def open(self, scene: Any, **fields: Any) -> None:
        """Begin; the connection that steers hears nothing that is played. Raises SafaError."""
        ready: Future[None] = Future()
        self._run(self._steer(scene, fields, ready))
        ready.result(60)

    def listen(self, ear: Ear, layer: int | None = None) -> None:
        """Let an ear hear a layer by itself, or all of it."""
        self._run(self._hear(ear, layer))

    def say(self, command: Command) -> None:
        """Tell the session; what it refuses is in `troubles`."""
        self._run(self._say(command))

    def close(self) -> None:
        """End the session."""
        if self._client is not None:
            self._run(self._say(Close())).result(10)
        self._loop.call_soon_threadsafe(self._over.set)
        self._run(asyncio.sleep(0.2)).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, what: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(what, self._loop)

    async def _steer(self, scene: Any, fields: dict[str, Any], ready: Future[None]) -> None:
        try:
            async with SafaClient.connect(self._url, self._token) as client:
                # Its own sound is not played: the least of it.
                self.opened = await client.open(scene, format="s16", channels=1, **fields)
                self._client = client
                ready.set_result(None)
                await self._pass(client)
        except SafaError as error:
            self.troubles.append(str(error))
            if not ready.done():
                ready.set_exception(error)

    async def _hear(self, ear: Ear, layer: int | None) -> None:
        only = {} if layer is None else {"layer": layer}
        try:
            async with SafaClient.connect(self._url, self._token) as client:
                await client.join(self.opened["session"], self.opened["token"], rate=RATE, **only)
                await self._pass(client, ear)
        except SafaError as error:
            self.troubles.append(str(error))

    async def _pass(self, client: SafaClient, ear: Ear | None = None) -> None:
        """Hand frames on until it is over."""
        over = asyncio.ensure_future(self._over.wait())
        while not over.done():
            coming = asyncio.ensure_future(anext(client))
            await asyncio.wait({coming, over}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            try:
                frame = coming.result()
            except StopAsyncIteration:
                return
            if ear is not None:
                ear.take(frame.samples())

    async def _say(self, command: Command | Close) -> None:
        try:
            assert self._client is not None, "open a session first"
            await self._client.send(command)
        except SafaError as error:
            self.troubles.append(str(error))
