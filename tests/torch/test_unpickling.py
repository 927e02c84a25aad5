"""Pickled weights become safetensors on purpose only, and a file that would run code runs none."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from safa_stream.cli import main
from safa_stream.errors import ModelError
from safa_stream.models import load
from safa_stream.models.pretrained.unpickling import convert
from tests.torch.checkpoints import write

pytestmark = pytest.mark.filterwarnings("ignore")
OLD = {"diffusion_pytorch_model": "diffusion_pytorch_model", "model": "pytorch_model"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole"), "audioldm")


@pytest.fixture
def pickled(whole: Path, tmp_path: Path) -> Path:
    """The checkpoint as older libraries saved it, one component in two shards."""
    folder = tmp_path / "pickled"
    shutil.copytree(whole, folder)
    for path in sorted(folder.glob("*/*.safetensors")):
        state, old = load_file(path), OLD[path.stem]
        path.unlink()
        if path.parent.name != "vocoder":
            torch.save(state, path.with_name(f"{old}.bin"))
            continue
        names = sorted(state)
        halves = {"00001": names[: len(names) // 2], "00002": names[len(names) // 2 :]}
        for number, held in halves.items():
            torch.save({name: state[name] for name in held}, path.with_name(f"{old}-{number}-of-00002.bin"))
        files = {name: f"{old}-{number}-of-00002.bin" for number, held in halves.items() for name in held}
        path.with_name(f"{old}.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


class Harmful:
    """What runs a command when it is unpickled by a reader that is not careful."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.mark}",)


def test_a_converted_checkpoint_holds_the_same_weights(
    whole: Path, pickled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match="safa-stream convert"):
        load(str(pickled), "torch")
    out = tmp_path / "safe"
    assert main(["convert", str(pickled), "--out", str(out), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert "vocoder/model-00002-of-00002.safetensors" in written and not list(out.glob("**/*.bin"))
    for path in whole.glob("*/*.safetensors"):
        made: dict[str, torch.Tensor] = {}
        for file in (out / path.parent.name).glob("*.safetensors"):
            made |= load_file(file)
        held = load_file(path)
        assert made.keys() == held.keys()
        assert all(torch.equal(made[name], held[name]) for name in held)
    facts = load(str(whole), "torch").facts
    assert load(str(out), "torch").facts == replace(facts, name="safe")


def test_a_file_that_would_run_code_is_refused_and_leaves_nothing(pickled: Path, tmp_path: Path) -> None:
    mark, out = tmp_path / "ran", tmp_path / "safe"
    with (pickled / "unet" / "diffusion_pytorch_model.bin").open("wb") as file:
        pickle.dump({"weight": Harmful(mark)}, file)
    with pytest.raises(ModelError, match="holds more than weights") as error:
        convert(pickled, out)
    assert "\n" not in str(error.value)
    assert not mark.exists() and not out.exists() and not out.with_name("safe.partial").exists()


def test_what_cannot_be_converted_is_said(whole: Path, pickled: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to convert"):
        convert(whole, tmp_path / "out")
    with pytest.raises(ModelError, match="no.* checkpoint directory|not a checkpoint"):
        convert(tmp_path, tmp_path / "out")
    (pickled / "vocoder" / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ModelError, match="is incomplete"):
        convert(pickled, tmp_path / "out")
    assert main(["convert", str(pickled), "--out", str(pickled)]) in (1, 2)
