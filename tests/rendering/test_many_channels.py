"""Files of many channels: what is in them, which loudspeakers they say that they are for, how loud they are."""

from __future__ import annotations

import shlex
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from safa_stream.channels import channel_map
from safa_stream.errors import UsageError
from safa_stream.loudness import gated_loudness, k_weighting, step_energy
from safa_stream.rendering import leveller
from safa_stream.rendering.formats import FileFormat
from safa_stream.rendering.metadata import Tags, command, read
from safa_stream.rendering.output import SoundWriter
from safa_stream.rendering.render import render
from safa_stream.scene import Scene
from tests.rendering.audible import audible

PROMPT = "rain, wind:0.5"


def mask_of(path: Path) -> int:
    """dwChannelMask of a WAVE_FORMAT_EXTENSIBLE file, found by walking its chunks."""
    data, at = path.read_bytes(), 12
    while data[at : at + 4] != b"fmt ":
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
    assert struct.unpack_from("<H", data, at + 8)[0] == 0xFFFE
    return int(struct.unpack_from("<I", data, at + 8 + 20)[0])


class TestFiles:
    @pytest.mark.parametrize(
        ("asked", "channels", "mask", "silent"),
        [
            ({"channels": 3}, 3, 0, []),
            ({"channels": 6}, 6, 0, []),
            ({"channel_map": "quad"}, 4, 0x33, []),
            ({"channel_map": "5.1"}, 6, 0x3F, [3]),
            ({"channel_map": "7.1"}, 8, 0x63F, [3]),
            ({"channel_map": "7.1.4"}, 12, 0x2D63F, [3]),
            ({"channel_map": "ambix", "channels": 6}, 4, 0, [2]),
            ({"channel_map": "2,-,1"}, 3, 0, [1]),
        ],
    )
    def test_a_wave_file_says_what_its_channels_are_for(
        self, tmp_path: Path, asked: dict[str, Any], channels: int, mask: int, silent: list[int]
    ) -> None:
        path = tmp_path / "a.wav"
        result = render(PROMPT, 1.0, path, model=audible(), **asked)
        frames, _ = soundfile.read(path, dtype="float32")
        assert result.channels == frames.shape[1] == channels and mask_of(path) == mask
        assert np.flatnonzero(np.abs(frames).max(axis=0) < 1e-4).tolist() == silent
        assert result.loudness_lufs == pytest.approx(-23, abs=0.1)

    def test_a_map_only_places_channels(self, tmp_path: Path) -> None:
        plain: dict[str, Any] = {"lufs": None, "bits": "32f", "model": audible()}
        render(PROMPT, 1.5, tmp_path / "five.wav", channels=5, **plain)
        render(PROMPT, 1.5, tmp_path / "map.wav", channel_map="5.1", **plain)
        five, mapped = (soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0] for name in ("five", "map"))
        assert five.any(axis=0).all() and np.array_equal(mapped, channel_map("5.1").apply(five.T).T)

    @pytest.mark.parametrize(
        "asked", [{"channels": 5}, {"channel_map": "5.1"}, {"channel_map": "ambix", "channels": 6}]
    )
    def test_a_file_says_how_it_is_made_again(self, tmp_path: Path, asked: dict[str, Any]) -> None:
        path = tmp_path / "a.flac"
        render(PROMPT, 1.0, path, model=audible(), **asked)
        words = shlex.split(command(read(path)))
        given = {word: words[at + 1] for at, word in enumerate(words) if word.startswith("--")}
        assert given.get("--channels") == (str(asked["channels"]) if "channels" in asked else None)
        assert given.get("--channel-map") == asked.get("channel_map")

    @pytest.mark.parametrize(
        ("name", "asked", "said"),
        [
            ("a.mp3", {"channels": 4}, "at most 2 channels"),
            ("a.ogg", {"channel_map": "5.1"}, "at most 2 channels"),
            ("a.flac", {"channel_map": "7.1.4"}, "at most 8 channels"),
            ("a.wav", {"channels": 6, "channel_map": "5.1"}, "takes 5 channels"),
            ("a.wav", {"channel_map": "5.2"}, "is none of"),
        ],
    )
    def test_what_cannot_be_is_said_before_anything_is_made(
        self, tmp_path: Path, name: str, asked: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            render(PROMPT, 1.0, tmp_path / name, **asked)
        assert not list(tmp_path.iterdir())

    def test_a_loop_of_many_channels_has_no_seam(self, tmp_path: Path) -> None:
        scene = replace(Scene.from_prompt(PROMPT), mode="joint", loop=True)
        result = render(scene, 3.0, model=audible(), channel_map="quad")
        assert result.samples is not None and result.samples.shape[0] == 4
        joined = np.abs(np.diff(np.concatenate([result.samples[:, -500:], result.samples[:, :500]], axis=1)))
        assert (joined[:, 499] < 4 * joined.mean(axis=1)).all()


class TestLoudness:
    @staticmethod
    def tones(channels: int, rate: int = 48_000) -> np.ndarray:
        wave = 0.05 * np.sin(2 * np.pi * 997 * np.arange(rate) / rate)
        return np.repeat(wave[None], channels, axis=0).astype(np.float32)

    def measured(self, sound: np.ndarray, spec: str | None) -> float:
        weighting = k_weighting(48_000, None if spec is None else channel_map(spec).weights)
        history, energies = np.zeros((len(sound), weighting.history), np.float32), list[float]()
        for start in range(0, sound.shape[1], weighting.step):
            history, energy = step_energy(weighting, history, sound[:, start : start + weighting.step])
            energies.append(energy)
        return gated_loudness(np.array(energies))

    def test_surrounds_weigh_more_and_the_low_channel_nothing(self) -> None:
        sound = self.tones(6)
        each = self.measured(sound[:1], None)
        # BS.1770-4: 3 at the front, 2 x 1.41 at the sides, the low-frequency channel not at all.
        assert self.measured(sound, "5.1") - each == pytest.approx(10 * np.log10(3 + 2 * 10**0.15), abs=0.02)
        louder = sound.copy()
        louder[3] *= 8
        assert self.measured(louder, "5.1") == self.measured(sound, "5.1")
        assert self.measured(sound, None) - each == pytest.approx(10 * np.log10(6), abs=0.02)

    def test_levelling_goes_by_it(self) -> None:
        rng = np.random.default_rng(3)
        sound = rng.normal(0, 0.05, (6, 48_000 * 2)).astype(np.float32)
        levelling = leveller.levelling(48_000, 6, -23.0, weights=channel_map("5.1").weights)
        state, one = leveller.push(levelling, leveller.begin(levelling), sound)
        state, two = leveller.finish(levelling, state)
        out = np.concatenate([one, two], axis=1)
        assert self.measured(out, "5.1") == pytest.approx(-23, abs=0.1)
        assert self.measured(out, None) > -23.0


def test_files_beyond_four_gigabytes_have_masks_too(tmp_path: Path) -> None:
    path = tmp_path / "big.wav"
    small = FileFormat("wav", "WAV", "PCM_24", 3, largest=1)
    with SoundWriter(path, small, 48_000, 6, 1.0, Tags("a", "b", "c"), mask=0x60F) as writer:
        writer.write(np.zeros((6, 100), np.float32))
        writer.finish()
    assert writer.file_format.major == "RF64" and mask_of(path) == 0x60F
