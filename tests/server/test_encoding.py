"""Frames: exact headers, exact samples, the same for all rates; rounding and clipping of whole numbers; Opus."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_server import opus
from safa_server.blocks import Block
from safa_server.encoding import Encoder, Encoding, Frame, as_f32, as_s16, as_s24, encoding_of
from safa_server.fields import WireError
from safa_server.header import AFTER_GAP, TIMED, BeatTime, Header, pack, samples, unpack, with_gap
from safa_stream.errors import UsageError
from safa_stream.rendering.conversion import Resampler, with_channels
from safa_stream.session import tempo
from safa_stream.types import FloatArray

RATE, BLOCK = 48_000, 960
#: 90 beats a minute, bars of 3, and 120 from the second second on.
GRID = tempo.begin(RATE, 90.0, 3.0).changed(RATE, 120.0, None, None)


def blocks(signal: FloatArray, first: int = 0) -> list[Block]:
    """A session's blocks from number `first` on."""
    return [
        Block(signal[:, n * BLOCK : (n + 1) * BLOCK], (first + n) * BLOCK, first + n, 1000 + first + n, 7, GRID)
        for n in range(signal.shape[1] // BLOCK)
    ]


def signal(seconds: float, seed: int = 0) -> FloatArray:
    count = round(seconds * RATE / BLOCK) * BLOCK
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (2, count)).astype(np.float32)


def frames_of(encoding: Encoding, sound: FloatArray, first: int = 0) -> list[Frame]:
    encoder = Encoder(encoding, RATE)
    return [frame for block in blocks(sound, first) for frame in encoder.push(block)]


def test_the_header_has_48_bytes_in_this_order() -> None:
    header = Header("s16", 2, 44_100, 3, 2**40, -5, 2**60, 9, 12, AFTER_GAP)
    message = pack(header, b"abcdefghijkl")
    expected = b"SAFA" + bytes([1, 1, 2, 1])
    expected += (44_100).to_bytes(4, "little") + (3).to_bytes(4, "little") + (2**40).to_bytes(8, "little")
    expected += (-5).to_bytes(8, "little", signed=True) + (2**60).to_bytes(8, "little")
    expected += (9).to_bytes(4, "little") + (12).to_bytes(4, "little")
    assert len(expected) == 48 and message == expected + b"abcdefghijkl"
    assert unpack(message) == (header, b"abcdefghijkl")


def test_version_2_is_version_1_with_beat_time_after_it() -> None:
    header = Header("s16", 2, 44_100, 3, 7, 21, 5, 9, 12)
    plain, timed = (pack(replace(header, time=time), b"abcdefghijkl") for time in (None, BeatTime(-1.25, 97.5, 3.5)))
    assert timed[:4] + b"\x01" + timed[5:48] == plain[:48] and timed[4] == 2
    assert timed[48:64] == struct.pack("<dff", -1.25, 97.5, 3.5) and timed[64:] == plain[48:]
    found, payload = unpack(timed)
    assert found.time == BeatTime(-1.25, 97.5, 3.5) and payload == b"abcdefghijkl"
    with pytest.raises(WireError, match="bytes of payload"):
        unpack(timed[:60])


@pytest.mark.parametrize(("format", "rate"), [("f32", RATE), ("s16", 44_100), ("s24", 16_000), ("opus", RATE)])
def test_a_frame_tells_the_beat_at_its_first_sample(format: str, rate: int) -> None:
    """In every encoding, with or without a conversion that lets frames leave later, across a change of tempo."""
    made = [unpack(frame.data)[0] for frame in frames_of(Encoding(format, rate, 2, header=TIMED), signal(2.0))]
    assert len(made) > 80
    for head in made:
        seconds = head.start / rate
        beat, bpm = (seconds * 1.5, 90.0) if seconds < 1 else (1.5 + (seconds - 1) * 2, 120.0)
        assert head.time is not None and head.time.beat == pytest.approx(beat, abs=1e-9)
        assert (head.time.bpm, head.time.beats_per_bar) == (bpm, 3.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame[:47], "at least 48 bytes"),
        (lambda frame: b"RIFF" + frame[4:], "begins with"),
        (lambda frame: frame[:4] + b"\x03" + frame[5:], "version 3"),
        (lambda frame: frame[:4] + b"\x02" + frame[5:], "bytes of payload"),
        (lambda frame: frame[:5] + b"\x09" + frame[6:], "unknown format 9"),
        (lambda frame: frame[:6] + b"\x00" + frame[7:], "0 channels"),
        (lambda frame: frame[:7] + b"\x82" + frame[8:], "unknown flags"),
        (lambda frame: frame[:-1], "bytes of payload"),
        (lambda frame: frame + b"\x00", "bytes of payload"),
        (lambda frame: frame[:12] + b"\x09" + frame[13:], "are not"),
    ],
)
def test_a_damaged_frame_says_what_is_wrong(change: object, said: str) -> None:
    frame = frames_of(Encoding("f32", RATE, 2), signal(0.02))[0].data
    assert callable(change)
    with pytest.raises(WireError, match=said):
        unpack(change(frame))


def test_a_value_that_has_no_place_is_refused() -> None:
    with pytest.raises(WireError, match="header cannot be written"):
        pack(Header("f32", 2, RATE, 0, -1, 0, 0, 0, 0), b"")
    with pytest.raises(WireError, match="there are 3"):
        pack(Header("f32", 2, RATE, 0, 0, 0, 0, 0, 4), b"abc")


def test_the_gap_flag_changes_nothing_else() -> None:
    frame = frames_of(Encoding("s24", RATE, 2), signal(0.02))[0].data
    (plain, payload), (flagged, same) = unpack(frame), unpack(with_gap(frame))
    assert (plain.flags, flagged.flags) == (0, AFTER_GAP) and payload == same
    assert flagged.sequence == plain.sequence and len(with_gap(frame)) == len(frame)


def test_f32_is_the_session_to_the_bit() -> None:
    sound = signal(0.1)
    made = frames_of(Encoding("f32", RATE, 2), sound, first=3)
    heard = np.concatenate([samples(*unpack(frame.data)) for frame in made], axis=1)
    assert np.array_equal(heard, sound)
    head = unpack(made[1].data)[0]
    assert (head.sequence, head.start, head.frames, head.clock_ns, head.provenance) == (4, 4 * BLOCK, BLOCK, 1004, 7)


@pytest.mark.parametrize(("convert", "bits"), [(as_s16, 16), (as_s24, 24)])
def test_whole_numbers_are_rounded_to_the_nearest_and_clipped(convert: object, bits: int) -> None:
    full = 2 ** (bits - 1)
    wanted = {
        0.0: 0,
        0.49 / full: 0,
        0.51 / full: 1,
        -0.51 / full: -1,
        100.4 / full: 100,
        -100.6 / full: -101,
        1.0: full - 1,
        -1.0: -full,
        7.0: full - 1,
        -7.0: -full,
        float("inf"): full - 1,
        float("nan"): 0,
    }
    assert callable(convert)
    packed = convert(np.array([list(wanted)], np.float32))
    size = bits // 8
    found = [int.from_bytes(packed[n : n + size], "little", signed=True) for n in range(0, len(packed), size)]
    assert found == list(wanted.values())


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)), min_size=1, max_size=30))
def test_payloads_are_interleaved_and_within_half_a_step(pairs: list[tuple[float, float]]) -> None:
    sound = np.array(pairs, np.float32).T
    for convert, name, step in ((as_f32, "f32", 0.0), (as_s16, "s16", 2**-15), (as_s24, "s24", 2**-23)):
        payload = convert(sound)
        head = Header(name, 2, RATE, len(pairs), 0, 0, 0, 0, len(payload))
        back = samples(head, payload)
        inside = sound if name == "f32" else np.clip(sound, -1, 1 - step)
        assert back.shape == sound.shape and np.abs(back - inside).max() <= step / 2 + 1e-9
    first = struct.unpack_from("<2f", as_f32(sound))
    assert first == (np.float32(pairs[0][0]), np.float32(pairs[0][1]))


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 47_999, 96_000, 192_000])
@pytest.mark.parametrize("first", [0, 7])
def test_frames_of_any_rate_join_without_a_gap(rate: int, first: int) -> None:
    sound = signal(1.2)
    made = frames_of(Encoding("f32", rate, 2), sound, first)
    assert made[0].sequence == first and made[0].start == first * BLOCK * rate // RATE
    for before, after in zip(made, made[1:], strict=False):
        assert (after.sequence, after.start) == (before.sequence + 1, before.start + before.frames)
    for frame in made:
        head = unpack(frame.data)[0]
        assert (head.sequence, head.start, head.frames, head.rate) == (frame.sequence, frame.start, frame.frames, rate)
        assert frame.start == frame.sequence * BLOCK * rate // RATE
    assert len(made) >= len(blocks(sound)) - 12


@pytest.mark.parametrize("rate", [16_000, 44_100, 96_000])
def test_resampled_frames_are_the_resampler_s_own_samples(rate: int) -> None:
    """Cut into frames, the sound equals the whole resampled at once, at the place that `start` says."""
    sound = signal(0.8)
    made = frames_of(Encoding("f32", rate, 1), sound)
    heard = np.concatenate([samples(*unpack(frame.data)) for frame in made], axis=1)
    whole = Resampler(RATE, rate, 1).push(with_channels(sound, 1), last=True)
    assert np.allclose(heard, whole[:, : heard.shape[1]], atol=1e-6)


@pytest.mark.parametrize("rate", [11_025, 44_100])
def test_who_comes_later_hears_the_same_time(rate: int) -> None:
    """A sine's phase tells where a frame lies: encoders begun at different blocks agree on it."""
    count = 80 * BLOCK
    sine = np.sin(2 * np.pi * 440 * np.arange(count) / RATE).astype(np.float32)
    sound = np.stack([sine, sine]) * 0.5
    for first in (0, 1, 13):
        made = frames_of(Encoding("f32", rate, 1), sound[:, first * BLOCK :], first)
        late = [frame for frame in made if frame.sequence >= first + 20]
        heard = samples(*unpack(late[0].data))[0]
        wanted = 0.5 * np.sin(2 * np.pi * 440 * (late[0].start + np.arange(len(heard))) / rate)
        assert np.abs(heard - wanted).max() < 1e-3


def test_channels_are_averaged_or_doubled() -> None:
    sound = signal(0.02)
    mono = samples(*unpack(frames_of(Encoding("f32", RATE, 1), sound)[0].data))
    assert mono.shape == (1, BLOCK) and np.allclose(mono[0], sound.mean(axis=0), atol=1e-7)
    encoder = Encoder(Encoding("f32", RATE, 2), RATE)
    both = samples(*unpack(encoder.push(Block(sound[:1], 0, 0, 0, 0, GRID))[0].data))
    assert np.array_equal(both, np.repeat(sound[:1], 2, axis=0))


def test_blocks_have_to_follow_each_other() -> None:
    first, second, third = blocks(signal(0.06))
    encoder = Encoder(Encoding("f32", RATE, 2), RATE)
    encoder.push(first)
    with pytest.raises(ValueError, match="expected was 960"):
        encoder.push(third)
    del second


def test_opus_is_packets_of_20_ms_whose_start_is_where_they_sound() -> None:
    t = np.arange(2 * RATE) / RATE
    sound = 0.3 * np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 660 * t)]).astype(np.float32)
    made = frames_of(Encoding("opus", RATE, 2), sound)
    assert [frame.start for frame in made[:3]] == [-312, 648, 1608] and {frame.frames for frame in made} == {960}
    assert [frame.sequence for frame in made] == list(range(100))
    decoder = opus.OpusDecoder(2)
    heard = np.concatenate([decoder.decode(unpack(frame.data)[1]) for frame in made], axis=1)
    head = unpack(made[50].data)[0]
    at = 50 * opus.PACKET
    wanted = sound[:, head.start : head.start + head.frames]
    assert np.corrcoef(heard[0, at : at + 960], wanted[0])[0, 1] > 0.999
    assert np.corrcoef(heard[1, at : at + 960], wanted[1])[0, 1] > 0.999
    assert sum(len(frame.data) for frame in made) * 8 / 2 < 250_000


def test_opus_of_one_channel() -> None:
    made = frames_of(Encoding("opus", RATE, 1), signal(0.2))
    assert opus.OpusDecoder(1).decode(unpack(made[3].data)[1]).shape == (1, 960)


def test_what_is_not_said_is_the_session_s_own() -> None:
    assert encoding_of("f32", None, None, RATE, 2) == Encoding("f32", RATE, 2)
    assert encoding_of("opus", None, 1, 44_100, 2) == Encoding("opus", 48_000, 1)
    for wrong in (("mp3", None, None), ("f32", 7999, None), ("f32", None, 3), ("opus", 44_100, 2)):
        with pytest.raises(UsageError):
            encoding_of(*wrong, RATE, 2)
