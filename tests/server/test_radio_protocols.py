"""What the radio says and reads: Icecast's addresses and answers, RTP's targets and SDP, commands, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safa_server.radio.encodings import Encoding
from safa_server.radio.icecast import Mount, title_taken
from safa_server.radio.radio import Radio
from safa_server.radio.rtp import Target, as_l16, as_l24, sdp
from safa_server.settings import Settings
from safa_stream.errors import FailureError, UsageError

SECRET = "pass word:@"


class TestMount:
    def test_an_address_says_all_that_is_needed(self) -> None:
        mount = Mount.parse("icecast://dj:a%3Ab@radio.example:9000/a/live.flac?bits=16&name=Wood&public=1")
        assert (mount.host, mount.port, mount.mount, mount.user, mount.password) == (
            "radio.example",
            9000,
            "/a/live.flac",
            "dj",
            "a:b",
        )
        assert mount.encoding == Encoding("flac", 16) and mount.public and mount.about == {"Ice-Name": "Wood"}
        assert mount.name == "icecast://radio.example:9000/a/live.flac"
        plain = Mount.parse("icecast://[::1]/live?format=opus", SECRET)
        assert (plain.port, plain.password, plain.encoding) == (8000, SECRET, Encoding("opus", 24, 160))
        assert plain.name == "icecast://[::1]:8000/live"
        assert Mount.parse("icecasts://radio.example/x.mp3", SECRET).port == 443

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("http://h/live.flac", "is like icecast://HOST:8000/live.flac, not 'http://h/live.flac'"),
            ("icecast:///live.flac", "is like icecast://HOST"),
            ("icecast://h", "is like icecast://HOST"),
            ("icecast://h:99999/live.flac", "host or port is wrong"),
            ("icecast://h/live.wav", "must end in .flac, .opus or .mp3"),
            ("icecast://h/live.mp3?bits=16", "'bits' must be 16 or 24, and is for flac only"),
            ("icecast://h/live.flac?bitrate=128", "'bitrate' must be 16 to 510 kbit/s, for opus and mp3"),
            ("icecast://h/live.opus?bitrate=9000", "'bitrate' must be 16 to 510"),
            ("icecast://h/live.opus?loud=1", "unknown option 'loud'; known: format, bits"),
            ("icecast://h/live.opus?public=yes", "'public' must be 0 or 1"),
            ("icecast://h/live.opus?name=a%0d%0aIce-Evil:1", "'name' must be printable"),
        ],
    )
    def test_what_is_wrong_with_an_address_is_said_without_its_password(self, address: str, said: str) -> None:
        for with_secret in (address, address.replace("://", "://source:verysecret@")):
            with pytest.raises(UsageError) as raised:
                Mount.parse(with_secret, "verysecret")
            assert said in str(raised.value) and "verysecret" not in str(raised.value)
            assert "\n" not in str(raised.value)

    def test_a_password_is_needed_and_not_shown(self) -> None:
        with pytest.raises(UsageError, match=r"^icecast://h/live.flac needs a password: in SAFA_ICECAST_PASSWORD"):
            Mount.parse("icecast://h/live.flac")
        assert SECRET not in repr(Mount.parse("icecast://h/live.flac", SECRET))

    def test_the_request_is_put_with_what_the_stream_is(self) -> None:
        mount = Mount.parse("icecast://h/live.opus?genre=Nature", "pw")
        assert mount.request(48_000, 2) == (
            b"PUT /live.opus HTTP/1.1\r\nHost: h:8000\r\nAuthorization: Basic c291cmNlOnB3\r\n"
            b"User-Agent: safa-stream\r\nContent-Type: audio/ogg\r\nIce-Public: 0\r\n"
            b"Ice-Audio-Info: samplerate=48000;channels=2\r\nIce-Genre: Nature\r\nExpect: 100-continue\r\n\r\n"
        )
        asked = mount.title_request("café\r\n& rain").decode()
        assert "/admin/metadata?mode=updinfo&mount=/live.opus&charset=UTF-8&song=caf%C3%A9%0D%0A%26%20rain " in asked
        assert title_taken(b"HTTP/1.0 200 OK\r\n\r\n<message>Metadata update successful</message>")
        assert not title_taken(b"HTTP/1.0 200 OK\r\n\r\n<message>Mountpoint will not accept URL updates</message>")

    def test_an_answer_is_read_as_far_as_it_came(self) -> None:
        mount = Mount.parse("icecast://h/live.flac", SECRET)
        whole = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\nHTTP/1.0 200 OK\r\n\r\n"
        assert [mount.judge(whole[:end]) for end in (0, 10, 44, len(whole))] == [False, False, False, True]
        with pytest.raises(UsageError, match="refuses the password of 'source'"):
            mount.judge(b"HTTP/1.0 401 Authentication Required\r\n\r\nYou need to authenticate\r\n")
        with pytest.raises(FailureError, match=r"refuses the source: too many sources connected \(403\)"):
            mount.judge(b"HTTP/1.0 403 Forbidden\r\nServer: Icecast\r\n\r\n<b>too many sources</b> connected")

    def test_only_what_ffmpeg_takes_leaves_for_it(self) -> None:
        samples = np.array([[0.5, -1.0], [0.25, 2.0]], np.float32)
        assert Encoding("flac", 16).payload(samples) == np.array([16384, 8192, -32768, 32767], "<i2").tobytes()
        assert len(Encoding("flac", 24).payload(samples)) == 12
        assert Encoding("opus").payload(samples) == np.array([0.5, 0.25, -1.0, 2.0], "<f4").tobytes()
        command = Encoding("mp3", bit_rate=128).command(44_100, 2, "rain; rm -rf")
        assert {"f32le", "44100", "128k", "title=rain; rm -rf"} <= set(command)


class TestTarget:
    def test_a_target_is_a_host_and_a_port(self) -> None:
        assert Target.parse("10.0.0.7:5004") == Target("10.0.0.7", 5004)
        assert Target.parse("5004") == Target("127.0.0.1", 5004)
        assert Target.parse("rtp://[ff02::1]:5004?format=L16&pt=97&ptime=1&ttl=3&iface=eth0") == Target(
            "ff02::1", 5004, "L16", 97, 1.0, 3, "eth0"
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("radio", "is like HOST:5004"),
            ("h:0", "is like HOST:5004"),
            ("h:70000", "is like HOST:5004"),
            ("a b:5004", "is like HOST:5004"),
            ("h:5004/x", "is like HOST:5004"),
            ("h:5004?format=opus", "'format' must be L24 or L16"),
            ("h:5004?pt=8", "'pt' must be from 96 to 127, not '8'"),
            ("h:5004?ttl=300", "'ttl' must be from 0 to 255"),
            ("h:5004?ptime=20", "'ptime' must be one of 5, 4, 1"),
            ("h:5004?iface=a%20!", "'iface' must be a network interface's name"),
            ("h:5004?speed=1", "unknown option 'speed'"),
        ],
    )
    def test_what_is_wrong_with_a_target_is_said(self, text: str, said: str) -> None:
        with pytest.raises(UsageError) as raised:
            Target.parse(text)
        assert said in str(raised.value)

    @pytest.mark.parametrize(
        ("rate", "channels", "format", "samples"),
        [
            (48_000, 2, "L24", 240),
            (48_000, 1, "L16", 240),
            (44_100, 2, "L24", 220),
            (48_000, 8, "L24", 48),
            (48_000, 16, "L24", 12),
        ],
    )
    def test_the_longest_packet_that_fits_is_sent(self, rate: int, channels: int, format: str, samples: int) -> None:
        assert Target("h", 5004, format).packet_samples(rate, channels) == samples

    def test_a_packet_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(UsageError, match="5 ms of 8 channels at 48000 Hz do not fit a packet"):
            Target("h", 5004, packet_ms=5.0).packet_samples(48_000, 8)

    def test_samples_are_big_endian(self) -> None:
        samples = np.array([[0.5], [-(2.0**-23)]], np.float32)
        assert as_l24(samples) == bytes([0x40, 0, 0, 0xFF, 0xFF, 0xFF])
        assert as_l16(samples) == bytes([0x40, 0, 0, 0])

    def test_packets_leave_on_a_clock_unless_a_device_is_the_clock(self) -> None:
        paced = Target("239.1.2.3", 5004, ttl=4, interface="eth0").command("239.1.2.3", 48_000, 2, True)
        assert {"sync=true", "ts-offset=40000000", "ttl-mc=4", "multicast-iface=eth0"} <= set(paced)
        assert {"rtpL24pay", "pcm-format=s24be", "min-ptime=5000000", "max-ptime=5000000", "pt=96"} <= set(paced)
        plain = Target("h", 5004).command("10.0.0.7", 48_000, 2, False)
        assert {"sync=false", "ts-offset=0", "host=10.0.0.7"} <= set(plain)
        assert not any("ttl" in word for word in plain)

    def test_the_description_names_every_target(self) -> None:
        targets = (Target("239.1.2.3", 5004, ttl=4), Target("fd00::7", 5006, "L16", 97))
        assert sdp(targets, 48_000, 2, "10.0.0.1", 7).split("\r\n") == [
            "v=0",
            "o=- 7 7 IN IP4 10.0.0.1",
            "s=safa-stream",
            "t=0 0",
            "m=audio 5004 RTP/AVP 96",
            "c=IN IP4 239.1.2.3/4",
            "a=rtpmap:96 L24/48000/2",
            "a=ptime:5",
            "a=recvonly",
            "m=audio 5006 RTP/AVP 97",
            "c=IN IP6 fd00::7",
            "a=rtpmap:97 L16/48000/2",
            "a=ptime:5",
            "a=recvonly",
            "",
        ]


class TestSettings:
    def test_the_radio_is_what_the_settings_ask_for(self) -> None:
        settings = Settings(
            prompt="rain", icecast=("icecast://h/live.flac",), icecast_password=SECRET, rtp=("5004", "5006")
        )
        radio = Radio.of(settings)
        assert [mount.name for mount in radio.mounts] == ["icecast://h:8000/live.flac"]
        assert [target.name for target in radio.targets] == ["rtp://127.0.0.1:5004", "rtp://127.0.0.1:5006"]
        with pytest.raises(UsageError, match="rtp://127.0.0.1:5004 is given twice"):
            Radio.of(Settings(prompt="rain", rtp=("5004", "5004?format=L16")))

    def test_there_must_be_something_to_send(self) -> None:
        with pytest.raises(UsageError, match="need the session that they send: 'prompt' or 'scene'"):
            Settings(rtp=("5004",))
        with pytest.raises(UsageError, match="'rtp_sdp' needs 'rtp'"):
            Settings(prompt="rain", rtp_sdp=Path("a.sdp"))
