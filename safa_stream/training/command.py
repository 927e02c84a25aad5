"""From a folder of recordings to a model directory: prepare, train denoiser, text encoder and decoder, bundle.

Every stage leaves its result in the run folder and is not done again: a call may be stopped and repeated at any time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from safa_stream.corpus.recordings import list_recordings
from safa_stream.errors import TrainingDataError, UsageError
from safa_stream.models.builtin.features import Array, LatentMap
from safa_stream.models.builtin.networks import NetworkConfig
from safa_stream.models.builtin.weights import SHIPPED, Weights, load_weights
from safa_stream.training.batches import usable_passages
from safa_stream.training.bundle import CHANNELS, Identity, write_bundle
from safa_stream.training.prepare import Prepared, load_prepared, prepare, save_prepared
from safa_stream.training.text import train_text
from safa_stream.training.trainer import Trainer, TrainingConfig, check_device
from safa_stream.training.vocoder import train_decoder

#: Width of the U-Net whose size is that of the default transformer; a step of it takes three times as long.
UNET_WIDTH = 160
#: The decoder's hints are learned in this share of the denoiser's time, and in no more than so many minutes.
DECODER_SHARE, DECODER_MINUTES = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What `safa-stream train` was asked for.

    folder: recordings. out: the model directory to make; its `run` folder keeps the state. start: a model directory (or
    "builtin") whose weights are the beginning, None for a fresh network.
    """

    folder: Path
    out: Path
    kind: str
    start: str | None
    identity: Identity
    training: TrainingConfig
    latent_size: int = 80


def train(options: TrainOptions, report: Callable[[str], None]) -> Path:
    """Run every stage that is not done yet and write the model directory (without its graph, which is exported after).

    Raises:
        TrainingDataError: the folder, a recording or an earlier state cannot be used.
        UsageError: options that contradict each other, or a device that cannot be used.
    """
    if options.latent_size % CHANNELS:
        raise UsageError(f"the latent size must be a multiple of {CHANNELS}, not {options.latent_size}")
    check_device(options.training.device)
    run = options.out / "run"
    start = _start(options)
    prepared = _prepared(options, run, start, report)
    network = _network(options, prepared, start)
    begin = _matched(start, prepared) if start is not None else None
    trainer = Trainer(prepared, network, options.training, run / options.kind, begin)
    report(f"training the {options.kind} for {options.training.minutes:g} minutes from step {trainer.step}")
    trainer.train(lambda row: report(json.dumps(row)))
    text = _text(options, run, prepared, start, report)
    decoder = _decoder(options, run, prepared, start, report)
    weights = {name: value.detach().cpu().numpy() for name, value in trainer.average.state_dict().items()}
    history = {"steps": trainer.step, "seconds": round(trainer.seconds), "batch": options.training.batch}
    guiding = {} if start is None else start.config["defaults"].get("guiding", {})
    write_bundle(options.out, options.identity, prepared, network, weights, text, decoder, history, guiding)
    return options.out


def _start(options: TrainOptions) -> Weights | None:
    if options.start is None:
        return None
    start = load_weights(SHIPPED if options.start == "builtin" else Path(options.start))
    kind = start.config["network"]["kind"]
    if kind != options.kind:
        raise UsageError(f"the model to start from is a {kind}, not a {options.kind}: add --network {kind}")
    return start


def _prepared(options: TrainOptions, run: Path, start: Weights | None, report: Callable[[str], None]) -> Prepared:
    path = run / "prepared.safetensors"
    if path.exists():
        report(f"going on with what {path} holds of the recordings")
        return load_prepared(path)
    latent_map = None
    if start is not None:
        latent_map = LatentMap(*(start.tensors[f"latent.{n}"] for n in ("mean", "forward", "backward")))
    prepared = prepare(options.folder, options.latent_size, report, latent_map)
    if not all(usable_passages(prepared, held_out) for held_out in (False, True)):
        raise TrainingDataError(
            f"{options.folder} holds too little: one recording of 4 s or three of 1 s are the least"
        )
    run.mkdir(parents=True, exist_ok=True)
    save_prepared(prepared, path)
    return load_prepared(path)


def _network(options: TrainOptions, prepared: Prepared, start: Weights | None) -> NetworkConfig:
    if start is not None:
        return NetworkConfig(**start.config["network"])
    size = prepared.latents.shape[1]
    return (
        NetworkConfig("unet", size, UNET_WIDTH, condition_size=UNET_WIDTH)
        if options.kind == "unet"
        else NetworkConfig("dit", size)
    )


def _matched(start: Weights, prepared: Prepared) -> dict[str, Array]:
    """Tensors of an earlier model for this run's sounds; a new sound's embedding begins as the mean of the known."""
    tensors = {f"network.{n}": v for n, v in start.under("network.").items()}
    tensors |= {f"conditioner.{n}": v for n, v in start.under("conditioner.").items()}
    old = tensors["conditioner.embedding.weight"]
    known = {label: row for row, label in enumerate(start.config["sounds"])}
    rows = [old[known[label]] if label in known else old.mean(0) for label in prepared.labels]
    tensors["conditioner.embedding.weight"] = np.stack(rows)
    tensors["style_mean"], tensors["style_scale"] = start.tensors["styles.mean"], start.tensors["styles.scale"]
    return tensors


def _text(
    options: TrainOptions, run: Path, prepared: Prepared, start: Weights | None, report: Callable[[str], None]
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    path = run / "text.safetensors"
    if start is not None and tuple(start.config["sounds"]) == prepared.labels:
        return start.under("text."), dict(start.config["text"])
    if path.exists():
        with safe_open(path, framework="numpy") as opened:
            return load_file(path), json.loads(opened.metadata()["text"])
    by_label: dict[str, list[str]] = defaultdict(list)
    for passage in prepared.passages:
        by_label[prepared.labels[passage.label]].append(prepared.captions[passage.recording])
    vocabulary = start or load_weights()
    tensors, config = train_text(
        prepared.labels, by_label, vocabulary.under("text."), vocabulary.config["text"], report
    )
    save_file(tensors, path, {"text": json.dumps(config)})
    return tensors, config


def _decoder(
    options: TrainOptions, run: Path, prepared: Prepared, start: Weights | None, report: Callable[[str], None]
) -> dict[str, Array]:
    path = run / "decoder.safetensors"
    if start is not None:
        return start.under("decoder.")
    if not path.exists():
        minutes = min(DECODER_MINUTES, DECODER_SHARE * options.training.minutes)
        recordings = list_recordings(options.folder)
        save_file(train_decoder(recordings, prepared.latent_map, minutes, report), path)
    return {name: value.astype(np.float32) for name, value in load_file(path).items()}
