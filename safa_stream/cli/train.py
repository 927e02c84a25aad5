"""Train a model of your own from a folder of recordings, one folder a sound (or with a MANIFEST.tsv of captions).

The model directory OUT is what `--model OUT` loads. Its `run` folder keeps the state: the same command, repeated,
goes on where the last call stopped, and may be interrupted at any time.

--network waveform trains another kind: a small Stable Audio, autoencoder and transformer over latents of the waveform
(mono, 16 kHz), in diffusers' layout. It is for studies: without hours on a GPU it sounds far worse. It keeps a stage
when that is done, and needs the extra torch beside.

examples:
  safa-stream train ~/recordings --out glacier --minutes 120
  safa-stream train ~/recordings --out glacier --from builtin --minutes 30
  safa-stream render "glacier" --model glacier --duration 60 --out glacier.flac
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from safa_stream.cli.figures import progress
from safa_stream.cli.values import count, positive, share

if TYPE_CHECKING:
    from safa_stream.training.trainer import TrainingConfig

HELP = "train a model from a folder of recordings"
EXTRAS = "cpu,train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="recordings (wav, flac, ogg, opus, mp3, aiff)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the model directory to make or go on with"
    )
    parser.add_argument("--minutes", type=positive, default=60.0, help="training time of this call (default: 60)")
    parser.add_argument(
        "--from", dest="start", metavar="MODEL", help='begin with a model\'s weights: "builtin" or a folder'
    )
    parser.add_argument(
        "--network",
        choices=("dit", "unet", "waveform"),
        default="dit",
        help="transformer or U-Net over spectra's latents, or a small Stable Audio over waveforms' (default: dit)",
    )
    parser.add_argument("--batch", type=count, default=16, help="examples a step (default: 16)")
    parser.add_argument("--learning-rate", type=positive, default=1.5e-3, metavar="RATE", help="default: 0.0015")
    parser.add_argument(
        "--cooldown",
        type=share,
        default=0.25,
        metavar="SHARE",
        help="last share of this call over which the learning rate falls (default: 0.25)",
    )
    parser.add_argument("--device", default="cpu", help='"cpu" (default) or "cuda"')
    parser.add_argument("--threads", type=count, default=None, help="CPU threads (default: all cores)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default=None, help="the model's name (default: the name of DIR)")
    parser.add_argument("--licence", default="unstated", help="licence of the weights, written into the model")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    """Train, bundle, export the graphs, and draw what it sounds like."""
    if options.network == "waveform":
        return _waveform(options)
    from safa_exporters.onnx import export_graphs
    from safa_stream.models.builtin.weights import load_weights
    from safa_stream.training.bundle import Identity
    from safa_stream.training.command import TrainOptions, train

    name = options.name or options.out.resolve().name
    wanted = TrainOptions(
        folder=options.folder,
        out=options.out,
        kind=options.network,
        start=options.start,
        identity=Identity(name, "1", options.licence),
        training=_training(options),
    )

    report = progress(options.quiet)
    train(wanted, report)
    report("exporting the graphs")
    export_graphs(load_weights(options.out))
    picture = _picture(options.out)
    print(f"{options.out} is ready: safa-stream render PROMPT --model {options.out} (samples drawn in {picture})")
    return 0


def _waveform(options: argparse.Namespace) -> int:
    from safa_stream.errors import UsageError
    from safa_stream.training.waveform.command import train

    if options.start is not None:
        raise UsageError("--network waveform goes on with what is in --out; it takes no --from")
    train(options.folder, options.out, options.licence, _training(options), progress(options.quiet))
    print(f"{options.out} is ready: safa-stream render PROMPT --model {options.out}")
    return 0


def _training(options: argparse.Namespace) -> TrainingConfig:
    from safa_stream.training.trainer import TrainingConfig

    return TrainingConfig(
        minutes=options.minutes,
        batch=options.batch,
        learning_rate=options.learning_rate,
        cooldown=options.cooldown,
        seed=options.seed,
        device=options.device,
        threads=options.threads,
    )


def _picture(folder: Path) -> Path:
    """One spectrogram of a short sound of every class, one after the other, as `samples.png` in the model directory."""
    import numpy as np

    from safa_stream import engine
    from safa_stream.models import load
    from safa_stream.rendering import spectrogram
    from safa_stream.scene import Scene, WeightedPrompt

    model = load(str(folder))
    pieces = []
    for sound in model.facts.sounds:
        scene = Scene((WeightedPrompt(sound),))
        pieces += [chunk.samples for chunk in engine.chunks(model, scene, 5.0)]
    samples = np.concatenate(pieces, axis=1)
    path = folder / "samples.png"
    canvas = spectrogram.canvas(model.facts.sample_rate, samples.shape[1] / model.facts.sample_rate)
    painting = spectrogram.paint(canvas, spectrogram.begin(samples.shape[0]), samples, last=True)
    path.write_bytes(spectrogram.picture(canvas, painting, {"Title": ", ".join(model.facts.sounds)}))
    return path
