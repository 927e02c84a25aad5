"""Backends by name, what "auto" stands for, and what is said of those that cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safa_exporters import calibrate, comparing, doctor
from safa_stream.cli import main
from safa_stream.errors import ModelError, OutputError, UsageError
from safa_stream.models import load
from safa_stream.models.backends import choice
from safa_stream.models.backends.graphs import open_graph
from safa_stream.models.backends.machine import Machine, here
from safa_stream.models.backends.spec import ENGINES, Backend, parse
from safa_stream.models.builtin.network import open_network
from safa_stream.models.builtin.weights import SHIPPED, WEIGHTS_NAME, layout_digest, load_weights

MODEL = "0123456789abcdef"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("SAFA_STREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "name", ["onnx", "onnx:int8", "onnx:threads=1", "onnx:int8,threads=3", "torch-cuda:bf16,compile", "openvino:bf16"]
)
def test_names_are_read_and_written(name: str) -> None:
    assert str(parse(name)) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "no backend is called 'gpu'; there are auto, onnx"),
        ("onnx:bf16", "backend onnx does not compute in bf16; it takes fp32, int8"),
        ("onnx:compile", "has no option 'compile'"),
        ("onnx:threads=0", "threads must be from 1"),
        ("onnx:threads=many", "is not threads=N"),
    ],
)
def test_wrong_names_are_explained(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(name)


def test_every_thread_count_and_batch_gives_the_same_sound() -> None:
    weights, given = load_weights(), comparing.inputs(load_weights(), 3)
    one, two = (np.array(open_network(weights, parse(f"onnx:threads={n}"))(*given)) for n in (1, 2))
    assert np.allclose(one, two, atol=1e-5)


def test_results_of_other_shapes_do_not_mix() -> None:
    weights = load_weights()
    network = open_network(weights, Backend())
    small, large = comparing.inputs(weights, 1), comparing.inputs(weights, 2, 64)
    first = np.array(network(*small))
    network(*large)
    again = np.array(network(*small))
    assert np.array_equal(first, again)


def test_auto_is_what_was_measured_here(cache: Path) -> None:
    machine = here()
    assert choice.automatic(MODEL, machine).origin == "default"
    choice.keep(MODEL, parse("onnx:threads=1"), machine, {})
    found = choice.automatic(MODEL, machine)
    assert (str(found.backend), found.origin) == ("onnx:threads=1", "calibrated")
    assert choice.automatic("another", machine).origin == "default"
    assert choice.chosen("onnx", MODEL).backend == Backend(), "a name that is given counts"


def test_auto_of_another_machine_is_not_used(cache: Path) -> None:
    machine = here()
    choice.keep(MODEL, parse("onnx:threads=1"), machine, {})
    other = Machine(machine.processor, machine.cores, machine.features, ("H100, driver 1",), machine.packages)
    assert choice.automatic(MODEL, other).origin == "stale"
    newer = Machine(machine.processor, machine.cores, machine.features, (), {**machine.packages, "onnxruntime": "9"})
    assert choice.automatic(MODEL, newer) == choice.Choice(Backend(), "stale")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "safa-backends-1", "models": 3}', '{"format": "x"}'])
def test_a_damaged_cache_is_as_none(cache: Path, content: str) -> None:
    cache.mkdir()
    (cache / choice.FILE).write_text(content)
    assert choice.automatic(MODEL, here()).origin == "default"
    choice.keep(MODEL, Backend(), here(), {})
    assert choice.automatic(MODEL, here()).origin == "calibrated"


def test_a_cache_that_cannot_be_written_is_said(cache: Path) -> None:
    cache.write_text("a file, no folder")
    with pytest.raises(OutputError, match="cannot keep the choice"):
        choice.keep(MODEL, Backend(), here(), {})


def test_a_choice_that_has_gone_does_not_stop_sound(cache: Path) -> None:
    weights = load_weights()
    choice.keep(weights.digest, parse("onnx-directml"), here(), {})
    assert load().facts.sounds, "auto goes on with what is there"
    with pytest.raises(ModelError, match="cannot run onnx-directml"):
        load(backend="onnx-directml")


def test_falling_back_to_another_provider_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists a GPU's provider without a GPU, and then silently computes on the CPU."""
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: real(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(ModelError, match="fell back to CPUExecutionProvider when asked for CUDAExecutionProvider"):
        open_graph(SHIPPED / "denoiser.onnx", Backend("onnx-cuda"))


def test_shapes_that_a_graph_cannot_take_are_one_line() -> None:
    graph = open_graph(SHIPPED / "denoiser.onnx", Backend())
    given = dict(
        zip(("noisy", "level", "condition", "context", "known"), comparing.inputs(load_weights(), 1), strict=True)
    )
    with pytest.raises(ModelError, match="cannot run on these shapes") as caught:
        graph({**given, "condition": given["condition"][:, :7]})
    assert "\n" not in str(caught.value)
    assert np.isfinite(graph(given)).all(), "the graph still works"


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("onnx:int8", "needs, is missing; make a model that has it with: safa-stream export"),
        ("tpu", "no backend is called"),
    ],
)
def test_render_says_what_is_missing(
    backend: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.wav"
    assert main(["render", "rain", "--backend", backend, "--duration", "1", "--out", str(out)]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not out.exists()


def test_doctor_finds_two_packages_over_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = here()
    both = Machine(machine.processor, 2, (), (), {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"})
    monkeypatch.setattr(doctor, "here", lambda: both)
    found = doctor.examine("builtin")
    assert found.wrong and "pip uninstall -y onnxruntime onnxruntime-gpu" in found.wrong[0]


def test_doctor_says_what_would_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine("a processor", 8, ("avx512_bf16",), ("NVIDIA H100, driver 1",), {"onnxruntime": "1.32.0"})
    monkeypatch.setattr(doctor, "here", lambda: machine)
    said = doctor.text(doctor.examine("builtin"))
    assert "there is a GPU and nothing that uses it" in said
    assert "this processor computes in bf16: pip install openvino" in said
    assert "safa-stream calibrate finds" in said


def test_doctor_command_tells_all_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["engines"]) == set(ENGINES)
    assert said["engines"]["onnx"] == "works"


def test_calibration_is_kept_and_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparing, "TURNS", 2)
    monkeypatch.setattr(comparing.in_turns, "__defaults__", (2, 5.0))
    assert main(["calibrate", "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kept"] == str(cache / choice.FILE)
    measured = {row["backend"]: row for row in said["measured"]}
    assert "onnx" in measured and all(row["precision"] == "fp32" for row in said["measured"])
    assert all(row["relative_error"] < 1e-4 for row in said["measured"])
    assert str(choice.automatic(load_weights().digest, here()).backend) == said["backend"]


def test_calibrate_prefers_the_safe_default_where_it_is_as_fast() -> None:
    rows = [
        comparing.Row(name, "fp32", batch, seconds * batch, None, 0.0)
        for name, seconds in (("onnx", 1.01), ("onnx:threads=1", 1.0))
        for batch in calibrate.DECIDING
    ]
    assert calibrate._cost(rows, "onnx") <= calibrate.WORTH * calibrate._cost(rows, "onnx:threads=1")


def test_another_engine_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match="openvino is not installed: pip install openvino"):
        open_graph(SHIPPED / "denoiser.onnx", Backend("openvino"))


def test_ctrl_c_is_handled_after_openvino_has_gone(tmp_path: Path) -> None:
    """Graphs are closed in the order in which they were opened, then the process is interrupted."""
    script = (
        "import gc, os, signal\n"
        "from safa_stream.models.backends.graphs import open_graph\n"
        "from safa_stream.models.backends.spec import Backend\n"
        "from safa_stream.models.builtin.weights import DECODER_NAME, GRAPH_NAME, SHIPPED\n"
        "graphs = [open_graph(SHIPPED / name, Backend('openvino')) for name in (DECODER_NAME, GRAPH_NAME)]\n"
        "while graphs:\n"
        "    graphs.pop(0)\n"
        "    gc.collect()\n"
        "signal.signal(signal.SIGINT, lambda number, frame: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_environment())
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


def test_rendering_does_not_import_torch(tmp_path: Path) -> None:
    words = ["render", "rain", "--duration", "1", "--steps", "2", "--quiet", "--out", str(tmp_path / "x.wav")]
    script = (
        f"import sys; from safa_stream.cli import main; code = main({words!r}); "
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules; sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_environment())
    assert ended.returncode == 0, ended.stderr


def test_a_graph_of_another_model_is_refused(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "model"))
    graph = (copy / "denoiser.onnx").read_bytes()
    digest = layout_digest(copy / WEIGHTS_NAME).encode()
    (copy / "denoiser.onnx").write_bytes(graph.replace(digest, b"0" * len(digest)))
    with pytest.raises(ModelError, match="made for other weights"):
        load(str(copy))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_sixteen_digits_change_with_the_machine() -> None:
    machine = here()
    more = Machine(machine.processor, machine.cores + 1, machine.features, machine.gpus, machine.packages)
    assert machine.digest != more.digest and len(machine.digest) == 16


def test_what_was_compiled_is_kept_for_this_machine_only(cache: Path) -> None:
    load(backend="openvino")
    kept = list((cache / "compiled").iterdir())
    assert [folder.name for folder in kept] == [f"{load_weights().digest[:16]}-{here().digest}"]
    assert list(kept[0].iterdir()), "the next start is faster"
