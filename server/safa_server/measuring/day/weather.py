"""Bad weather that can be turned on and off: a disk that is slow or full, and a network that is slow and breaks."""

from __future__ import annotations

import asyncio
import errno
import io
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from safa_server.disk import Disk

#: What the network takes at a time, bytes.
PIECE = 1 << 16


class BadDisk(Disk):
    """All engines' disk. slow: seconds that everything takes longer; full: whether it takes nothing.

    refused: how often it has said so.
    """

    def __init__(self) -> None:
        self.slow, self.full = 0.0, False
        self.refused, self._refused_at = 0, -math.inf

    def refused_within(self, seconds: float) -> bool:
        """Whether it has refused something so lately."""
        return time.monotonic() - self._refused_at < seconds

    def append(self, path: Path) -> BinaryIO:
        """See Disk."""
        self.bear()
        return _File(path, self)

    def write(self, path: Path, data: bytes, earlier: Path | None = None) -> None:
        """See Disk."""
        self.bear()
        super().write(path, data, earlier)

    def copy(self, source: Path, target: Path) -> None:
        """See Disk."""
        self.bear()
        super().copy(source, target)

    def bear(self) -> None:
        """Take longer. Raises OSError where it is full."""
        if self.slow:
            time.sleep(self.slow)
        if self.full:
            self.refused, self._refused_at = self.refused + 1, time.monotonic()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _File(io.FileIO):
    """A file of a bad disk, written at its end."""

    def __init__(self, path: Path, disk: BadDisk) -> None:
        super().__init__(path, "ab")
        self._disk = disk

    def write(self, data: Any) -> int:
        """Raises OSError where the disk is full."""
        self._disk.bear()
        return int(super().write(data))


class SlowNetwork:
    """A way to a port, for clients. delay: seconds that every piece of 64 KiB takes longer, each way."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.broken = 0
        self._links: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def to(self, host: str, port: Callable[[], int]) -> AsyncIterator[int]:
        """Let clients through within this context; gives the port that they connect to."""

        async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection(host, port())
            except OSError:
                writer.transport.abort()
                return
            both = (writer, back)
            self._links.update(both)
            try:
                await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
            finally:
                self._links.difference_update(both)
                for one in both:
                    one.transport.abort()

        server = await asyncio.start_server(link, host, 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.break_off()

    def break_off(self) -> None:
        """Let every connection end in the middle of what it carries."""
        self.broken += len(self._links) // 2
        for writer in list(self._links):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE):
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()
