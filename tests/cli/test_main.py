"""The dispatcher, times as people write them, and commands that read."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from safa_stream import __version__
from safa_stream.cli import main
from safa_stream.cli.main import COMMANDS, build_parser
from safa_stream.cli.progress import ProgressLine
from safa_stream.cli.values import clock, count, duration, loudness, positive, share
from safa_stream.errors import OutputError, UsageError
from safa_stream.rendering.source import Progress
from tests.rendering.audible import audible


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("90", 90), ("1.5", 1.5), (".5", 0.5), ("1:30", 90), ("0:01:30", 90), ("24:00:00", 86_400),
            ("90:00", 5400), ("2:03.5", 123.5), ("90s", 90), ("5m", 300), ("24h", 86_400), ("0", 0), ("7d", 604_800),
        ],
    )  # fmt: skip
    def test_they_are_read(self, text: str, seconds: float) -> None:
        assert duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", ":", "1:", "1:60", "1:60:00", "a", "-1", "nan", "inf", "1e3", "1:2:3:4", "9" * 400]
    )
    def test_what_is_no_time(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError):
            duration(text)

    @pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (750, "12:30"), (10_800, "3:00:00"), (59.7, "1:00")])
    def test_they_are_shown(self, seconds: float, text: str) -> None:
        assert clock(seconds) == text

    def test_loudness_can_be_off(self) -> None:
        assert loudness("off") is None
        assert loudness("-16") == -16.0


class TestNumbers:
    def test_they_are_read(self) -> None:
        assert (count("3"), positive("1e-3"), share("0"), share("1")) == (3, 0.001, 0.0, 1.0)

    @pytest.mark.parametrize("text", ["0", "-1", "1.5", "a", ""])
    def test_what_is_no_count(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError):
            count(text)

    @pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "a", ""])
    def test_what_is_not_positive(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError):
            positive(text)

    @pytest.mark.parametrize("text", ["-0.1", "1.1", "nan", "a", ""])
    def test_what_is_no_share(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError):
            share(text)


class TestDispatch:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["--version"])
        assert stop.value.code == 0
        assert capsys.readouterr().out.strip() == f"safa-stream {__version__}"

    def test_without_a_command_the_help_is_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        assert "render" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words",
        [
            ["dance"],
            ["--nonsense"],
            ["render", "rain", "--duration", "-3"],
            ["eval", "seams", "--seeds", "none"],
            ["eval"],
        ],
    )
    def test_wrong_arguments_are_one_line_and_exit_code_2(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and "--help" in told.err

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_explains_itself(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        told = capsys.readouterr().out
        module = import_module(f"safa_stream.cli.{name}")
        assert told.startswith(f"usage: safa-stream {name}")
        assert module.HELP and module.__doc__ and module.__doc__.splitlines()[0] in told

    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (OutputError("no room"), 1, "no room"),
            (UsageError("not\nso"), 2, "not so"),
            (KeyboardInterrupt(), 130, "interrupted"),
            (PermissionError(13, "Permission denied", "x.wav"), 1, "x.wav: Permission denied"),
            (MemoryError(), 1, "memory"),
            (ModuleNotFoundError("No module named 'onnxruntime'"), 1, "pip install"),
        ],
    )
    def test_errors_are_one_line(
        self,
        error: BaseException,
        code: int,
        said: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def run(options: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(import_module("safa_stream.cli.sounds"), "run", run)
        assert main(["sounds"]) == code
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
        with pytest.raises(type(error)):
            main(["sounds", "--debug"])

    @pytest.mark.parametrize("words", [["train", "recordings", "--out", "mine"], ["export", "mine"]])
    def test_what_training_needs_is_named_where_it_is_missing(
        self, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "safa_exporters.onnx", None)
        assert main(words) == 1
        assert 'pip install "safa-stream[cpu,train]"' in capsys.readouterr().err

    def test_help_is_quick(self) -> None:
        code = "import sys; from safa_stream.cli import main; main(sys.argv[1:])"
        root = str(Path(__file__).parents[2])
        took = []
        for _ in range(5):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, "--help"],
                env=os.environ | {"PYTHONPATH": root}, capture_output=True, check=False,
            )  # fmt: skip
            took.append(time.perf_counter() - began)
            assert done.returncode == 0
        assert min(took) < 0.5

    def test_the_parser_knows_all_commands(self) -> None:
        assert build_parser().parse_args(["info", "a.wav"]).file == Path("a.wav")


class TestProgressLine:
    def test_elsewhere_than_on_a_terminal_lines_are_rare(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        now = [0.0]
        monkeypatch.setattr("safa_stream.cli.progress.time.monotonic", lambda: now[0])
        line = ProgressLine(quiet=False)
        for second in range(61):
            now[0] = float(second)
            line(Progress(6.0 * second, 3600.0, float(second)))
        told = capsys.readouterr().err
        assert told.count("\n") == 4 and "\r" not in told
        assert "6:00 of 1:00:00   10 %  9:00 left  6.0 x real time" in told

    def test_on_a_terminal_one_line_is_rewritten(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        now = [100.0]
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        monkeypatch.setattr("safa_stream.cli.progress.time.monotonic", lambda: now[0])
        line = ProgressLine(quiet=False)
        for _ in range(10):
            now[0] += 1
            line(Progress(5.0, 10.0, 1.0))
        line.end()
        told = capsys.readouterr().err
        assert "\n" not in told and told.count("\r") == 12 and told.endswith("\r")


class TestSounds:
    def test_they_are_listed(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr("safa_stream.models.load", lambda name: audible())
        assert main(["sounds"]) == 0
        assert "low" in capsys.readouterr().out
        assert main(["sounds", "--json"]) == 0
        assert set(json.loads(capsys.readouterr().out)["sounds"]) == {"low", "high"}


class TestInfo:
    @pytest.mark.parametrize("name", ["missing.wav", "."])
    def test_what_is_no_rendered_file_is_one_line(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["info", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
