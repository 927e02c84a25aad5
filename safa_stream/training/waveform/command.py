"""From a folder of recordings to a small Stable Audio: autoencoder first, then the transformer over its latents.

An autoencoder that is there is kept, and a transformer that is there is trained further: so the same command, repeated,
goes on. A stage that is interrupted leaves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from safa_stream.models.pretrained.checkpoint import Kind, read_component
from safa_stream.models.pretrained.families import open_pretrained
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.stable_audio import StableAudio
from safa_stream.training.trainer import TrainingConfig, check_device
from safa_stream.training.waveform.autoencoder import train_autoencoder
from safa_stream.training.waveform.checkpoint import write_untrained
from safa_stream.training.waveform.sounds import read_sounds
from safa_stream.training.waveform.transformer import encode, train_transformer

#: What was trained so far, beside the checkpoint.
HISTORY = "training.json"
#: The autoencoder's share of the time.
AUTOENCODER_SHARE = 0.55


def train(folder: Path, out: Path, licence: str, config: TrainingConfig, report: Callable[[str], None]) -> Path:
    """Train for `config.minutes` and write the checkpoint `out`.

    Raises:
        TrainingDataError: the folder holds no recording that can be used.
        UsageError: the device cannot be used.
    """
    check_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    sounds = read_sounds(folder, report)
    report(f"{len(sounds.labels)} sounds: {', '.join(sounds.labels)}")
    history = _history(out)
    if not (out / "model_index.json").exists():
        write_untrained(out, sounds.labels, licence, config.seed)
    vae = read_component(out, Kind("vae", "AutoencoderOobleck")).load()
    minutes = config.minutes
    if "autoencoder" not in history:
        report(f"training the autoencoder for {minutes * AUTOENCODER_SHARE:g} minutes")
        history["autoencoder"] = train_autoencoder(vae, sounds, minutes * AUTOENCODER_SHARE, config, report)
        _keep(vae, "vae", out, history, report)
        minutes *= 1 - AUTOENCODER_SHARE
    latents = encode(vae.to(config.device).eval(), sounds, config.device)
    backend = "torch" if config.device == "cpu" else f"torch-{config.device.split(':')[0]}"
    model = open_pretrained(out, backend)
    assert isinstance(model, StableAudio)
    report(f"training the transformer for {minutes:g} minutes")
    history["transformer"] = train_transformer(model, sounds, latents, minutes, config, report)
    _keep(model.transformer, "transformer", out, history, report)
    return out


def _keep(module: Any, name: str, out: Path, history: dict[str, Any], report: Callable[[str], None]) -> None:
    with quiet():
        module.save_pretrained(out / name)
    (out / HISTORY).write_text(json.dumps(history, indent=2), encoding="utf-8")
    report(f"{name}: {json.dumps(list(history.values())[-1])}")


def _history(out: Path) -> dict[str, Any]:
    path = out / HISTORY
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
