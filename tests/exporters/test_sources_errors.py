"""Checkpoint directories that cannot be used are refused in one line that says why."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safa_exporters.sources.architectures import TINY, write_checkpoint
from safa_exporters.sources.checkpoint import open_checkpoint
from safa_exporters.sources.sampling import table
from safa_stream.errors import ModelError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
WEIGHTS = "diffusion_pytorch_model.safetensors"
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that can be opened."""
    folder = write_checkpoint(tmp_path_factory.mktemp("sound"), TINY["audioldm"])
    open_checkpoint(folder)
    return folder


def edited(name: str, **changes: Any) -> Damage:
    """Change entries of a JSON file; None takes one out."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return damage


def written(name: str, content: str | bytes) -> Damage:
    """Write a file, over what is there."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def removed(name: str) -> Damage:
    """Take a file or folder away."""
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def renamed(name: str, *others: str) -> Damage:
    """Give a file another name, or several."""

    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        for other in others:
            (folder / name).with_name(other).write_bytes(content)

    return damage


def sharded(keep: int, extra: str | None = None) -> Damage:
    """Cut the U-Net's weights into three shards with an index; keep some; add one that the index does not name."""

    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        whole = folder / "unet" / WEIGHTS
        tensors = load_file(whole)
        whole.unlink()
        names = sorted(tensors)
        listed: dict[str, str] = {}
        for shard in range(3):
            file = f"diffusion_pytorch_model-0000{shard + 1}-of-00003.safetensors"
            held = names[shard::3]
            listed |= dict.fromkeys(held, file)
            if shard < keep:
                save_file({name: tensors[name].contiguous() for name in held}, folder / "unet" / file)
        (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": listed}))
        if extra:
            save_file({"more": tensors[names[0]]}, folder / "unet" / extra)

    return damage


DAMAGED: list[tuple[Damage, str]] = [
    (removed("model_index.json"), "not a checkpoint directory in diffusers layout"),
    (written("model_index.json", "{"), "not valid JSON"),
    (written("model_index.json", "[1]"), "is not the index of a diffusers pipeline"),
    (edited("model_index.json", _class_name=None), "does not name the pipeline's class"),
    (edited("model_index.json", _class_name="StableDiffusionPipeline"), "not known; known are AudioLDMPipeline, Music"),
    (edited("model_index.json", _class_name="StableAudioPipeline"), "the folder transformer is missing"),
    (edited("model_index.json", _class_name="AudioLDM2Pipeline"), "should be of a AudioLDM2UNet2DConditionModel, not"),
    (removed("vocoder"), "the folder vocoder is missing"),
    (removed("scheduler"), "scheduler_config.json cannot be read"),
    (edited("scheduler/scheduler_config.json", _class_name=None), "does not name the scheduler's class"),
    (removed("vae/config.json"), "config.json cannot be read"),
    (written("vae/config.json", b"\xff\xfe"), "not valid JSON"),
    (edited("unet/config.json", _class_name="UNet2DModel"), "should be of a UNet2DConditionModel, not of UNet2DModel"),
    (edited("unet/config.json", block_out_channels=[8, 16, 16]), "no UNet2DConditionModel can be made"),
    (
        edited("unet/config.json", block_out_channels=[8, 24], norm_num_groups=4),
        "do not fit its config.json: .* of other shape",
    ),
    (edited("unet/config.json", layers_per_block=2), r"do not fit its config.json: \d+ missing .*"),
    (edited("unet/config.json", class_embed_type=None, class_embeddings_concat=False), "unknown"),
    (removed(f"unet/{WEIGHTS}"), f"holds no weights: {WEIGHTS} is missing"),
    (renamed(f"unet/{WEIGHTS}", "diffusion_pytorch_model.bin"), "only pickled weights .*can run code"),
    (renamed("vocoder/model.safetensors", "pytorch_model.bin"), "only pickled weights .*can run code"),
    (
        renamed(f"vae/{WEIGHTS}", "diffusion_pytorch_model.a.safetensors", "diffusion_pytorch_model.b.safetensors"),
        "several",
    ),
    (written(f"unet/{WEIGHTS}.index.json", "{}"), "holds both"),
    (written(f"unet/{WEIGHTS}", b"PK\x03\x04 a pickle in disguise"), "damaged or no safetensors file"),
    (sharded(2), "00003-of-00003.safetensors, a shard that .* names, is missing"),
    (sharded(3, "diffusion_pytorch_model-00001-of-00002.safetensors"), "of another set of shards"),
    (edited("vocoder/config.json", model_in_dim=9), "do not fit its config.json"),
]


@pytest.mark.parametrize("damage, message", DAMAGED, ids=[message[:40] for _, message in DAMAGED])
def test_what_is_wrong_is_said_in_one_line(sound: Path, tmp_path: Path, damage: Damage, message: str) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(sound, folder)
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_truncated_weights(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(sound, folder)
    weights = folder / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ModelError, match="damaged"):
        open_checkpoint(folder)


def test_a_shard_in_another_folder_is_not_followed(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(sound, folder)
    (folder / "unet" / WEIGHTS).unlink()
    listed = {"weight_map": {"conv_in.weight": f"../vae/{WEIGHTS}"}}
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps(listed))
    with pytest.raises(ModelError, match="is missing"):
        open_checkpoint(folder)


def test_parts_that_do_not_fit_each_other(tmp_path: Path) -> None:
    odd = TINY["stable-audio"].with_configs(vae=TINY["stable-audio"].configs["vae"] | {"decoder_input_channels": 5})
    with pytest.raises(ModelError, match="6 and 5 latent channels"):
        open_checkpoint(write_checkpoint(tmp_path / "waves", odd))
    odd = TINY["audioldm"].with_configs(vocoder=TINY["audioldm"].configs["vocoder"] | {"model_in_dim": 10})
    with pytest.raises(ModelError, match="10 mel bins in steps of 2"):
        open_checkpoint(write_checkpoint(tmp_path / "mels", odd))
    odd = TINY["audioldm2"].with_configs(unet=TINY["audioldm2"].configs["unet"] | {"cross_attention_dim": [16, 16]})
    with pytest.raises(ModelError, match="attends to two sequences"):
        open_checkpoint(write_checkpoint(tmp_path / "pairs", odd))


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such checkpoint directory"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_a_library_that_is_not_installed_is_named(sound: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModelError, match=rf"needs {library} .*pip install 'safa-stream\[torch\]'"):
        open_checkpoint(sound)


@pytest.mark.parametrize(
    ("config", "steps", "said"),
    [
        ({"_class_name": "AutoencoderKL"}, 4, "AutoencoderKL is not supported; use"),
        ({"_class_name": "PNDMScheduler", "beta_schedule": "none"}, 4, "beta schedule 'none' is not supported"),
        ({"_class_name": "DDIMScheduler"}, 2000, "whole number of steps from 1 to 1000"),
        ({"_class_name": "DDIMScheduler"}, 0, "whole number of steps from 1 to 1000"),
    ],
)
def test_schedulers_that_cannot_be_had(config: dict[str, Any], steps: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        table(config, steps)
