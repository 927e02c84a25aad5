"""`safa-stream eval paper`, `fourier`, `connectivity` and `sweep` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safa_stream.cli.main import main
from tests.toy import ToyModel

FEW = ("--steps", "2", "--prompts", "low", "--seeds", "1")


@pytest.fixture
def loaded(toy: ToyModel, monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    monkeypatch.setattr("safa_stream.models.load", lambda name, backend: toy)
    return toy


def test_paper_prints_one_object_and_writes_page_figures_and_plots(
    loaded: ToyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "experiments"
    words = ["eval", "paper", "--quick", *FEW, "--views", "2,3", "--methods", "md,safa", "--json", "--out", str(folder)]
    monkeypatch.setattr("sys.argv", ["safa-stream", *words, "--quiet"])
    assert main(words) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [(row["method"], row["views"]) for row in told["rows"]] == [
        ("Reference", 2),
        ("MD", 2),
        ("SaFa", 2),
        ("SaFa", 3),
    ]
    assert told["guidance"] == 3.5 and "[1/5] low, seed 0: native views" in said.err
    assert {path.name for path in folder.iterdir()} == {
        "paper.md",
        "paper.json",
        "paper-change.svg",
        "paper-change.png",
    }
    assert json.loads((folder / "paper.json").read_text())["rows"] == told["rows"]
    page = (folder / "paper.md").read_text()
    # Where a file lies on somebody's machine is no one's business.
    assert "--out experiments`" in page and str(tmp_path) not in page


@pytest.mark.parametrize(
    ("words", "name"),
    [(("fourier",), "fourier"), (("connectivity",), "connectivity"), (("sweep", "views"), "sweep-views")],
)
def test_analyses_and_sweeps_write_their_pages(
    loaded: ToyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], name: str
) -> None:
    more = ("--values", "2,3") if words[0] == "sweep" else ()
    assert main(["eval", *words, *FEW, *more, "--quiet", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "toy 1" in said.out and not said.err
    page = (tmp_path / f"{name}.md").read_text()
    assert page.startswith("# ") and (tmp_path / f"{name}.json").exists()
    for line in page.splitlines():
        if line.startswith("!["):
            picture = tmp_path / line.partition("](")[2].rstrip(")")
            assert picture.exists() and picture.with_suffix(".png").exists()


def test_ctrl_c_ends_with_one_line_and_leaves_no_files(
    loaded: ToyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("safa_stream.evaluation.paper.making.canvas", stopped)
    assert main(["eval", "paper", *FEW, "--quiet", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.strip() == "safa-stream: interrupted" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("paper", "--methods", "magic"), "no method is called magic"),
        (("paper", "--classifier", "none.tflite"), "no classifier at none.tflite"),
        (("paper", "--views", "1,3"), "--views takes numbers from 2"),
        (("paper", "--fad", "none.onnx"), "no embedding network at none.onnx"),
        (("sweep", "magic"), "no sweep is called 'magic'"),
        (("sweep", "interval", "--values", "x"), "'x' is not a whole number"),
    ],
)
def test_mistakes_are_one_line(
    loaded: ToyModel, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert main(["eval", *words]) == 2
    said = capsys.readouterr().err
    assert (message in said or "pip install" in said) and said.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_line(
    loaded: ToyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["eval", "paper", *FEW, "--methods", "safa", "--quiet", "--out", str(tmp_path / "file")]) == 1
    assert "cannot write to" in capsys.readouterr().err


def test_rows_that_reach_into_the_network_run_on_torch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--prompts", "rain", "--steps", "2", "--views", "2", "--methods", "md,mad,syncd", "--backend", "torch")
    assert main(["eval", "paper", "--quick", *words, "--json", "--quiet", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in told["rows"]] == ["Reference", "MD", "MAD", "SyncDiffusion"]
    assert [row["denoiser_calls"] for row in told["rows"]] == [4, 4, 4, 8]
    assert told["backend"] == "torch" and told["distance"] == "log-mel statistics"
    page = (tmp_path / "paper.md").read_text()
    assert "on backend torch" in page and "by the gradient of log-mel statistics" in page
    assert main(["eval", "paper", "--quick", *words[:6], "--methods", "mad", "--backend", "onnx"]) == 1
    said = capsys.readouterr().err
    assert "use --backend torch" in said and said.count("\n") == 1


def test_the_built_in_model_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--prompts", "rain", "--steps", "2", "--views", "3", "--methods", "md-0.8,safa", "--json", "--quiet")
    assert main(["eval", "paper", "--quick", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["seconds"] for row in rows] == [6.4, 15.36, 15.36]
    # 12 views of overlap 0.8 beside 3 of 0.2 and the reference in one of two steps.
    assert [row["denoiser_calls"] for row in rows] == [6, 24, 7]
    assert 0.5 < rows[2]["aliasing_ratio"] < 2.0
