"""Write a model's networks as ONNX graphs or TensorRT engines, and hold them against the original.

MODEL is builtin, a folder that `safa-stream train` made, or a checkpoint in diffusers layout (AudioLDM, AudioLDM2,
MusicLDM, Stable Audio). Without --out, the graphs of a trained model are made again in its own folder. What --out names
is a folder that is complete or absent; a broken-off export goes on where it stopped. An export of the built-in kind is
itself a model: `safa-stream render --model FOLDER`.

examples:
  safa-stream export glacier
  safa-stream export builtin --precision int8 --out builtin-int8
  safa-stream export verify builtin-int8
  safa-stream export ./audioldm2 --out audioldm2-onnx
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safa_stream.cli.figures import progress
from safa_stream.errors import UsageError

HELP = "networks as ONNX graphs or TensorRT engines"
EXTRAS = "cpu,train"
VERIFY = "verify"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("words", nargs="+", metavar="[verify] MODEL|FOLDER", help="the model, or the export to verify")
    parser.add_argument("--to", choices=("onnx", "tensorrt"), default="onnx", help="what to make (default: onnx)")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16", "int8"), default="fp32", help="(default: fp32)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the export goes")
    parser.add_argument("--model", metavar="MODEL", help="verify: what was exported (default: the export's own)")
    parser.add_argument("--no-verify", action="store_true", help="do not hold the export against the original")
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    """Export or verify."""
    report = progress(options.quiet)
    if options.words[0] == VERIFY and len(options.words) == 2:
        return _verify(Path(options.words[1]), options.model, options.json, report)
    if len(options.words) != 1:
        raise UsageError(f"give one model, or verify and one export, not {' '.join(options.words)!r}")
    if options.out is None:
        return _again(options.words[0])
    return _export(options, report)


def _again(model: str) -> int:
    """Graphs of a trained model in its own folder."""
    from safa_exporters.onnx import export_denoiser
    from safa_stream.models.builtin.weights import load_weights

    if model == "builtin":
        raise UsageError("say with --out where the export goes")
    path = export_denoiser(load_weights(Path(model)))
    print(f"wrote {path} ({path.stat().st_size} bytes)")
    return 0


def _export(options: argparse.Namespace, report: Callable[[str], None]) -> int:
    from safa_exporters import exporting
    from safa_exporters.writing import Target

    source = exporting.open_source(options.words[0])
    manifest = exporting.export(source, Target(options.out, options.to, options.precision, options.force), report)
    found: dict[str, Any] = {
        "folder": str(options.out),
        "model": manifest.name,
        "licence": manifest.licence,
        "precision": manifest.precision,
        "graphs": [{"name": entry.name, "files": list(entry.files), "bytes": entry.bytes} for entry in manifest.graphs],
    }
    if options.no_verify:
        _tell(options.json, {**found, "verified": None}, f"wrote {options.out}, not verified")
        return 0
    return _parity(options.out, source, options.json, report, found)


def _verify(folder: Path, model: str | None, as_json: bool, report: Callable[[str], None]) -> int:
    from safa_exporters import exporting, manifest

    kept = manifest.read(folder)
    own = str(folder) if kept.kind == "safa-builtin" else None
    if (model or own) is None:
        raise UsageError(f"{folder} is of {kept.name}: give its checkpoint with --model")
    return _parity(folder, exporting.open_source(str(model or own)), as_json, report, {"folder": str(folder)})


def _parity(folder: Path, source: Any, as_json: bool, report: Callable[[str], None], found: dict[str, Any]) -> int:
    from safa_exporters import exporting

    parity = exporting.verify_folder(folder, source, report)
    lines = [
        f"{graph.name}: largest error {graph.max_error:.2e}, relative {graph.relative_error:.2e} "
        f"({graph.calls} calls, {graph.shapes} other shapes)"
        for graph in parity.graphs
    ]
    lines.append(
        f"sound: {parity.audio_snr_db:.1f} dB from the original, log-mel error {parity.audio_log_mel_error:.2e}"
    )
    lines.append(f"{folder} {'is verified' if parity.verified else 'is NOT within tolerance'} ({parity.precision})")
    _tell(as_json, {**found, **parity.as_dict()}, "\n".join(lines))
    return 0 if parity.verified else 1


def _tell(as_json: bool, found: dict[str, Any], text: str) -> None:
    from safa_stream.evaluation.tables import to_json

    print(to_json(found) if as_json else text)
