"""Make a model directory's ONNX graph again from its weights, which the graph refers to and does not hold.

example:
  safa-stream export glacier
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make the ONNX graph of a trained model"
EXTRAS = "cpu,train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="DIR", help="a model directory that `safa-stream train` made")


def run(options: argparse.Namespace) -> int:
    """Export and say where the graph is."""
    from safa_exporters.onnx import export_denoiser
    from safa_stream.models.builtin.weights import load_weights

    path = export_denoiser(load_weights(options.model))
    print(f"wrote {path} ({path.stat().st_size} bytes)")
    return 0
