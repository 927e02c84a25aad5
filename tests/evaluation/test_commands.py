"""The measuring commands: they print one JSON object and nothing else, and refuse what cannot be in one line."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from safa_stream.cli import bench as bench_command
from safa_stream.cli import eval as eval_command
from safa_stream.cli import study as study_command
from safa_stream.errors import UsageError
from tests.toy import FACTS, ToyDecoder, ToyModel


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    model = ToyModel(
        facts=replace(FACTS, sample_rate=48_000, samples_per_frame=1920),
        sampled_decoder=ToyDecoder(samples_per_frame=1920),
    )
    monkeypatch.setattr("safa_stream.models.load", lambda name, backend: model)
    return model


def options(command: ModuleType, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_eval_seams_prints_one_json_object_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "seams.svg"
    words = ("seams", "--classes", "low", "--seeds", "1", "--views", "3", "--ways", "stream,joint", "--json")
    assert eval_command.run(options(eval_command, *words, "--plot", str(plot))) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["classes"]["low"]["worst_border_ratio"] > 0
    assert "low, seed 0: joint" in said.err and plot.exists()


def test_unknown_ways_and_schedules_are_named() -> None:
    with pytest.raises(UsageError, match="--ways"):
        eval_command.run(options(eval_command, "seams", "--ways", "stream,best"))
    with pytest.raises(UsageError, match="no swap schedule is called magic"):
        study_command.run(options(study_command, "--schedules", "magic"))


def test_numbers_that_cannot_be_end_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("seams", "--seeds", "0"), ("drift", "--minutes", "x")):
        with pytest.raises(SystemExit) as stop:
            options(eval_command, *words)
        assert stop.value.code == 2
    with pytest.raises(SystemExit):
        options(study_command, "--steps", "8,-1")
    assert "is not a whole number above 0" in capsys.readouterr().err


def test_study_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "studies" / "page.md"
    words = ("--classes", "low", "--schedules", "cached", "--steps", "2", "--seeds", "1", "--views", "3", "--quiet")
    assert study_command.run(options(study_command, *words, "--out", str(page))) == 0
    assert page.read_text(encoding="utf-8").startswith("# The streaming swap schedule")
    assert "--schedules 'cached'" in capsys.readouterr().out


def test_bench_has_defaults_for_everything() -> None:
    chosen = options(bench_command)
    assert (chosen.model, chosen.minutes, chosen.json) == ("builtin", 30.0, False)
