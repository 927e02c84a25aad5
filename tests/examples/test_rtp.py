"""`serve --rtp` received by GStreamer, by ffmpeg from the SDP file, and packet by packet.

A few seconds each. For longer: SAFA_RADIO_SECONDS=600 pytest -m programs tests/examples/test_rtp.py -k session
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from safa_server.client import SafaClient
from safa_server.control import Pause, Play
from safa_server.radio.rtp import HEADER
from safa_stream.types import FloatArray
from tests.clients.programs import free_port, program
from tests.clients.proofs import Proof, Proofs
from tests.clients.radio import FRAMES, PATIENCE, OnAir, Receiver, heard, on_air, version, whole_numbers

GROUP = "239.192.77.5"
#: Linux's numbers, which Python does not name.
IP_RECVTTL, SO_TIMESTAMPNS = 12, 35


@dataclass(frozen=True, slots=True)
class Ports:
    """Where what is sent: to GStreamer, to ffmpeg, to this process, to a group."""

    gstreamer: int
    ffmpeg: int
    here: int
    group: int

    @property
    def targets(self) -> str:
        return (
            f"127.0.0.1:{self.gstreamer},localhost:{self.ffmpeg}?format=L16,{self.here}?pt=101,"
            f"{GROUP}:{self.group}?iface=lo&ttl=2"
        )


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet (RFC 3550, 5.1). at: seconds when the kernel had it."""

    at: float
    payload_type: int
    number: int
    stamp: int
    source: int
    payload: bytes


@pytest.fixture(scope="module")
def radio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ports, Path, OnAir]]:
    """A server that sends RTP to four targets."""
    folder = tmp_path_factory.mktemp("rtp")
    ports, sdp = Ports(free_port(), free_port(), free_port(), free_port()), folder / "radio.sdp"
    with on_air(folder, "--rtp", ports.targets, "--rtp-sdp", str(sdp)) as server:
        server.sounding(*(f"rtp://127.0.0.1:{port}" for port in (ports.gstreamer, ports.here)))
        yield ports, sdp, server


class TestReceivers:
    def test_gstreamer_and_ffmpeg_receive_the_session(self, radio: tuple[Ports, Path, OnAir], proofs: Proofs) -> None:
        ports, sdp, server = radio
        # The second stream of the file; the other ones go to receivers of their own.
        part = sdp.with_name("second.sdp")
        head, *media = sdp.read_text().split("m=")
        part.write_text(f"{head}m={media[1]}")
        asked = ("-protocol_whitelist", "file,rtp,udp", "-reorder_queue_size", "0")
        wide = Receiver(f"rtp://127.0.0.1:{ports.gstreamer}", 24, lambda: received(ports.gstreamer, FRAMES))
        narrow = Receiver(
            f"rtp://localhost:{ports.ffmpeg}", 16, lambda: whole_numbers(heard(str(part), FRAMES, "s16", *asked), "s16")
        )
        equal = server.equal([wide, narrow])
        compared = "exact: RTP L24, rounded to 24 bits, sent and received by it"
        tool = version("gst-launch-1.0")
        not_run = "receivers that are devices: AES67 ones also want a PTP clock, which is not here"
        proofs.tell(Proof("GStreamer", compared, tool, equal[0], server.left_out(wide.broadcast), not_run))
        compared = f"exact: RTP L16 by the SDP file, rounded to 16 bits, sent by GStreamer {tool}"
        proofs.tell(Proof("ffmpeg", compared, version("ffmpeg"), equal[1], server.left_out(narrow.broadcast)))

    def test_the_sdp_is_served_as_well(self, radio: tuple[Ports, Path, OnAir]) -> None:
        ports, sdp, server = radio
        with urlopen(f"{server.url}/rtp.sdp") as answer:
            assert answer.headers["Content-Type"] == "application/sdp"
            assert answer.read() == sdp.read_bytes()
        assert (
            f"m=audio {ports.here} RTP/AVP 101\r\nc=IN IP4 127.0.0.1\r\na=rtpmap:101 L24/48000/2"
            in sdp.read_bytes().decode()
        )


class TestPackets:
    def test_they_are_alike_follow_each_other_and_come_one_by_one(self, radio: tuple[Ports, Path, OnAir]) -> None:
        ports, _, _ = radio
        packets = list(listen(ports.here, 400))
        assert {packet.payload_type for packet in packets} == {101}
        assert {len(packet.payload) for packet in packets} == {240 * 2 * 3}
        assert len({packet.source for packet in packets}) == 1
        for before, after in zip(packets, packets[1:], strict=False):
            assert after.number == (before.number + 1) % 2**16
            assert after.stamp == (before.stamp + 240) % 2**32
        # A machine that has no time for it sends late packets at once; one quiet half second shows what is meant. What
        # is sent block by block has never a median like this: three of four gaps are nothing.
        gaps = np.diff([packet.at for packet in packets])
        medians = [float(np.median(gaps[at : at + 100])) for at in range(0, len(gaps) - 99, 25)]
        assert min(abs(median - 0.005) for median in medians) < 0.002, medians

    def test_a_group_is_sent_to_with_few_hops(self, radio: tuple[Ports, Path, OnAir]) -> None:
        ports, sdp, _ = radio
        assert f"c=IN IP4 {GROUP}/2\r\n" in sdp.read_bytes().decode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind((GROUP, ports.group))
            joined = socket.inet_aton(GROUP) + struct.pack(
                "@4si", socket.inet_aton("0.0.0.0"), socket.if_nametoindex("lo")
            )
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            listener.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            listener.settimeout(PATIENCE)
            _, ancillary, _, _ = listener.recvmsg(2048, 64)
        assert [int.from_bytes(data, "little") for _, kind, data in ancillary if kind == socket.IP_TTL] == [2]

    def test_a_paused_session_is_silence_that_goes_on(self, radio: tuple[Ports, Path, OnAir]) -> None:
        ports, _, server = radio

        async def pause(client: SafaClient) -> None:
            await client.send(Pause())

        async def play(client: SafaClient) -> None:
            await client.send(Play())

        server.steered(pause)
        try:
            time.sleep(1.0)
            packets = list(listen(ports.here, 100))
            assert not any(any(packet.payload) for packet in packets)
            assert packets[-1].at - packets[0].at == pytest.approx(0.5, abs=0.25)
        finally:
            server.steered(play)
        assert any(any(packet.payload) for packet in listen(ports.here, 800))


class TestAway:
    def test_a_sender_that_was_killed_is_started_again(self, radio: tuple[Ports, Path, OnAir], proofs: Proofs) -> None:
        ports, _, server = radio
        name = f"rtp://127.0.0.1:{ports.gstreamer}"
        (sender,) = (number for number, words in server.children().items() if f"port={ports.gstreamer} " in words)
        os.kill(sender, signal.SIGKILL)
        server.until("safa_broadcast_lost_total", name, lambda now: now == 1)
        server.until("safa_broadcast_connected", name, lambda now: now == 1)
        assert f"{name} is gone (gst-launch-1.0 has ended: by signal 9)" in server.log.read_text()
        assert server.metric("safa_broadcast_lost_total", f"rtp://127.0.0.1:{ports.here}") == 0
        (equal,) = server.equal([Receiver(name, 24, lambda: received(ports.gstreamer, FRAMES))])
        compared = "exact: RTP L24 after its sender was killed"
        proofs.tell(Proof("GStreamer", compared, version("gst-launch-1.0"), equal, server.left_out(name)))


def received(port: int, frames: int) -> FloatArray:
    """[frames, 2]: what GStreamer receives of L24."""
    caps = "application/x-rtp,media=audio,clock-rate=48000,encoding-name=L24,channels=2,payload=96"
    command = [program("gst-launch-1.0"), "-q", "udpsrc", "address=127.0.0.1", f"port={port}", f"caps={caps}"]
    command += ["!", "rtpjitterbuffer", "latency=200", "!", "rtpL24depay", "!", "audioconvert", "dithering=none"]
    command += ["!", "audio/x-raw,format=S32LE,channels=2,rate=48000", "!", "fdsink", "fd=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, ThreadPoolExecutor() as pool:
        assert process.stdout is not None
        try:
            raw = pool.submit(process.stdout.read, frames * 8).result(PATIENCE + frames / 48_000)
            return whole_numbers(raw, "s32")
        finally:
            process.kill()


def listen(port: int, count: int) -> Iterator[Packet]:
    """So many packets that come to a port of this machine from now on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener.bind(("127.0.0.1", port))
        listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        listener.settimeout(PATIENCE)
        for _ in range(count):
            data, ((_, _, stamped),), _, _ = listener.recvmsg(2048, 64)
            seconds, nanoseconds = struct.unpack("@ll", stamped)
            first, second, number, stamp, source = struct.unpack("!BBHII", data[:HEADER])
            assert first == 0x80
            yield Packet(seconds + nanoseconds / 1e9, second & 0x7F, number, stamp, source, data[HEADER:])
