"""Write a model's networks as ONNX graphs or TensorRT engines, and hold them against the original.

MODEL is builtin, a folder that `safa-stream train` made, or a checkpoint in diffusers layout (AudioLDM, AudioLDM2,
MusicLDM, Stable Audio). Without --out, the graphs of a trained model are made again in its own folder. What --out names
is a folder that is complete or absent; a broken-off export goes on where it stopped. An export of the built-in kind is
itself a model: `safa-stream render --model FOLDER`. TensorRT engines are built from an ONNX export, which --out names
too, in its folder "engines"; they hold on one GPU and version, and `refit` gives them other weights.

Ends with exit code 1 where an export differs from its original by more than its precision allows.

examples:
  safa-stream export glacier
  safa-stream export builtin --precision int8 --out builtin-int8
  safa-stream export verify builtin-int8
  safa-stream export ./audioldm2 --out audioldm2-onnx
  safa-stream export ./audioldm2 --to tensorrt --precision fp16 --out audioldm2-onnx
  safa-stream export refit audioldm2-onnx/engines/denoiser.fp16.H100.trt10.engine finetuned-onnx
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safa_stream.cli.figures import progress, tell
from safa_stream.errors import UsageError

if TYPE_CHECKING:
    from safa_exporters.graph import Source

HELP = "networks as ONNX graphs or TensorRT engines"
EXTRAS = "cpu,train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("words", nargs="+", metavar="MODEL | verify FOLDER | refit ENGINE FOLDER",
                        help="a model; an export to verify; an engine and the export of its new weights")  # fmt: skip
    parser.add_argument("--to", choices=("onnx", "tensorrt"), default="onnx", help="what to make (default: onnx)")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16", "int8"), default="fp32", help="(default: fp32)")
    parser.add_argument("--fused", choices=("step", "swap"),
                        help="built-in kind: also a graph of the whole solver step, or of step and swap")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the export goes")
    parser.add_argument("--model", metavar="MODEL", help="verify: what was exported (default: the export itself)")
    parser.add_argument("--no-verify", action="store_true", help="do not hold the export against the original")
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    """Export, verify or refit."""
    report = progress(options.quiet)
    match options.words:
        case ["verify", folder]:
            return _verify(Path(folder), options, report)
        case ["refit", engine, folder]:
            return _refit(Path(engine), Path(folder))
        case [model] if options.out is None:
            return _again(model)
        case [model]:
            return _export(model, options, report)
        case _:
            raise UsageError(f"give one model, verify FOLDER, or refit ENGINE FOLDER, not {' '.join(options.words)!r}")


def _again(model: str) -> int:
    """Graphs of a trained model in its own folder."""
    from safa_exporters.onnx import export_graphs
    from safa_stream.models.builtin.weights import load_weights

    if model == "builtin":
        raise UsageError("say with --out where the export goes")
    for path in export_graphs(load_weights(Path(model))):
        print(f"wrote {path} ({path.stat().st_size} bytes)")
    return 0


def _export(model: str, options: argparse.Namespace, report: Callable[[str], None]) -> int:
    from safa_exporters import exporting, tensorrt
    from safa_exporters.writing import Target

    source = exporting.open_source(model, options.fused)
    if options.to == "tensorrt":
        # Said before the long work, not after it.
        tensorrt.library()
        if not (options.out / exporting.MANIFEST).is_file():
            exporting.export(source, Target(options.out, "fp32"), report)
        paths = exporting.build_engines(options.out, options.precision, report)
        found = {"folder": str(options.out), "engines": [str(path) for path in paths]}
        tell(options.json, found, "\n".join(f"wrote {path}" for path in paths))
        return 0
    manifest = exporting.export(source, Target(options.out, options.precision, options.force), report)
    if options.no_verify:
        found = {"folder": str(options.out), **asdict(manifest)}
        tell(options.json, found, f"wrote {options.out} ({manifest.name}, {manifest.licence}), not verified")
        return 0
    return _parity(options.out, source, options.json, report)


def _verify(folder: Path, options: argparse.Namespace, report: Callable[[str], None]) -> int:
    from safa_exporters import exporting, manifest

    kept = manifest.read(folder)
    if options.model is None and kept.kind != "safa-builtin":
        raise UsageError(f"{folder} is of {kept.name}: give its checkpoint with --model")
    return _parity(folder, exporting.source_of(folder, options.model or str(folder)), options.json, report)


def _refit(engine: Path, folder: Path) -> int:
    from safa_exporters import exporting

    exporting.refit_engine(engine, folder)
    print(f"{engine} has the weights of {folder}")
    return 0


def _parity(folder: Path, source: Source, as_json: bool, report: Callable[[str], None]) -> int:
    from safa_exporters import exporting

    parity = exporting.verify_folder(folder, source, report)
    lines = [
        f"{graph.name}: largest error {graph.max_error:.2e}, relative {graph.relative_error:.2e} "
        f"({graph.calls} calls, {graph.shapes} of other shapes)"
        for graph in parity.graphs
    ]
    lines.append(f"sound: signal to noise {parity.audio_snr_db:.1f} dB, log-mel error {parity.audio_log_mel_error:.2e}")
    lines.append(f"{folder} {'is verified' if parity.verified else 'is NOT within tolerance'}")
    tell(as_json, {"folder": str(folder), **parity.as_dict()}, "\n".join(lines))
    return 0 if parity.verified else 1
