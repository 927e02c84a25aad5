"""Pretrained models that cannot be used, and what they cannot do: one line that says what and where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from safa_stream.errors import ModelError, SafaError, UsageError
from safa_stream.models import load
from safa_stream.models.pretrained.base import weighted
from safa_stream.models.pretrained.computing import Computing, open_computing
from safa_stream.models.pretrained.texts import not_understood
from safa_stream.scene import parse_prompts
from tests.torch.checkpoints import roberta_tokenizer, t5_tokenizer, write

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole"), "audioldm2")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pickled(folder: Path) -> None:
    (folder / "text_encoder_2" / "model.safetensors").rename(folder / "text_encoder_2" / "pytorch_model.bin")


def halved(folder: Path) -> None:
    path = folder / "language_model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_tensors(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "text_encoder" / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if "text_projection" not in name}
    save_file(kept, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (pickled, "text_encoder_2 holds only pickled weights"),
        (halved, "language_model cannot be loaded as a GPT2LMHeadModel"),
        (without_tensors, "text_encoder are no ClapModel: . missing"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "is incomplete: the folder tokenizer is missing"),
        (lambda folder: shutil.rmtree(folder / "projection_model"), "the folder projection_model is missing"),
        (lambda folder: (folder / "vocoder" / "model.safetensors").unlink(), "vocoder holds no weights"),
        (
            lambda folder: edit(folder / "model_index.json", _class_name="FluxPipeline"),
            "is a FluxPipeline, which is not known; known are AudioLDMPipeline",
        ),
        (lambda folder: edit(folder / "text_encoder_2" / "config.json", model_type="vits"), "an AudioLDM2 that speaks"),
        (
            lambda folder: (folder / "tokenizer_2" / "tokenizer.json").write_text("{"),
            "tokenizer_2 holds no T5Tokenizer",
        ),
        (
            lambda folder: edit(folder / "language_model" / "config.json", n_embd=16),
            "language_model|the unet attends to vectors",
        ),
    ],
)
def test_damaged_checkpoints_are_named(whole: Path, tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    damage(folder)
    with pytest.raises(ModelError, match=said) as error:
        load(str(folder), "torch")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nothing", "./no/such/folder", "a/b/c"])
def test_names_that_mean_no_model(name: str) -> None:
    with pytest.raises(ModelError, match="no such model"):
        load(name)


@pytest.mark.parametrize(
    ("backend", "error", "said"),
    [
        ("onnx", ModelError, "run on the backends torch, torch-cuda and torch-mps, not on onnx"),
        ("torch-cuda:cuda-graphs", UsageError, "do not take the backend option cuda-graphs"),
        ("torch:fp16", UsageError, "does not compute in fp16"),
        ("tensorflow", UsageError, "no backend is called 'tensorflow'"),
    ],
)
def test_backends_that_cannot_be_used(whole: Path, backend: str, error: type[SafaError], said: str) -> None:
    with pytest.raises(error, match=said):
        load(str(whole), backend)


def test_views_that_the_model_does_not_take(whole: Path) -> None:
    model = load(str(whole), "torch")
    told = model.encode(parse_prompts("rain"), (), 0)
    x = torch.zeros(1, model.facts.latent_channels, 33, model.facts.latent_bins)
    with pytest.raises(UsageError, match="takes views of a multiple of 2 frames, not of 33"):
        model.denoise(x, torch.tensor([1.0]), told.conditioning, told.negative, torch.tensor([2.0]))


def test_views_of_another_length(whole: Path) -> None:
    own, short = load(str(whole), "torch").facts, load(f"{whole}@0.3", "torch").facts
    # 400 frames a second in steps of 2.
    assert (own.view_frames, short.view_frames) == (256, 120)
    assert short.version == f"{own.version}@120" and short.name == own.name
    with pytest.raises(UsageError, match=r"takes views of 0.02 s or more, in steps of 0.005 s, not 0.001 s"):
        load(f"{whole}@0.001", "torch")
    with pytest.raises(UsageError, match="only pretrained models take views of another length, not builtin@3"):
        load("builtin@3")


def test_out_of_memory_says_what_to_lower() -> None:
    computing = open_computing("torch")
    with pytest.raises(ModelError, match="out of memory on the CPU; try fewer layers") as error, computing.running():
        torch.empty(1 << 50)
    assert "\n" not in str(error.value)
    on_gpu = Computing(computing.backend, torch.device("cpu"), torch.float32)
    with pytest.raises(ModelError, match="out of memory"), on_gpu.memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_other_errors_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="shapes"), open_computing("torch").running():
        raise RuntimeError("shapes do not fit")


def test_words_past_the_end_and_words_without_a_token(tmp_path: Path) -> None:
    words = t5_tokenizer(tmp_path / "t5")
    assert not_understood(words, "rain on a zebra tent", 100) == ("zebra",)
    assert not_understood(words, "rain on a tent far sea", 5) == ("far", "sea")
    assert not_understood(words, "", 5) == ()
    # Two of RoBERTa's tokens are its own; here every byte is one.
    spelled = roberta_tokenizer(tmp_path / "roberta")
    assert not_understood(spelled, "rain tent sea", 11) == ("sea",)
    assert not_understood(spelled, "rain on a tent", 512) == ()


def test_means_of_masked_texts_are_over_those_that_are_there() -> None:
    long = {"text": torch.full((1, 3, 2), 4.0), "text_mask": torch.tensor([[1, 1, 0]]), "label": torch.ones(1, 2)}
    short = {"text": torch.full((1, 3, 2), 8.0), "text_mask": torch.tensor([[1, 0, 0]]), "label": torch.zeros(1, 2)}
    mean = weighted([long, short], [3.0, 1.0])
    assert mean["text"][0, :, 0].tolist() == [5.0, 4.0, 0.0]
    assert mean["text_mask"].tolist() == [[1, 1, 0]]
    assert mean["label"].tolist() == [[0.75, 0.75]]
