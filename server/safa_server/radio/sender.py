"""A session as RTP packets, which GStreamer makes and sends.

ffmpeg sends the same samples, but what it has at once, in packets of changing size: 20 ms in one burst. GStreamer's
packets are alike and leave one by one on its own clock, in a process that the engine does not hold up.

    blocks ─► gst-launch-1.0: rawaudioparse ─► payloader ─► udpsink, in time
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass

from safa_server.radio.child import Child, need
from safa_server.radio.rtp import Target
from safa_stream.errors import FailureError
from safa_stream.types import FloatArray

START_SECONDS = 10.0
LARGEST_READ = 4096
#: What GStreamer says when it waits for sound: what is handed on earlier would be late for good.
_READY = b"PREROLLING"


@dataclass(frozen=True, slots=True)
class RtpWay:
    """The way to a target, for sound of `rate` Hz and `channels`. clocked: packets leave on this machine's clock, not
    as their blocks come; not where a sound device sets the session's pace, whose clock would drift against it."""

    target: Target
    rate: int
    channels: int
    clocked: bool

    @property
    def name(self) -> str:
        """The target's address."""
        return self.target.name

    def check(self) -> None:
        """Raise UsageError where GStreamer is missing or no packet fits."""
        need("gst-launch-1.0")
        self.target.packet_samples(self.rate, self.channels)

    async def connect(self, title: str) -> RtpLine:
        """Begin. RTP has no place for a title. Raises UsageError or FailureError."""
        address = await numeric(self.target.host)
        child = await Child.start(self.target.command(address, self.rate, self.channels, self.clocked))
        line = RtpLine(self.target, child)
        try:
            async with asyncio.timeout(START_SECONDS):
                await line.ready()
        except TimeoutError:
            await line.end()
            raise FailureError(f"gst-launch-1.0 was not ready within {START_SECONDS:g} s") from None
        except BaseException:
            await line.end()
            raise
        return line


class RtpLine:
    """A GStreamer pipeline that sends."""

    def __init__(self, target: Target, child: Child) -> None:
        self._target, self._child = target, child
        self._begun = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name="GStreamer's words")

    async def ready(self) -> None:
        """Wait until it takes sound. Raises FailureError where it does not start."""
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait({begun, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if self._reading.done() and not self._begun.is_set():
            raise FailureError(self._reading.result())

    async def send(self, samples: FloatArray) -> None:
        """Give a block to the pipeline."""
        await self._child.feed(self._target.payload(samples))

    async def tell(self, title: str) -> None:
        """Nothing: RTP carries sound."""

    async def lost(self) -> str:
        """Wait until the pipeline has ended."""
        return await asyncio.shield(self._reading)

    async def finish(self, seconds: float) -> None:
        """Let the pipeline send what it holds."""
        await self._child.finish(seconds)
        await self.end()

    async def end(self) -> None:
        """End it now."""
        await self._child.end()
        self._reading.cancel()

    async def _read(self) -> str:
        """Hear what it says of its state until it ends; why it did."""
        said = b""
        while heard := await self._child.output.read(LARGEST_READ):
            said = (said + heard)[-LARGEST_READ:]
            if _READY in said:
                self._begun.set()
        return await self._child.ended()


async def numeric(host: str) -> str:
    """A host's address, of IPv4 where it has both. Raises FailureError where its name is not known."""
    found = []
    with contextlib.suppress(OSError):
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    if not found:
        raise FailureError(f"the host {host!r} cannot be found")
    return str(sorted(found, key=lambda one: one[0] != socket.AF_INET)[0][4][0])
