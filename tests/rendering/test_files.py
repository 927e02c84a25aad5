"""Files: every format, tags that make the sound again, nothing broken left behind, pictures without a library."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream.errors import FailureError, OutputError, UsageError
from safa_stream.rendering import conversion, formats, metadata, spectrogram
from safa_stream.rendering.metadata import Origin, tags
from safa_stream.rendering.output import SoundWriter, check_target, write_file
from safa_stream.rendering.png import draw_text, encode_png
from safa_stream.scene import PromptChange, Scene, parse_prompts
from safa_stream.types import FloatArray

RATE = 48_000
SCENE = Scene.from_prompt("pluie d'été, 雨:0.25", seed=5, steps=8, guidance=2.0, overlap=0.2)
ORIGIN = Origin(SCENE, 1.5, -23.0, RATE, 2, "toy", "1", "0.0")
NAMES = ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"]


def noise(seconds: float = 1.5) -> FloatArray:
    return (0.1 * np.random.default_rng(0).standard_normal((2, round(seconds * RATE)))).astype(np.float32)


def written(
    path: Path, bits: str | None = None, origin: Origin = ORIGIN, samples: FloatArray | None = None
) -> FloatArray:
    samples = noise() if samples is None else samples
    with SoundWriter(path, formats.choose(path, None, bits), RATE, len(samples), 1.5, tags(origin)) as writer:
        for start in range(0, samples.shape[1], 10_001):
            writer.write(samples[:, start : start + 10_001])
        writer.finish()
    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


class TestFormats:
    @pytest.mark.parametrize(("name", "bits", "error"), [
        ("a.wav", None, 2e-7), ("a.wav", "24", 2e-7), ("a.wav", "16", 8e-5), ("a.wav", "32f", 0),
        ("a.flac", None, 2e-7), ("a.flac", "16", 8e-5), ("a.WAV", None, 2e-7),
    ])  # fmt: skip
    def test_what_is_written_is_read(self, tmp_path: Path, name: str, bits: str | None, error: float) -> None:
        assert np.abs(written(tmp_path / name, bits) - noise()).max() <= error

    @pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.mp3"])
    def test_lossy_files_have_all_frames(self, tmp_path: Path, name: str) -> None:
        found = written(tmp_path / name)
        assert found.shape == noise().shape
        assert np.isfinite(found).all()
        assert found.std() == pytest.approx(0.1, rel=0.3)

    def test_dither_does_not_depend_on_the_pieces(self, tmp_path: Path) -> None:
        whole = tmp_path / "whole.wav"
        with SoundWriter(whole, formats.choose(whole, None, "16"), RATE, 2, 1.5, tags(ORIGIN)) as writer:
            writer.write(noise())
            writer.finish()
        assert np.array_equal(written(tmp_path / "pieces.wav", "16"), soundfile.read(whole, dtype="float32")[0].T)

    @pytest.mark.parametrize(
        ("name", "chosen", "bits"),
        [
            ("a.xyz", None, None), ("a", None, None), ("a.wav", "tape", None), ("a.mp3", None, "16"),
            ("a.flac", None, "32f"), ("a.wav", None, "12"),
        ],
    )  # fmt: skip
    def test_unknown_formats_are_refused(self, name: str, chosen: str | None, bits: str | None) -> None:
        with pytest.raises(UsageError):
            formats.choose(Path(name), chosen, bits)

    @pytest.mark.parametrize(("name", "rate"), [("a.opus", 44_100), ("a.mp3", 96_000)])
    def test_rates_that_a_format_lacks_are_refused(self, name: str, rate: int) -> None:
        with pytest.raises(UsageError, match="--rate"):
            formats.check_rate(formats.choose(Path(name)), rate)

    def test_beyond_4_gb_a_wav_file_is_rf64(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        chosen = formats.choose(Path("a.wav"))
        assert formats.for_size(chosen, 2**32 - 2**21).major == "WAV"
        assert formats.for_size(chosen, 2**32).major == "RF64"
        small = formats.FileFormat("wav", "WAV", "PCM_24", 3, largest=1000)
        path = tmp_path / "long.wav"
        with SoundWriter(path, small, RATE, 2, 1.5, tags(ORIGIN)) as writer:
            writer.write(noise())
            writer.finish()
        assert soundfile.info(path).format == "RF64"
        assert metadata.read(path).origin == ORIGIN


class TestNothingBroken:
    def test_an_abandoned_file_is_gone(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RuntimeError),
            SoundWriter(tmp_path / "a.wav", formats.choose(Path("a.wav")), RATE, 2, 1.5, tags(ORIGIN)) as writer,
        ):
            writer.write(noise())
            raise RuntimeError
        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_stays_until_the_new_file_is_finished(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"precious")
        with pytest.raises(OutputError, match="--force"):
            SoundWriter(path, formats.choose(path), RATE, 2, 1.5, tags(ORIGIN))
        with SoundWriter(path, formats.choose(path), RATE, 2, 1.5, tags(ORIGIN), force=True) as writer:
            writer.write(noise())
            assert path.read_bytes() == b"precious"
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
        written(tmp_path / "link.wav")
        assert (tmp_path / "link.wav").is_symlink()
        assert soundfile.info(tmp_path / "real.wav").frames == 72_000

    @pytest.mark.parametrize("name", [".", "missing/a.wav", "file/a.wav", "a\0.wav", "x" * 300 + ".wav"])
    def test_impossible_targets_get_one_line(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError) as caught:
            SoundWriter(tmp_path / name, formats.choose(Path("a.wav")), RATE, 2, 1.5, tags(ORIGIN))
        assert "\n" not in str(caught.value)

    def test_devices_are_refused(self) -> None:
        with pytest.raises(OutputError, match="regular file"):
            check_target(Path("/dev/null"), force=True)

    def test_too_little_room_is_known_before(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="free"):
            SoundWriter(tmp_path / "a.wav", formats.choose(Path("a.wav")), RATE, 2, 1e12, tags(ORIGIN))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_a_full_disk_is_one_line_and_no_file(self, tmp_path: Path, name: str) -> None:
        code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from safa_stream.errors import OutputError
from safa_stream.rendering import formats
from safa_stream.rendering.metadata import Tags
from safa_stream.rendering.output import SoundWriter
path = Path({str(tmp_path / name)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))
samples = np.random.default_rng(0).standard_normal((2, 48_000)).astype(np.float32) * 0.1
try:
    with SoundWriter(path, formats.choose(path), 48_000, 2, 60, Tags("", "", "")) as writer:
        for _ in range(5):
            writer.write(samples)
        writer.finish()
except OutputError as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout and done.stdout.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    def test_small_files_are_whole_or_not_there(self, tmp_path: Path) -> None:
        write_file(tmp_path / "a.json", b"{}", force=False)
        with pytest.raises(OutputError, match="exists"):
            write_file(tmp_path / "a.json", b"[]", force=False)
        assert (tmp_path / "a.json").read_bytes() == b"{}"


class TestMetadata:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_format_keeps_the_scene(self, tmp_path: Path, name: str) -> None:
        written(tmp_path / name)
        found = metadata.read(tmp_path / name)
        assert found.origin == ORIGIN
        assert found.seconds == pytest.approx(1.5)

    @pytest.mark.parametrize("name", NAMES)
    def test_long_scenes_are_kept_as_well(self, tmp_path: Path, name: str) -> None:
        changes = tuple(PromptChange(float(at), parse_prompts(f"rain {at}"), 2.0) for at in range(100))
        origin = Origin(Scene.from_prompt("rain", changes=changes), 1.5, None, RATE, 2, "toy", "1", "0.0")
        written(tmp_path / name, origin=origin)
        assert metadata.read(tmp_path / name).origin == origin

    def test_other_files_are_told_apart(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "plain.wav", np.zeros(100), RATE)
        (tmp_path / "text.wav").write_text("hello")
        for name in ("plain.wav", "text.wav", "missing.wav"):
            with pytest.raises(FailureError, match=name):
                metadata.read(tmp_path / name)

    def test_a_damaged_comment_is_no_crash(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        written(path)
        data = path.read_bytes()
        place = data.index(b"ICMT")
        path.write_bytes(
            data[: place + 4] + struct.pack("<I", 2**31) + data[place + 8 : place + 40] + data[place + 41 :]
        )
        with pytest.raises(FailureError):
            metadata.read(path)


class TestConversion:
    def test_a_stream_in_pieces_equals_the_whole(self) -> None:
        samples = noise()
        whole = conversion.Resampler(RATE, 44_100, 2).push(samples, last=True)
        stream = conversion.Resampler(RATE, 44_100, 2)
        pieces = [stream.push(samples[:, start : start + 7001]) for start in range(0, samples.shape[1], 7001)]
        pieces.append(stream.push(conversion.silence(2), last=True))
        assert np.array_equal(np.concatenate(pieces, axis=1), whole)
        assert whole.shape[1] == round(samples.shape[1] * 44_100 / RATE)

    def test_channels_are_copied_or_averaged(self) -> None:
        mono = conversion.with_channels(noise(), 1)
        assert np.allclose(mono[0], noise().mean(axis=0), atol=1e-7)
        assert np.array_equal(conversion.with_channels(mono, 2)[0], conversion.with_channels(mono, 2)[1])

    def test_a_loop_stays_a_loop(self) -> None:
        time = np.arange(RATE) / RATE
        tone = np.stack([np.sin(2 * np.pi * 500 * time)] * 2).astype(np.float32)
        found = conversion.resample_loop(tone, RATE, 32_000)
        wanted = np.sin(2 * np.pi * 500 * np.arange(32_000) / 32_000)
        assert found.shape == (2, 32_000)
        assert np.abs(found[0] - wanted).max() < 1e-4

    @pytest.mark.parametrize(("rate", "channels"), [(0, 2), (-1, 2), (10**7, 2), (RATE, 0), (RATE, 17), (RATE, -1)])
    def test_impossible_ones_are_refused(self, rate: int, channels: int) -> None:
        with pytest.raises(UsageError):
            conversion.check(rate, channels)


class TestSpectrogram:
    def paint(self, samples: FloatArray, sizes: int, seconds: float) -> bytes:
        canvas = spectrogram.canvas(RATE, seconds)
        painting = spectrogram.begin(2)
        for start in range(0, samples.shape[1], sizes):
            painting = spectrogram.paint(canvas, painting, samples[:, start : start + sizes])
            assert painting.samples.shape[1] <= canvas.column + spectrogram.WINDOW
        painting = spectrogram.paint(canvas, painting, conversion.silence(2), last=True)
        assert len(painting.columns) == -(-samples.shape[1] // canvas.column)
        return spectrogram.picture(canvas, painting, {"Title": "pluie d'été"})

    def test_pieces_make_the_same_picture(self) -> None:
        assert self.paint(noise(), 1013, 1.5) == self.paint(noise(), 72_000, 1.5)

    def test_it_is_a_png_file_with_a_tone_where_it_belongs(self) -> None:
        time = np.arange(2 * RATE) / RATE
        tone = np.stack([np.sin(2 * np.pi * 1000 * time)] * 2).astype(np.float32)
        pixels = decode_png(self.paint(tone, 10_000, 2.0))
        column = pixels[spectrogram.MARGIN : spectrogram.MARGIN + spectrogram.HEIGHT, spectrogram.MARGIN_LEFT + 100]
        brightest = int(column.astype(int).sum(axis=1).argmax())
        low, high = (2595 * np.log10(1 + f / 700) for f in (spectrogram.LOWEST, spectrogram.HIGHEST))
        wanted = (high - 2595 * np.log10(1 + 1000 / 700)) / (high - low) * spectrogram.HEIGHT
        assert brightest == pytest.approx(wanted, abs=2)

    @pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0])
    def test_any_length_makes_a_picture(self, seconds: float) -> None:
        assert decode_png(self.paint(noise(seconds), 5000, seconds)).shape[2] == 3

    def test_a_day_fits(self) -> None:
        canvas = spectrogram.canvas(RATE, 86_400)
        assert 86_400 * RATE / canvas.column <= spectrogram.WIDTH

    def test_text_outside_the_picture_is_cut(self) -> None:
        pixels = np.zeros((4, 4, 3), np.uint8)
        draw_text(pixels, "10 kHz", 1, 1, (255, 255, 255))
        assert decode_png(encode_png(pixels, {})).max() == 255


def decode_png(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pixels of a PNG file as this project writes them; checks every part's checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed, size = 8, b"", (0, 0)
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0]
        size = struct.unpack(">II", body[:8]) if name == b"IHDR" else size
        packed += body if name == b"IDAT" else b""
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(size[1], 1 + 3 * size[0])
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(size[1], size[0], 3)
