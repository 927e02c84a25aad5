"""A session on an Icecast server: ffmpeg encodes, and this end of the connection is ours.

ffmpeg could talk to Icecast by itself, but takes the password on its command line, where every user of the machine can
read it, and says of a refusal only that it failed.

    blocks ─► ffmpeg ─► pump ─► socket ─► Icecast
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass

from safa_server.radio.child import Child, need
from safa_server.radio.icecast import LONGEST_TITLE, Mount, continues, title_taken
from safa_stream.errors import FailureError
from safa_stream.types import FloatArray

#: Seconds to reach a server, to have its answer, and after "100 Continue" for a refusal that comes all the same.
CONNECT_SECONDS, ANSWER_SECONDS, SECOND_THOUGHT = 5.0, 5.0, 0.5
LARGEST_ANSWER, LARGEST_READ = 1 << 14, 1 << 14

log = logging.getLogger("safa_server.radio")


@dataclass(frozen=True, slots=True)
class IcecastWay:
    """The way to a mount, for sound of `rate` Hz and `channels`."""

    mount: Mount
    rate: int
    channels: int

    @property
    def name(self) -> str:
        """The mount's address without secrets."""
        return self.mount.name

    @property
    def clocked(self) -> bool:
        """Never: what the server gets, it hands on."""
        return False

    def check(self) -> None:
        """Raise UsageError where ffmpeg is missing."""
        need("ffmpeg")

    async def connect(self, title: str) -> IcecastLine:
        """Take the mount and begin. Raises UsageError (password, ffmpeg) or FailureError."""
        reader, writer = await _open(self.mount)
        try:
            writer.write(self.mount.request(self.rate, self.channels))
            await _permission(self.mount, reader)
            child = await Child.start(self.mount.encoding.command(self.rate, self.channels, title[:LONGEST_TITLE]))
        except BaseException:
            writer.close()
            raise
        return IcecastLine(self.mount, child, reader, writer)


class IcecastLine:
    """A mount that is ours, and its encoder."""

    def __init__(self, mount: Mount, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._mount, self._child, self._writer = mount, child, writer
        # What a slow server does not take waits where the oldest can give way, not here or in the kernel. Not 0:
        # asyncio's TLS takes an empty buffer for one that has reached it, and stops for good.
        writer.transport.set_write_buffer_limits(high=1, low=0)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, LARGEST_READ)
        self._pump = asyncio.create_task(self._pumping(), name="icecast source")
        self._hangup = asyncio.create_task(self._hanging_up(reader), name="icecast answer")

    async def send(self, samples: FloatArray) -> None:
        """Give a block to the encoder."""
        await self._child.feed(self._mount.encoding.payload(samples))

    async def tell(self, title: str) -> None:
        """Tell the server the title, where its mount takes any."""
        if not self._mount.encoding.takes_titles:
            return
        try:
            reader, writer = await _open(self._mount)
            try:
                writer.write(self._mount.title_request(title))
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await reader.read(LARGEST_ANSWER)
            finally:
                writer.close()
        except (OSError, TimeoutError, FailureError) as error:
            log.info("%s has not heard the title: %s", self._mount.name, error or "no answer")
            return
        if not title_taken(answer):
            log.info("%s does not take the title", self._mount.name)

    async def lost(self) -> str:
        """Wait until server or encoder are gone."""
        done, _ = await asyncio.wait({self._pump, self._hangup}, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    async def finish(self, seconds: float) -> None:
        """Let the encoder send what it holds."""
        self._child.close_input()
        await asyncio.wait({self._pump}, timeout=seconds)
        await self.end()

    async def end(self) -> None:
        """Leave the mount."""
        self._pump.cancel()
        self._hangup.cancel()
        self._writer.close()
        await self._child.end()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    async def _pumping(self) -> str:
        """What the encoder makes to the server; ends with the reason."""
        try:
            while data := await self._child.output.read(LARGEST_READ):
                self._writer.write(data)
                await self._writer.drain()
        except OSError as error:
            return f"the connection broke ({error.strerror or error})"
        return await self._child.ended()

    async def _hanging_up(self, reader: asyncio.StreamReader) -> str:
        """A server that takes a source says no more to it until it ends the connection."""
        with contextlib.suppress(OSError):
            while await reader.read(LARGEST_READ):
                pass
        return "the server ended the connection"


async def _open(mount: Mount) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            tls = ssl.create_default_context() if mount.tls else None
            return await asyncio.open_connection(mount.host, mount.port, ssl=tls)
    except TimeoutError:
        raise FailureError(f"{mount.name} did not answer within {CONNECT_SECONDS:g} s") from None
    except OSError as error:
        raise FailureError(f"{mount.name} cannot be reached: {error.strerror or error}") from None


async def _permission(mount: Mount, reader: asyncio.StreamReader) -> None:
    """Read answers until the sound may begin. Raises UsageError or FailureError."""
    answer = b""
    while not mount.judge(answer):
        seconds = SECOND_THOUGHT if continues(answer) else ANSWER_SECONDS
        try:
            async with asyncio.timeout(seconds):
                more = await reader.read(LARGEST_ANSWER)
        except TimeoutError:
            if continues(answer):
                return
            raise FailureError(f"{mount.name} did not answer within {seconds:g} s") from None
        except OSError as error:
            raise FailureError(f"{mount.name} broke the connection: {error.strerror or error}") from None
        if not more or len(answer) > LARGEST_ANSWER:
            raise FailureError(f"{mount.name} ended the connection without an answer; is it Icecast 2.4 or newer?")
        answer += more
