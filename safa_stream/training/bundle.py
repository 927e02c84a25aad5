"""Put a trained denoiser, text encoder and decoder together into a model directory that `--model DIR` loads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from safa_stream.models.builtin.features import BANDS, FOLD, Array
from safa_stream.models.builtin.guiding import Guiding
from safa_stream.models.builtin.networks import NetworkConfig
from safa_stream.models.builtin.style import describe
from safa_stream.models.builtin.text import TextEncoder
from safa_stream.models.builtin.weights import CONFIG_NAME, FORMAT, WEIGHTS_NAME, digest
from safa_stream.training.distinctness import features, preference
from safa_stream.training.prepare import Prepared

#: Latents are arranged as this many channels; the rest are bins.
CHANNELS = 8
#: Passages whose styles are kept: one every so many latents, at most so many of a recording.
STYLE_LENGTH, STYLE_HOP, STYLES_A_RECORDING = 160, 80, 8
#: A recording without treble (made at a low rate) is chosen this much less often.
DULL_SHARE, DULL_LEVEL = 0.25, -15.0
#: A passage so much quieter than its recording's loudest (nats of power, 40 dB) is a pause and no style.
PAUSE = 9.2
DEFAULTS: Mapping[str, Any] = {
    "view_frames": 160,
    "overlap": 0.2,
    "steps": 12,
    "guidance": 3.5,
    "guidance_levels": [0.1, 0.95],
    "shift": 1.5,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a model directory says of itself."""

    name: str
    version: str
    licence: str


def style_bank(prepared: Prepared, text: TextEncoder) -> dict[str, Array]:
    """Styles of passages that training heard: rows [R, S], sounds [R], semantics [R, M], shares [R].

    A recording counts by the root of its length, and those passages more that could not as well be another sound.
    """
    rows, sounds, semantics, shares, recordings, described = [], [], [], [], [], []
    for passage in prepared.chosen(held_out=False):
        latents = prepared.latents[passage.start : passage.stop]
        if len(latents) < STYLE_LENGTH // 4:
            continue
        starts = list(range(0, max(1, len(latents) - STYLE_LENGTH + 1), STYLE_HOP))
        mids = prepared.latent_map.decode(latents)[:, : FOLD * BANDS]
        power = [np.log(np.exp(mids[start : start + STYLE_LENGTH].astype(np.float64)).mean()) for start in starts]
        starts = [start for start, own in zip(starts, power, strict=True) if own >= max(power) - PAUSE]
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, min(len(starts), STYLES_A_RECORDING)).astype(int)]
        meaning = text.encode(prepared.captions[passage.recording]).semantic
        treble = mids.reshape(-1, BANDS)[:, -12:].mean()
        share = len(latents) ** 0.5 / len(starts) * (DULL_SHARE if treble < DULL_LEVEL else 1.0)
        for start in starts:
            window = latents[start : start + STYLE_LENGTH]
            rows.append(describe(window))
            described.append(features(window))
            recordings.append(passage.recording)
            sounds.append(passage.label)
            semantics.append(meaning)
            shares.append(share)
    preferred = np.asarray(shares) * preference(np.stack(described), np.array(sounds), np.array(recordings))
    return {
        "rows": np.asarray(rows, np.float32),
        "sounds": np.asarray(sounds, np.float32),
        "semantics": np.asarray(semantics, np.float32),
        "shares": np.asarray(preferred / preferred.sum(), np.float32),
    }


def write_bundle(
    target: Path,
    identity: Identity,
    prepared: Prepared,
    network: NetworkConfig,
    denoiser: Mapping[str, Array],
    text: tuple[Mapping[str, np.ndarray[Any, Any]], Mapping[str, Any]],
    decoder: Mapping[str, Array],
    training: Mapping[str, Any],
    guiding: Guiding,
) -> None:
    """Write config.json and weights.safetensors into `target`; an earlier model is replaced only when all is written.

    The graph is the exporter's part and comes after. `denoiser` has the names of `trainer.Denoiser`; `guiding`: sounds
    that are guided otherwise than asked for, and how.
    """
    text_tensors, text_config = text
    tensors: dict[str, np.ndarray[Any, Any]] = {
        name: value.astype(np.float16)
        for name, value in denoiser.items()
        if name.startswith(("network.", "conditioner."))
    }
    tensors["styles.mean"], tensors["styles.scale"] = denoiser["style_mean"], denoiser["style_scale"]
    latent_map = prepared.latent_map
    tensors |= {f"latent.{n}": getattr(latent_map, n) for n in ("mean", "forward", "backward")}
    bank = style_bank(prepared, TextEncoder.from_tensors(dict(text_tensors), dict(text_config)))
    tensors |= {f"styles.{n}": value.astype(np.float16 if n != "shares" else np.float32) for n, value in bank.items()}
    tensors |= {f"text.{n}": value for n, value in text_tensors.items()}
    tensors |= {f"decoder.{n}": value.astype(np.float16) for n, value in decoder.items()}
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial / WEIGHTS_NAME)
    # safetensors writes its files readable by their owner alone; a model that ships must be readable by everyone.
    (partial / WEIGHTS_NAME).chmod(0o666 & ~_umask())
    config = {
        "format": FORMAT,
        "name": identity.name,
        "version": identity.version,
        "licence": identity.licence,
        "sounds": list(prepared.labels),
        "latent_shape": [CHANNELS, prepared.latents.shape[1] // CHANNELS],
        "network": network.as_dict(),
        "text": dict(text_config),
        "defaults": {**DEFAULTS, "guiding": {name: guiding[name] for name in prepared.labels if name in guiding}},
        "training": dict(training),
        "weights_sha256": digest(partial / WEIGHTS_NAME),
    }
    (partial / CONFIG_NAME).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_NAME, CONFIG_NAME):
        (partial / name).replace(target / name)
    partial.rmdir()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
