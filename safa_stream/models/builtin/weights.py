"""A model directory of the built-in kind: one weights file, one configuration, two graphs.

config.json           what the model is: sizes, sounds, defaults, licence, SHA-256 of the weights
weights.safetensors   every tensor, half precision: network.*, conditioner.*, latent.*, styles.*, text.*, decoder.*
denoiser.onnx         the network's graph; its weights are references into weights.safetensors
decoder.onnx          the decoder's, likewise
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from safa_stream.errors import ModelError
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.features import Array

FORMAT = "safa-builtin-1"
CONFIG_NAME, WEIGHTS_NAME, GRAPH_NAME = "config.json", "weights.safetensors", "denoiser.onnx"
DECODER_NAME = "decoder.onnx"
#: A graph's metadata entry that names the layout of the weights file that it was made for.
LAYOUT_KEY = "weights_layout"
#: Backends that need a graph in their own precision.
OWN_GRAPHS = (("onnx", "int8"), ("onnx-cuda", "fp16"))
#: The weights that ship with the package.
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True, slots=True)
class Weights:
    """A model directory, read and checked. Tensors are single precision; text tables keep their own types."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray[Any, Any]]

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        return str(self.config["weights_sha256"])

    def under(self, prefix: str) -> dict[str, Array]:
        """The tensors whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def graph_name(part: str, backend: Backend) -> str:
    """The file of a part's graph for a backend: most compute in their precision from the fp32 graph."""
    return graph_file(part, backend.precision if (backend.engine, backend.precision) in OWN_GRAPHS else "fp32")


def graph_file(part: str, precision: str) -> str:
    """The file of a part's graph that is itself of a precision."""
    return f"{part}.onnx" if precision == "fp32" else f"{part}.{precision}.onnx"


def digest(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def layout_digest(path: Path) -> str:
    """SHA-256 of a safetensors file's header: which tensor lies where. A graph fits every file with its layout."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(int.from_bytes(file.read(8), "little"))).hexdigest()


def load_weights(folder: Path = SHIPPED) -> Weights:
    """Read a model directory and check it against its checksum.

    Raises:
        ModelError: the folder is not a model directory, or a file is missing, damaged or of another format.
    """
    if not folder.is_dir():
        raise ModelError(f"no such model folder: {folder}")
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} is not a model folder: {CONFIG_NAME} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG_NAME} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{folder / CONFIG_NAME} is not of format {FORMAT}; train again with this version")
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise ModelError(f"{folder} is incomplete: {path.name} is missing")
    if digest(path) != config.get("weights_sha256"):
        raise ModelError(f"{path} is damaged (its checksum is not the one in {CONFIG_NAME}); fetch or train it again")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    wide = {
        n: t.astype(np.float32) if t.dtype == np.float16 and not n.startswith("text.") else t
        for n, t in tensors.items()
    }
    return Weights(folder, config, wide)
