"""`render` from a scene to a file: what is promised about length, loudness, interruption and failure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import safa_stream
from safa_stream import engine
from safa_stream.errors import OutputError, SceneError, UsageError
from safa_stream.rendering import metadata
from safa_stream.rendering.meter import measure
from safa_stream.rendering.render import render
from safa_stream.rendering.source import Progress
from safa_stream.scene import PromptChange, Scene, parse_prompts
from tests.rendering.audible import audible

RAIN = Scene.from_prompt("rain, wind:0.5", steps=4)
JOINT = Scene.from_prompt("rain", steps=4, mode="joint")
LOOP = Scene.from_prompt("rain", steps=4, mode="joint", loop=True)


class Failing:
    """Raises at the call of that number."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.calls, self.at, self.error = 0, at, error

    def __call__(self, progress: Progress) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise self.error


class TestWhatIsMade:
    @pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
    @pytest.mark.parametrize("scene", [RAIN, JOINT, LOOP], ids=["stream", "joint", "loop"])
    def test_a_file_of_the_asked_length_and_loudness(self, tmp_path: Path, name: str, scene: Scene) -> None:
        result = render(scene, 3.2, tmp_path / name, model=audible())
        samples, rate = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
        assert (rate, samples.shape) == (16_000, (51_200, 2))
        assert result.seconds == pytest.approx(3.2)
        assert measure(samples.T, rate).loudness == pytest.approx(-23, abs=0.5)
        assert measure(samples.T, rate).true_peak <= -1
        assert result.loudness_lufs == pytest.approx(-23, abs=0.2)
        assert list(tmp_path.iterdir()) == [tmp_path / name]

    def test_the_result_says_what_was_done(self, tmp_path: Path) -> None:
        result = render(Scene.from_prompt("rain, ?xyz", seed=7, steps=4), 1.0, tmp_path / "a.flac", model=audible())
        found = result.as_dict()
        wanted = {
            "file": str(tmp_path / "a.flac"), "sample_rate": 16_000, "channels": 2, "seed": 7, "model": "toy",
            "mode": "stream", "method": "safa", "steps": 4, "guidance": 2.0, "hop_seconds": 0.64,
            "overlap_seconds": 0.16, "unknown_words": ("?xyz",), "interrupted": False, "prompts": "rain, ?xyz",
        }  # fmt: skip
        assert {name: found[name] for name in wanted} == wanted
        assert found["seconds"] == 1.0
        assert found["real_time_factor"] > 0
        assert "samples" not in found

    def test_without_a_file_the_samples_come_back(self, tmp_path: Path) -> None:
        result = render(RAIN, 2.0, model=audible())
        render(RAIN, 2.0, tmp_path / "a.wav", bits="32f", model=audible())
        assert result.samples is not None and result.file is None
        assert np.array_equal(result.samples, soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T)

    def test_rate_and_channels_are_the_asked_ones(self, tmp_path: Path) -> None:
        result = render(RAIN, 2.0, tmp_path / "a.wav", rate=22_050, channels=1, model=audible())
        info = soundfile.info(tmp_path / "a.wav")
        assert (info.samplerate, info.channels, info.frames) == (22_050, 1, 44_100)
        assert (result.sample_rate, result.channels) == (22_050, 1)

    def test_off_gives_what_the_engine_made(self) -> None:
        model = audible()
        made = np.concatenate([chunk.samples for chunk in engine.chunks(model, RAIN, 1.0)], axis=1)
        result = render(RAIN, 1.0, lufs=None, model=model)
        assert result.samples is not None and result.true_peak_dbtp is not None
        quiet = np.abs(made) < 1e-3 * np.abs(made).max()
        assert result.samples.shape == made.shape
        assert result.true_peak_dbtp <= -1
        assert np.sign(result.samples[~quiet]).tolist() == np.sign(made[~quiet]).tolist()

    def test_a_loop_has_no_seam(self) -> None:
        result = render(LOOP, 3.2, rate=24_000, model=audible())
        assert result.samples is not None
        around = np.concatenate([result.samples[:, -2000:], result.samples[:, :2000]], axis=1)
        steps = np.abs(np.diff(around, axis=1))
        assert steps[:, 1999].max() <= np.quantile(steps, 0.999)

    def test_the_same_again_from_the_file_itself(self, tmp_path: Path) -> None:
        changes = (PromptChange(1.0, parse_prompts("wind"), 0.5),)
        scene = Scene.from_prompt("rain:0.3", negative=parse_prompts("birds"), seed=3, steps=4, changes=changes)
        render(scene, 2.0, tmp_path / "a.flac", model=audible())
        origin = metadata.read(tmp_path / "a.flac").origin
        render(origin.scene, origin.seconds, tmp_path / "b.flac", lufs=origin.lufs, model=audible())
        first, again = (soundfile.read(tmp_path / name)[0] for name in ("a.flac", "b.flac"))
        assert np.array_equal(first, again)

    def test_progress_reaches_the_end(self) -> None:
        for scene in (RAIN, JOINT):
            seen: list[Progress] = []
            render(scene, 2.0, model=audible(), report=seen.append)
            assert seen[0].done == 0 and seen[-1].done == pytest.approx(2.0)
            assert [p.done for p in seen] == sorted(p.done for p in seen)
            assert seen[-1].left == pytest.approx(0.0) and seen[0].left is None


class TestInterruption:
    def test_what_was_finished_is_a_playable_file(self, tmp_path: Path) -> None:
        seen: list[Progress] = []
        result = render(
            RAIN, 60.0, tmp_path / "a.flac", spectrogram=tmp_path / "a.png",
            model=audible(), report=seen.append, stop=lambda: len(seen) > 3,
        )  # fmt: skip
        assert result.interrupted and 0 < result.seconds < 10
        assert soundfile.info(tmp_path / "a.flac").duration == pytest.approx(result.seconds)
        assert (tmp_path / "a.png").exists()
        assert metadata.read(tmp_path / "a.flac").origin.seconds == 60.0

    def test_a_keyboard_interrupt_while_sound_is_made_counts_as_a_stop(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = audible()
        plain, calls = model.denoise, 0

        def denoise(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 20:
                raise KeyboardInterrupt
            return plain(*arguments, **named)

        monkeypatch.setattr(model, "denoise", denoise)
        result = render(RAIN, 60.0, tmp_path / "a.wav", model=model)
        assert result.interrupted
        assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(result.seconds)

    @pytest.mark.parametrize("scene", [RAIN, JOINT, LOOP], ids=["stream", "joint", "loop"])
    def test_before_anything_was_finished_there_is_no_file(
        self, tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = audible()

        def denoise(*arguments: Any, **named: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(model, "denoise", denoise)
        result = render(scene, 3.2, tmp_path / "a.wav", spectrogram=tmp_path / "a.png", model=model)
        assert result.interrupted and result.file is None and result.spectrogram is None
        assert list(tmp_path.iterdir()) == []

    def test_a_joint_render_stops_between_steps(self, tmp_path: Path) -> None:
        result = render(JOINT, 3.2, tmp_path / "a.wav", model=audible(), stop=lambda: True)
        assert result.interrupted and list(tmp_path.iterdir()) == []


class TestFailure:
    @pytest.mark.parametrize("at", [1, 2, 4])
    def test_no_file_is_left_behind(self, tmp_path: Path, at: int) -> None:
        with pytest.raises(OutputError, match="planned"):
            render(RAIN, 5.0, tmp_path / "a.wav", model=audible(), report=Failing(at, OutputError("planned")))
        assert list(tmp_path.iterdir()) == []

    def test_the_old_file_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(b"precious")
        with pytest.raises(OutputError, match="--force"):
            render(RAIN, 1.0, tmp_path / "a.wav", model=audible())
        with pytest.raises(OutputError, match="planned"):
            render(
                RAIN, 5.0, tmp_path / "a.wav", force=True, model=audible(), report=Failing(3, OutputError("planned"))
            )
        assert (tmp_path / "a.wav").read_bytes() == b"precious"

    @pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
    def test_impossible_durations(self, seconds: float) -> None:
        with pytest.raises(UsageError, match="duration"):
            render(RAIN, seconds, model=audible())

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"rate": 0}, "rate"), ({"rate": 10**9}, "rate"), ({"channels": 0}, "channels"),
            ({"channels": 17}, "channels"), ({"lufs": 3.0}, "loudness"), ({"lufs": math.nan}, "loudness"),
            ({"file_format": "tape"}, "tape"), ({"bits": "12"}, "12"),
        ],
    )  # fmt: skip
    def test_impossible_files(self, tmp_path: Path, settings: dict[str, Any], named: str) -> None:
        with pytest.raises(UsageError, match=named):
            render(RAIN, 1.0, tmp_path / "a.wav", model=audible(), **settings)
        assert list(tmp_path.iterdir()) == []

    def test_a_change_after_the_end(self) -> None:
        scene = Scene.from_prompt("rain", changes=(PromptChange(5.0, parse_prompts("wind")),))
        with pytest.raises(UsageError, match="after the end"):
            render(scene, 5.0, model=audible())

    def test_an_endless_joint_scene_is_refused(self) -> None:
        with pytest.raises(UsageError, match="stream"):
            render(JOINT, 86_400.0, model=audible())

    def test_wrong_scenes(self) -> None:
        with pytest.raises(SceneError, match="steps"):
            render(Scene.from_prompt("rain", steps=0), 1.0, model=audible())

    def test_sound_and_picture_are_two_files(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="at once"):
            render(RAIN, 1.0, tmp_path / "a.wav", spectrogram=tmp_path / "a.wav", model=audible())


class TestPackage:
    def test_the_public_names_are_the_real_ones(self) -> None:
        assert safa_stream.render is render
        assert safa_stream.Scene is Scene
        assert safa_stream.chunks is engine.chunks
        with pytest.raises(AttributeError, match="nonsense"):
            _ = safa_stream.nonsense
