"""`safa-stream render` as it is typed: options, output, exit codes, interruption."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from safa_stream.cli import main
from safa_stream.rendering import metadata
from safa_stream.scene import Scene
from tests.rendering.audible import audible

ROOT = Path(__file__).parents[2]
#: Runs the command line with the toy model, in a process of its own.
WITH_TOY = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from safa_stream.rendering import render
from tests.rendering.audible import audible
render.load = lambda name, backend: audible()
from safa_stream.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("safa_stream.rendering.render.load", lambda name, backend: audible())
    monkeypatch.chdir(tmp_path)


def exit_code(*words: str) -> int:
    try:
        return main(["render", *words])
    except SystemExit as stop:
        return int(stop.code or 0)


class TestResult:
    def test_json_is_one_object_and_nothing_else(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("rain, ?blorp:0.5", "--duration", "2", "--out", "a.flac", "--steps", "4", "--json") == 0
        told = capsys.readouterr()
        found = json.loads(told.out)
        assert {
            "file", "seconds", "sample_rate", "channels", "seed", "model", "mode", "method", "real_time_factor",
            "hop_seconds", "overlap_seconds", "unknown_words", "loudness_lufs", "true_peak_dbtp", "interrupted",
        } <= set(found)  # fmt: skip
        assert found["file"] == "a.flac" and found["seconds"] == 2.0 and found["unknown_words"] == ["?blorp"]
        assert "?blorp" in told.err

    def test_the_summary_names_the_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("rain", "--duration", "1", "--spectrogram", "a.png", "--out", "a.wav") == 0
        told = capsys.readouterr()
        assert "a.wav" in told.out and "LUFS" in told.out and "a.png" in told.out
        assert Path("a.png").read_bytes()[:4] == b"\x89PNG"

    def test_the_summary_says_how_many_channels_and_the_file_says_how_to_make_it_again(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert exit_code("rain", "--duration", "1", "--channel-map", "5.1", "--out", "a.wav") == 0
        assert "6 channels (5.1)" in capsys.readouterr().out and soundfile.info("a.wav").channels == 6
        assert main(["info", "a.wav"]) == 0
        words = shlex.split(capsys.readouterr().out.splitlines()[-1])[1:]
        words[words.index("--out") + 1] = "again.wav"
        assert main([*words, "--quiet"]) == 0
        first, again = (soundfile.read(name)[0] for name in ("a.wav", "again.wav"))
        assert (first == again).all()

    def test_quiet_says_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("rain", "--duration", "1", "--quiet") == 0
        assert capsys.readouterr() == ("", "")

    def test_without_a_name_the_prompt_names_the_file(self) -> None:
        assert exit_code("Rain on a tent, wind:0.2", "--duration", "1", "--quiet") == 0
        assert soundfile.info("rain-on-a-tent.wav").duration == 1.0

    def test_every_option_reaches_the_scene(self) -> None:
        code = exit_code(
            "rain", "--negative", "wind:0.5", "--seed", "9", "--steps", "4", "--guidance", "1.5", "--overlap", "0.3",
            "--swap-interval", "2", "--reference-ratio", "0.5", "--method", "safa-self", "--at", "0:01", "birds",
            "--morph", "0.5", "--duration", "0:02", "--rate", "24000", "--channels", "1", "--bits", "PCM_16",
            "--lufs", "-20", "--save-scene", "scene.json", "--out", "a.wav", "--quiet",
        )  # fmt: skip
        assert code == 0
        scene = Scene.from_json(Path("scene.json").read_text())
        found = metadata.read(Path("a.wav"))
        assert found.origin.scene == scene
        assert (scene.seed, scene.steps, scene.guidance, scene.overlap) == (9, 4, 1.5, 0.3)
        assert (scene.swap_interval, scene.reference_ratio, scene.method) == (2, 0.5, "safa-self")
        assert scene.changes[0].at == 1.0 and scene.changes[0].morph == 0.5
        assert (found.sample_rate, found.channels, found.subtype, found.origin.lufs) == (24_000, 1, "PCM_16", -20.0)

    def test_a_scene_file_makes_the_same_sound(self) -> None:
        assert exit_code("rain", "--seed", "4", "--duration", "1", "--save-scene", "s.json", "--out", "a.wav") == 0
        assert exit_code("--scene", "s.json", "--duration", "1", "--out", "b.wav") == 0
        assert exit_code("--scene", "s.json", "--seed", "5", "--duration", "1", "--out", "c.wav") == 0
        first, again, other = (soundfile.read(name)[0] for name in ("a.wav", "b.wav", "c.wav"))
        assert (first == again).all() and (first != other).any()

    def test_info_prints_a_command_that_makes_the_file_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("rain, wind:0.5", "--at", "1", "birds", "--duration", "2", "--out", "a.flac", "--quiet") == 0
        assert main(["info", "a.flac"]) == 0
        command = capsys.readouterr().out.splitlines()[-1]
        assert command.startswith("safa-stream render ")
        words = shlex.split(command)[1:]
        words[words.index("--out") + 1] = "again.flac"
        assert main([*words, "--quiet"]) == 0
        first, again = (soundfile.read(name)[0] for name in ("a.flac", "again.flac"))
        assert (first == again).all()

    def test_a_loop_is_joint(self) -> None:
        assert exit_code("rain", "--loop", "--duration", "3.2", "--out", "a.wav", "--save-scene", "s.json") == 0
        scene = Scene.from_json(Path("s.json").read_text())
        assert scene.loop and scene.mode == "joint"


class TestBadInput:
    @pytest.mark.parametrize(
        "words",
        [
            [], [""], ["  "], ["rain:nan"], ["rain:-1"], ["rain:0"], ["rain,,wind"], ["rain:inf"], ["rain", "extra"],
            ["rain", "--duration", "0"], ["rain", "--duration", "-5"], ["rain", "--duration", "nan"],
            ["rain", "--duration", "inf"], ["rain", "--duration", "1:99"], ["rain", "--duration", "long"],
            ["rain", "--steps", "0"], ["rain", "--steps", "1.5"], ["rain", "--overlap", "1.2"],
            ["rain", "--overlap", "nan"], ["rain", "--overlap", "-0.1"], ["rain", "--overlap", "0.8"],
            ["rain", "--guidance", "nan"], ["rain", "--seed", "-1"], ["rain", "--swap-interval", "0"],
            ["rain", "--reference-ratio", "2"], ["rain", "--method", "magic"], ["rain", "--mode", "live"],
            ["rain", "--rate", "1"], ["rain", "--rate", "0"], ["rain", "--channels", "0"], ["rain", "--channels", "17"],
            ["rain", "--format", "tape"], ["rain", "--out", "a.xyz"], ["rain", "--bits", "12"],
            ["rain", "--lufs", "loud"], ["rain", "--lufs", "0"], ["rain", "--lufs", "nan"],
            ["rain", "--at", "soon", "wind"], ["rain", "--at", "99", "wind"], ["rain", "--at", "1", ""],
            ["rain", "--morph", "3"], ["rain", "--loop", "--mode", "stream"], ["rain", "--loop", "--at", "1", "wind"],
            ["rain", "--loop", "--duration", "0.001"], ["rain", "--negative", ""], ["rain", "--nonsense"],
            ["rain", "--out", "a.opus", "--rate", "44100"], ["rain", "--out", "a.ogg", "--channels", "3"],
            ["rain", "--channel-map", "5.3"], ["rain", "--channel-map", "5.1", "--channels", "6"],
            ["rain", "--channel-map", "ambix", "--channels", "1"], ["rain", "--out", "a.mp3", "--channel-map", "quad"],
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_one_line_and_exit_code_2(
        self, words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert exit_code(*words, "--json") == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err
        assert len([line for line in told.err.splitlines() if line.startswith("safa-stream")]) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (b"{}", "format"), (b"not json", "JSON"), (b"\xff\xfe", "UTF-8"), (b"", "JSON"),
            (b'{"format": "safa-scene-1", "prompts": "rain", "sede": 1}', "sede"),
            (b'{"format": "safa-scene-1", "prompts": "rain", "steps": "many"}', "steps"),
            (b'{"format": "safa-scene-1", "prompts": ""}', "prompt"),
        ],
    )  # fmt: skip
    def test_a_wrong_scene_file_is_named_with_its_field(
        self, content: bytes, named: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("bad.json").write_bytes(content)
        assert exit_code("--scene", "bad.json") == 2
        line = capsys.readouterr().err
        assert "bad.json" in line and named in line and line.count("\n") == 1

    @pytest.mark.parametrize(
        "words",
        [
            ["--out", "."], ["--out", "missing/a.wav"], ["--out", "there.wav"], ["--spectrogram", "there.wav"],
            ["--spectrogram", "missing/a.png"], ["--save-scene", "there.wav"], ["--scene", "missing.json"],
            ["--scene", "."], ["--out", "/proc/a.wav"],
        ],
    )  # fmt: skip
    def test_what_the_disk_refuses_is_one_line_and_exit_code_1(
        self, words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        Path("there.wav").write_text("precious")
        formats = ["--format", "wav"] if words == ["--out", "."] else []
        assert exit_code("rain", "--duration", "1", *words, *formats) == 1
        assert capsys.readouterr().err.count("\n") == 1
        assert Path("there.wav").read_text() == "precious"
        assert list(tmp_path.iterdir()) == [tmp_path / "there.wav"]

    def test_force_replaces(self) -> None:
        Path("a.wav").write_text("old")
        assert exit_code("rain", "--duration", "1", "--out", "a.wav", "--force") == 0
        assert soundfile.info("a.wav").duration == 1.0


class TestModels:
    def test_a_missing_model_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from safa_stream.models import load

        monkeypatch.setattr("safa_stream.rendering.render.load", load)
        assert exit_code("rain", "--model", "no/such/model", "--duration", "1") == 1
        told = capsys.readouterr().err
        assert "no/such/model" in told and told.count("\n") == 1


class TestSignals:
    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WITH_TOY, "render", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_work(self, folder: Path) -> None:
        deadline = time.monotonic() + 60
        while not any(path.suffix == ".part" for path in folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1.0)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_render_is_a_playable_file(self, number: int, tmp_path: Path) -> None:
        process = self.start("rain", "--duration", "24h", "--format", "flac", "--out", "a.flac", "--json")
        self.wait_for_work(tmp_path)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in err and "a.flac holds the first" in err
        assert soundfile.info("a.flac").duration == pytest.approx(json.loads(out)["seconds"])
        assert os.listdir() == ["a.flac"]

    def test_a_reader_that_goes_away_is_no_traceback(self) -> None:
        process = self.start("rain", "--duration", "1", "--out", "a.wav")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
        assert process.wait(60) in (0, 1)
        assert soundfile.info("a.wav").duration == 1.0
