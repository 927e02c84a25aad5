"""Small models of the built-in kind: the shipped one with a network of one block and chance weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import load_file, save_file

from safa_exporters.onnx import export_denoiser, write
from safa_stream.models.builtin.networks import NetworkConfig, build
from safa_stream.models.builtin.weights import (
    CONFIG_NAME,
    DECODER_NAME,
    LAYOUT_KEY,
    SHIPPED,
    WEIGHTS_NAME,
    digest,
    layout_digest,
    load_weights,
)


def small_model(folder: Path, kind: str = "dit", seed: int = 0, graphs: bool = True) -> Path:
    """Write a model folder, with its graphs or without: its sound is noise, its arithmetic is real."""
    folder.mkdir(parents=True)
    config = json.loads((SHIPPED / CONFIG_NAME).read_text())
    network = NetworkConfig(kind=kind, width=256 if kind == "dit" else 32, depth=1)
    torch.manual_seed(seed)
    module = build(network)
    with torch.no_grad():
        for parameter in module.parameters():
            # Layers that training begins at zero would hide what comes before them.
            if not parameter.any():
                parameter.normal_(std=0.02)
    stored = {n: v for n, v in load_file(SHIPPED / WEIGHTS_NAME).items() if not n.startswith("network.")}
    stored |= {
        f"network.{n}": np.ascontiguousarray(v.numpy().astype(np.float16)) for n, v in module.state_dict().items()
    }
    save_file(stored, folder / WEIGHTS_NAME)
    config |= {"network": network.as_dict(), "weights_sha256": digest(folder / WEIGHTS_NAME), "name": "small"}
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    if (SHIPPED / "MODEL_CARD.md").is_file():
        shutil.copy(SHIPPED / "MODEL_CARD.md", folder)
    if graphs:
        export_denoiser(load_weights(folder))
        _take_decoder(folder)
    return folder


def _take_decoder(folder: Path) -> None:
    """The shipped decoder's graph, as the decoder's weights are the shipped ones; tracing it again would take long."""
    model = onnx.load(SHIPPED / DECODER_NAME)
    del model.metadata_props[:]
    model.metadata_props.add(key=LAYOUT_KEY, value=layout_digest(folder / WEIGHTS_NAME))
    write(model, folder / DECODER_NAME)
