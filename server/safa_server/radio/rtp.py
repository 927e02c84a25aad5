"""RTP of a session: where it goes, GStreamer's command line, and the SDP that receivers read. Pure.

HOST:PORT[?format=L24|L16&pt=96&ptime=5&ttl=1&iface=eth0]; a PORT alone is on this machine. L24 and L16 are RFC 3190's
and RFC 3551's: whole numbers, big-endian, interleaved; samples are rounded to the nearest step, without dither.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from safa_server.blocks import BLOCK
from safa_server.encoding import as_s16, as_s24
from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

#: Bytes of a sample.
FORMATS = {"L24": 3, "L16": 2}
OPTIONS = ("format", "pt", "ptime", "ttl", "iface")
#: Bytes of RTP that an Ethernet frame carries beside the headers of IPv6 and UDP, and of RTP's own header.
LARGEST_PACKET, HEADER = 1500 - 48, 12
#: Packet times in milliseconds, those of AES67 and RFC 3551's habits; the longest that fits is taken.
PACKET_TIMES = (5.0, 4.0, 1.0, 0.25, 0.125)
#: Seconds by which packets leave later than the session's blocks, which come every 20 ms and sometimes late.
CUSHION_SECONDS = 0.04
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_INTERFACE = re.compile(r"[A-Za-z0-9._-]{1,15}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where packets go. payload_type: 96 to 127; packet_ms: None for the longest that fits; ttl: hops of multicast."""

    host: str
    port: int
    format: str = "L24"
    payload_type: int = 96
    packet_ms: float | None = None
    ttl: int = 1
    interface: str | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """A target from HOST:PORT and options. Raises UsageError."""
        shown = repr(text[:80])
        try:
            bare = f"127.0.0.1:{text}" if text.partition("?")[0].isdecimal() else text.removeprefix("rtp://")
            parts = urlsplit(f"//{bare}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise UsageError(f"an RTP target is like HOST:5004, not {shown}") from None
        if not _HOST.fullmatch(host) or host.startswith("-") or not port or parts.path or parts.username is not None:
            raise UsageError(f"an RTP target is like HOST:5004, not {shown}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in options:
            if name not in OPTIONS:
                raise UsageError(f"RTP target {shown}: unknown option {name!r:.40}; known: {', '.join(OPTIONS)}")
        if options.get("format", "L24") not in FORMATS:
            raise UsageError(f"RTP target {shown}: option 'format' must be L24 or L16")
        if "ptime" in options and options["ptime"] not in [f"{ms:g}" for ms in PACKET_TIMES]:
            raise UsageError(f"RTP target {shown}: option 'ptime' must be one of 5, 4, 1, 0.25, 0.125 ms")
        if "iface" in options and not _INTERFACE.fullmatch(options["iface"]):
            raise UsageError(f"RTP target {shown}: option 'iface' must be a network interface's name")
        return cls(
            host,
            port,
            options.get("format", "L24"),
            _number(options.get("pt", "96"), 96, 127, f"RTP target {shown}: option 'pt'"),
            float(options["ptime"]) if "ptime" in options else None,
            _number(options.get("ttl", "1"), 0, 255, f"RTP target {shown}: option 'ttl'"),
            options.get("iface"),
        )

    @property
    def name(self) -> str:
        """The target without options."""
        return f"rtp://{_bracketed(self.host)}:{self.port}"

    @property
    def payload(self) -> Callable[[FloatArray], bytes]:
        """Samples [channels, N] as RTP carries them."""
        return as_l16 if self.format == "L16" else as_l24

    def packet_samples(self, rate: int, channels: int) -> int:
        """Samples a channel in one packet. Raises UsageError where not even the shortest packet fits."""
        wanted = PACKET_TIMES if self.packet_ms is None else (self.packet_ms,)
        for milliseconds in wanted:
            samples = int(rate * milliseconds / 1000)
            if 0 < samples * channels * FORMATS[self.format] <= LARGEST_PACKET - HEADER:
                return samples
        raise UsageError(f"{self.name}: {wanted[-1]:g} ms of {channels} channels at {rate} Hz do not fit a packet")

    def command(self, address: str, rate: int, channels: int, clocked: bool) -> list[str]:
        """GStreamer from `payload`'s bytes on its standard input to packets for the numeric `address`.

        clocked: packets leave one by one on this machine's clock, not as their blocks come.
        """
        bits, samples = 8 * FORMATS[self.format], self.packet_samples(rate, channels)
        # Rounded up by what keeps the payloader, which counts in nanoseconds, from one sample less.
        packet_ns = -(-samples * 1_000_000_000 // rate)
        multicast = ["auto-multicast=true", f"ttl-mc={self.ttl}"] if is_multicast(address) else []
        if multicast and self.interface is not None:
            multicast.append(f"multicast-iface={self.interface}")
        return [
            *("gst-launch-1.0", "fdsrc", "fd=0", f"blocksize={BLOCK * channels * FORMATS[self.format]}", "!"),
            *("rawaudioparse", "use-sink-caps=false", "format=pcm", f"pcm-format=s{bits}be"),
            *(f"sample-rate={rate}", f"num-channels={channels}", "!"),
            *(f"rtp{self.format}pay", f"pt={self.payload_type}", f"mtu={LARGEST_PACKET}"),
            *(f"min-ptime={packet_ns}", f"max-ptime={packet_ns}", "!"),
            *("udpsink", f"host={address}", f"port={self.port}", *multicast),
            *(f"sync={str(clocked).lower()}", f"ts-offset={round(CUSHION_SECONDS * 1e9) if clocked else 0}"),
        ]


def sdp(targets: Iterable[Target], rate: int, channels: int, origin: str, session: int) -> str:
    """The session description (RFC 8866) of all targets. origin: this machine's address; session: a number of its own,
    larger for every later one."""
    lines = ["v=0", f"o=- {session} {session} IN {_family(origin)} {origin}", "s=safa-stream", "t=0 0"]
    for target in targets:
        samples = target.packet_samples(rate, channels)
        hops = f"/{target.ttl}" if is_multicast(target.host) and ":" not in target.host else ""
        lines += [
            f"m=audio {target.port} RTP/AVP {target.payload_type}",
            f"c=IN {_family(target.host)} {target.host}{hops}",
            f"a=rtpmap:{target.payload_type} {target.format}/{rate}/{channels}",
            f"a=ptime:{1000 * samples / rate:g}",
            "a=recvonly",
        ]
    return "\r\n".join(lines) + "\r\n"


def as_l24(samples: FloatArray) -> bytes:
    """[channels, N] interleaved, to the nearest of 2^24 steps, big-endian."""
    return np.ascontiguousarray(np.frombuffer(as_s24(samples), np.uint8).reshape(-1, 3)[:, ::-1]).tobytes()


def as_l16(samples: FloatArray) -> bytes:
    """[channels, N] interleaved, to the nearest of 2^16 steps, big-endian."""
    return np.frombuffer(as_s16(samples), "<i2").astype(">i2").tobytes()


def is_multicast(host: str) -> bool:
    """Is this the address of a group?"""
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False


def _family(host: str) -> str:
    return "IP6" if ":" in host else "IP4"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _number(text: str, least: int, most: int, what: str) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{what} must be from {least} to {most}, not {text!r:.40}")
    return int(text)
