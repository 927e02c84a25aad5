"""All that a server broadcasts of its own session: to Icecast, as RTP, as many ways at once as it was told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from safa_server.metrics import Registry
from safa_server.observe import observe_broadcasts
from safa_server.radio.broadcast import Broadcast, BroadcastEvent
from safa_server.radio.icecast import Mount
from safa_server.radio.rtp import Target, sdp
from safa_server.radio.sender import RtpWay, numeric
from safa_server.radio.source import IcecastWay
from safa_server.radio.way import Way
from safa_server.settings import Settings
from safa_server.station import Station
from safa_stream.errors import FailureError, OutputError, UsageError

#: Seconds from the epoch of NTP, which numbers sessions in SDP, to that of Unix.
NTP_EPOCH = 2_208_988_800

log = logging.getLogger("safa_server.radio")


@dataclass(slots=True)
class Radio:
    """sdp: what receivers of RTP need to know, None before it is on the air or where it sends none."""

    mounts: tuple[Mount, ...]
    targets: tuple[Target, ...]
    sdp_file: Path | None = None
    sdp: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Radio:
        """What the settings ask for. Raises UsageError for an address that cannot be."""
        mounts = tuple(Mount.parse(address, settings.icecast_password) for address in settings.icecast)
        targets = tuple(map(Target.parse, settings.rtp))
        names = [*(mount.name for mount in mounts), *(target.name for target in targets)]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{name} is given twice")
        return cls(mounts, targets, settings.rtp_sdp)

    @contextlib.asynccontextmanager
    async def on_air(self, station: Station, registry: Registry) -> AsyncIterator[None]:
        """Broadcast a session. Raises UsageError (a program is missing, a password is wrong) or OutputError."""
        if not self.mounts and not self.targets:
            yield
            return
        broadcasts = [Broadcast(station, way, _log) for way in self._ways(station)]
        async with contextlib.AsyncExitStack() as stack:
            if self.targets:
                self.sdp = await self._described(station)
                self._write_sdp()
            for broadcast in broadcasts:
                stack.push_async_callback(broadcast.stop)
            begun = await asyncio.gather(*(broadcast.start() for broadcast in broadcasts), return_exceptions=True)
            for failed in filter(None, begun):
                raise failed
            watching = observe_broadcasts(registry, lambda: [broadcast.status for broadcast in broadcasts])
            stack.callback(asyncio.create_task(watching, name="broadcast metrics").cancel)
            yield

    def _ways(self, station: Station) -> list[Way]:
        clocked = station.pacing != "device"
        return [
            *(IcecastWay(mount, station.rate, station.channels) for mount in self.mounts),
            *(RtpWay(target, station.rate, station.channels, clocked) for target in self.targets),
        ]

    async def _described(self, station: Station) -> str:
        """The SDP, which has to name addresses: ffmpeg for one looks up no names in it."""
        found = []
        for target in self.targets:
            with contextlib.suppress(FailureError):  # said again, and tried again, by the broadcast itself
                target = replace(target, host=await numeric(target.host))
            found.append(target)
        number = round(time.time()) + NTP_EPOCH
        return sdp(found, station.rate, station.channels, _this_machine(found[0]), number)

    def _write_sdp(self) -> None:
        if self.sdp_file is None or self.sdp is None:
            return
        partial = self.sdp_file.with_name(self.sdp_file.name + ".partial")
        try:
            partial.write_bytes(self.sdp.encode())
            partial.replace(self.sdp_file)
        except OSError as error:
            raise OutputError(f"cannot write the SDP file {self.sdp_file}: {error.strerror}") from None


def _this_machine(target: Target) -> str:
    """The address that packets to a target come from, loopback where there is no way to it."""
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        # Connecting a UDP socket sends nothing.
        probe.connect((target.host, target.port))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _log(event: BroadcastEvent) -> None:
    level = logging.INFO if event.name in ("connected", "back") else logging.WARNING
    log.log(level, "radio: %s", event.text)
