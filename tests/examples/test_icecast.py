"""`serve --icecast` with a real icecast2, heard through ffmpeg: what arrives is what the session made.

A few seconds each. For longer: SAFA_RADIO_SECONDS=600 pytest -m programs tests/examples/test_icecast.py -k session
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from safa_server.client import SafaClient
from safa_server.radio.icecast import Mount
from safa_server.radio.source import IcecastWay
from safa_stream.errors import FailureError, UsageError
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import Prompt
from safa_stream.types import FloatArray
from tests.clients.icecast import PASSWORD, Icecast, icecast
from tests.clients.proofs import Proof, Proofs
from tests.clients.radio import FRAMES, OnAir, Receiver, heard, on_air, version, whole_numbers

MOUNTS = ("live.flac?name=Forest", "secure.flac?bits=16", "live.opus", "live.mp3?bitrate=128")


@pytest.fixture(scope="module")
def radio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Icecast, OnAir]]:
    """A server with four mounts, all of which sound; "secure" is sent with TLS."""
    folder = tmp_path_factory.mktemp("radio")
    with icecast() as station:
        sources = ",".join(station.source(mount, "secure" in mount) for mount in MOUNTS)
        with on_air(folder, "--icecast", sources, SAFA_ICECAST_PASSWORD=PASSWORD, **station.trusted) as server:
            server.sounding(*(name(station, mount) for mount in MOUNTS))
            yield station, server


def name(station: Icecast, mount: str) -> str:
    """What the server calls a mount."""
    return station.source(mount.partition("?")[0], "secure" in mount)


def lossless(station: Icecast, mount: str, bits: int) -> Receiver:
    """ffmpeg at a mount of FLAC."""
    kind = "s16" if bits == 16 else "s32"
    return Receiver(name(station, mount), bits, lambda: whole_numbers(heard(station.url(mount), FRAMES, kind), kind))


class TestSound:
    def test_flac_is_the_session_to_the_last_bit(self, radio: tuple[Icecast, OnAir], proofs: Proofs) -> None:
        station, server = radio

        receivers = [lossless(station, "live.flac", 24), lossless(station, "secure.flac", 16)]
        for receiver, equal in zip(receivers, server.equal(receivers), strict=True):
            sent = " sent with TLS," if "icecasts" in receiver.broadcast else ""
            compared = (
                f"exact: FLAC, rounded to {receiver.bits} bits,{sent} as ffmpeg {version('ffmpeg')} hears the mount"
            )
            left_out = server.left_out(receiver.broadcast)
            proofs.tell(Proof("Icecast", compared, version("icecast2"), equal, left_out))

    def test_opus_and_mp3_sound_like_it(self, radio: tuple[Icecast, OnAir]) -> None:
        station, server = radio

        def listen() -> list[FloatArray]:
            with ThreadPoolExecutor() as pool:
                opus = pool.submit(heard, station.url("live.opus"), 24_000, "f32")
                mp3 = pool.submit(heard, station.url("live.mp3"), 24_000, "f32", "-f", "mp3")
                return [np.frombuffer(one.result(), "<f4").reshape(-1, 2) for one in (opus, mp3)]

        both, made = server.while_made(listen)
        for frames in both:
            assert likeness(made[:, 0], frames[:, 0]) > 0.9

    def test_it_is_back_when_the_server_is(self, radio: tuple[Icecast, OnAir], proofs: Proofs) -> None:
        station, server = radio
        receiver = lossless(station, "live.flac", 24)
        mount = receiver.broadcast
        lost = server.metric("safa_broadcast_lost_total", mount)
        position = server.steered(SafaClient.state)["position"]
        station.pull_out()
        server.until("safa_broadcast_connected", mount, lambda now: now == 0)
        assert server.steered(SafaClient.state)["position"] > position, "the session itself goes on"
        station.start()
        server.until("safa_broadcast_connected", mount, lambda now: now == 1)
        assert server.metric("safa_broadcast_lost_total", mount) == lost + 1
        assert server.metric("safa_broadcast_samples_unheard_total", mount) > 0
        said = server.log.read_text()
        assert f"{mount} is gone (" in said and f"{mount} hears the session again after" in said
        (equal,) = server.equal([receiver])
        compared = "exact: FLAC after icecast2 was killed and started again"
        proofs.tell(Proof("Icecast", compared, version("icecast2"), equal, server.left_out(mount)))


class TestWords:
    def test_the_prompt_is_the_title_where_the_format_lets_it_change(self, radio: tuple[Icecast, OnAir]) -> None:
        station, server = radio

        async def change(client: SafaClient) -> None:
            await client.send(Prompt(layer=0, prompts=parse_prompts("café, birds:0.5")))

        server.steered(change)
        end = time.monotonic() + 20
        while (title := (station.sources() or {})["live.mp3"].get("title")) != "café, birds:0.5":
            assert time.monotonic() < end, f"the title stays {title!r}"
            time.sleep(0.1)
        assert (station.sources() or {})["live.flac"]["server_name"] == "Forest"

    def test_the_password_is_in_no_log_and_no_command_line(self, radio: tuple[Icecast, OnAir]) -> None:
        _, server = radio
        shown = [server.log.read_text(), *server.children().values()]
        assert sum("ffmpeg" in words for words in shown) >= len(MOUNTS)
        for words in shown:
            assert PASSWORD not in words and quote(PASSWORD, safe="") not in words


class TestRefusals:
    @pytest.mark.parametrize(
        ("mount", "password", "error", "said"),
        [
            ("other.flac", "wrong", UsageError, "/other.flac refuses the password of 'source'"),
            ("live.flac", PASSWORD, FailureError, "/live.flac refuses the source: Mountpoint in use (403)"),
        ],
    )
    def test_a_refusal_is_one_line(
        self, mount: str, password: str, error: type[Exception], said: str, radio: tuple[Icecast, OnAir]
    ) -> None:
        station, _ = radio
        way = IcecastWay(Mount.parse(station.source(mount), password), 48_000, 2)
        with pytest.raises(error) as raised:
            asyncio.run(way.connect("rain"))
        assert str(raised.value) == station.source("").rstrip("/") + said

    def test_a_certificate_that_nobody_vouches_for_is_refused(self, radio: tuple[Icecast, OnAir]) -> None:
        station, _ = radio
        way = IcecastWay(Mount.parse(station.source("other.flac", tls=True), PASSWORD), 48_000, 2)
        with pytest.raises(FailureError, match=r"/other.flac cannot be reached: .*certificate"):
            asyncio.run(way.connect("rain"))

    def test_a_server_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        away = Icecast(tmp_path)
        way = IcecastWay(Mount.parse(away.source("live.flac"), PASSWORD), 48_000, 2)
        with pytest.raises(FailureError, match=r"^icecast://127.0.0.1:\d+/live.flac cannot be reached: "):
            asyncio.run(way.connect("rain"))


def likeness(made: np.ndarray, frames: np.ndarray) -> float:
    """Highest correlation of the middle of `frames` with a stretch of `made` of the same length."""
    part = frames[len(frames) // 4 : 3 * len(frames) // 4].astype(np.float64)
    size = 1 << (len(made) + len(part)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(made, size) * np.conj(np.fft.rfft(part, size)), size)
    at = int(cross[: len(made) - len(part)].argmax())
    return float(np.corrcoef(made[at : at + len(part)], part)[0, 1])
