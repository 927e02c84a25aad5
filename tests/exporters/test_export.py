"""`safa-stream export` on models of the built-in kind: what it writes, holds against the original, and refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from safa_exporters import exporting, manifest
from safa_exporters.graph import Sampling
from safa_exporters.parts import exported
from safa_exporters.writing import Target
from safa_stream.cli import main
from safa_stream.engine import chunks
from safa_stream.errors import ModelError, UsageError
from safa_stream.models import load
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.weights import WEIGHTS_NAME
from safa_stream.scene import Scene, parse_prompts
from tests.exporters.small_models import small_model

SHORT = (Sampling(steps=3, guidance=3.5, frames=64), Sampling(steps=2, guidance=1.0, seed=5, frames=40))


def quiet(line: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module", params=["dit", "unet"])
def network(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with each kind of network."""
    return model if request.param == "dit" else small_model(tmp_path_factory.mktemp("unet") / "small", "unet")


@pytest.fixture(scope="module")
def export(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export with the fused step and swap."""
    folder = tmp_path_factory.mktemp("export") / "fused"
    exporting.export(exporting.open_source(str(model), "swap"), Target(folder, "fp32"), quiet)
    return folder


@pytest.fixture
def copied(export: Path, tmp_path: Path) -> Path:
    """The export, to be damaged."""
    return Path(shutil.copytree(export, tmp_path / "copied"))


def test_both_networks_equal_their_originals(network: Path, tmp_path: Path) -> None:
    source = exporting.open_source(str(network))
    exporting.export(source, Target(tmp_path / "out", "fp32"), quiet)
    parity = exporting.verify_folder(tmp_path / "out", source, quiet, SHORT)
    assert parity.verified
    assert all(0 < graph.relative_error < 1e-5 for graph in parity.graphs)
    kept = manifest.read(tmp_path / "out")
    assert kept.verified and kept.parity is not None
    assert kept.parity["graphs"][0]["calls"] > len(kept.parity["graphs"][0]["steps"]) > 0


def test_an_export_is_a_model(model: Path, export: Path) -> None:
    prompt = "rain"
    original, exported = (_first_chunk(folder, prompt) for folder in (model, export))
    assert np.array_equal(original, exported)


def test_exports_are_deterministic(model: Path, export: Path, tmp_path: Path) -> None:
    exporting.export(exporting.open_source(str(model), "swap"), Target(tmp_path / "again", "fp32"), quiet)
    assert {p.name: digest(p) for p in (tmp_path / "again").iterdir()} == {p.name: digest(p) for p in export.iterdir()}


def test_fused_steps_equal_their_parts(model: Path, export: Path) -> None:
    parity = exporting.verify_folder(export, exporting.source_of(export, str(model)), quiet, SHORT)
    assert [graph.name for graph in parity.graphs] == ["denoiser", "decoder", "step"]
    assert parity.verified
    # Half of the sound is made by the fused steps: it equals that of denoiser, guidance and solver.
    sound = exporting.open_source(str(model), "swap").sample(
        {entry.name: running(export, entry) for entry in manifest.read(export).graphs}, SHORT[0]
    )
    assert np.abs(sound[0] - sound[1]).max() < 1e-3 * np.abs(sound[0]).max()


def test_the_fused_swap_takes_what_is_marked(export: Path) -> None:
    entry = next(each for each in manifest.read(export).graphs if each.name == "step")
    run, draw = running(export, entry), np.random.default_rng(0)
    shapes = {name: tuple({"batch": 3}.get(str(size), 64) if isinstance(size, str) else size for size in shape)
              for name, shape in entry.inputs.items()}  # fmt: skip
    given = {name: draw.random(shape).astype(np.float32) for name, shape in shapes.items()}
    given["taken"] = (draw.random((3, 64)) < 0.5).astype(np.float32)
    swapped = run(given)
    free = run({**given, "taken": np.zeros_like(given["taken"])})
    taken = given["taken"] > 0
    assert np.array_equal(swapped[0][taken], given["cached_x"][taken])
    assert np.array_equal(swapped[1][taken], given["cached_h"][taken])
    assert np.array_equal(swapped[:, ~taken], free[:, ~taken])


def test_int8_is_smaller_and_runs_by_name(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8"
    exporting.export(exporting.open_source(str(model)), Target(out, "int8"), quiet)
    narrow = onnx.load(out / "denoiser.int8.onnx")
    assert sum(node.op_type == "MatMulInteger" for node in narrow.graph.node) >= 3
    wide, small = _first_chunk(out, "rain"), _first_chunk(out, "rain", "onnx:int8")
    off = np.linalg.norm(wide - small) / np.linalg.norm(wide)
    assert 0 < off < 0.5


def test_fp16_graphs_are_near(model: Path, tmp_path: Path) -> None:
    source = exporting.open_source(str(model))
    exporting.export(source, Target(tmp_path / "fp16", "fp16"), quiet)
    parity = exporting.verify_folder(tmp_path / "fp16", source, quiet, SHORT[:1])
    assert parity.verified
    half = onnx.load(tmp_path / "fp16" / "denoiser.fp16.onnx", load_external_data=False).graph
    stored = {each.name for each in half.initializer if each.data_type == TensorProto.FLOAT16}
    products = [node for node in half.node if node.op_type in ("MatMul", "Gemm")]
    assert len([node for node in products if set(node.input) & stored]) >= 4, "products are in half precision"


@pytest.mark.parametrize("part", ["decoder", "step"])
def test_what_differs_is_not_verified(part: str, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The largest constant in a graph is changed by a twentieth, and the manifest agrees with the new file."""
    name = f"{part}.onnx"
    graph = onnx.load(copied / name, load_external_data=False)
    own = [each for each in graph.graph.initializer if each.data_location != TensorProto.EXTERNAL]
    changed = max((each for each in own if each.data_type == TensorProto.FLOAT), key=lambda each: len(each.raw_data))
    changed.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(changed) * np.float32(1.05), changed.name))
    (copied / name).write_bytes(graph.SerializeToString())
    text = (copied / "manifest.json").read_text()
    before = next(entry for entry in json.loads(text)["graphs"] if entry["name"] == part)["files"][name]
    (copied / "manifest.json").write_text(text.replace(before, digest(copied / name)))
    assert main(["export", "verify", str(copied), "--json", "--quiet"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is False
    assert manifest.read(copied).verified is False


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "step.onnx").unlink(), "step.onnx is missing"),
        (lambda folder: (folder / "denoiser.onnx").write_bytes(b"short"), "is damaged or of another export"),
        (
            lambda folder: (folder / "notes.txt").write_text("mine"),
            "holds notes.txt, which manifest.json",
        ),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": "x"}'), "is not of format safa-export-1"),
        (lambda folder: (folder / "manifest.json").unlink(), "is not an export"),
    ],
)
def test_damage_is_named(model: Path, copied: Path, damage: Any, message: str) -> None:
    source = exporting.open_source(str(model), "swap")
    damage(copied)
    with pytest.raises(ModelError, match=message):
        exporting.verify_folder(copied, source, quiet, SHORT)


def test_an_export_of_another_model_is_refused(copied: Path, tmp_path: Path) -> None:
    other = small_model(tmp_path / "other", seed=1, graphs=False)
    with pytest.raises(ModelError, match="was exported from another model"):
        exporting.verify_folder(copied, exporting.open_source(str(other), "swap"), quiet, SHORT)


def test_a_broken_off_export_goes_on(model: Path, tmp_path: Path) -> None:
    source, target, said = exporting.open_source(str(model), "step"), Target(tmp_path / "out", "fp32"), list[str]()

    def stop(line: str) -> None:
        if line.startswith("step: tracing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exporting.export(source, target, stop)
    assert not target.folder.exists()
    exporting.export(source, target, said.append)
    assert "denoiser: finished before" in said
    assert exporting.verify_folder(target.folder, source, quiet, SHORT[:1]).verified
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_good_export_outlives_a_full_disk(model: Path, copied: Path) -> None:
    """A limit on the size of files stands for the disk: what is written beyond it fails as there."""
    before = {p.name: digest(p) for p in copied.iterdir()}
    script = (
        "import resource, signal, sys\n"
        "from safa_stream.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        f"sys.exit(main(['export', {str(model)!r}, '--out', {str(copied)!r}, '--force', '--quiet']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert ended.returncode == 1
    assert ended.stderr.startswith("safa-stream: cannot write") and len(ended.stderr.splitlines()) == 1
    assert {p.name: digest(p) for p in copied.iterdir()} == before


def test_what_is_there_is_not_replaced_unasked(model: Path, copied: Path, tmp_path: Path) -> None:
    source = exporting.open_source(str(model))
    with pytest.raises(UsageError, match="is there already"):
        exporting.export(source, Target(copied, "fp32"), quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("chapter one")
    with pytest.raises(ModelError, match="is not an export"):
        exporting.export(source, Target(tmp_path / "mine", "fp32", force=True), quiet)
    assert (tmp_path / "mine" / "novel.txt").read_text() == "chapter one"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--out", "x"], "there is no model 'nowhere'"),
        (["builtin"], "say with --out"),
        (["builtin", "builtin", "--out", "x"], "give one model"),
        (["builtin", "--to", "tensorrt", "--out", "x"], "TensorRT is not installed"),
        (["verify", "nowhere"], "is not an export"),
        (["refit", "a.engine", "nowhere"], "is not an export"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def _first_chunk(folder: Path, prompt: str, backend: str = "onnx") -> np.ndarray[Any, Any]:
    return next(iter(chunks(load(str(folder), backend), Scene(parse_prompts(prompt), steps=2), 1.0))).samples


def running(folder: Path, entry: manifest.GraphEntry) -> Any:
    """A graph of an export as a part."""
    return exported(folder / next(iter(entry.files)), entry.inputs, Backend("onnx"))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def environment() -> dict[str, str]:
    """That a process of ours needs."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_weights_are_shared(export: Path) -> None:
    assert (export / "denoiser.onnx").stat().st_size < 0.2 * (export / WEIGHTS_NAME).stat().st_size
