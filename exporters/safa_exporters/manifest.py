"""manifest.json of an export: what it is of, which files belong to it, and whether it was held against its original."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from safa_exporters.graph import About, Graph
from safa_stream.errors import ModelError
from safa_stream.models.builtin.weights import digest

FORMAT = "safa-export-1"
NAME = "manifest.json"
#: Where TensorRT engines of an export lie: made of it, and not part of it.
ENGINES = "engines"
#: Packages whose versions decide what a graph looks like.
MADE_WITH = ("safa-stream", "torch", "onnx", "onnxscript", "onnxruntime", "diffusers", "transformers", "tensorrt-cu13")


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """One graph: its precision, its files with their SHA-256, inputs with "batch" and "8 time" for free dimensions."""

    name: str
    precision: str
    files: Mapping[str, str]
    inputs: Mapping[str, tuple[int | str, ...]]
    output: str
    opset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """An export. parity: what verification measured, None before; verified: whether that was within tolerance."""

    kind: str
    name: str
    licence: str
    source_digest: str
    sample_rate: int
    precision: str
    graphs: tuple[GraphEntry, ...]
    versions: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    parity: Mapping[str, Any] | None = None
    verified: bool = False

    def to_json(self) -> str:
        """The file's text; the same for the same export."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def begun(about: About, precision: str, graphs: tuple[GraphEntry, ...]) -> Manifest:
    """A manifest that nothing was verified of yet."""
    return Manifest(
        about.kind, about.name, about.licence, about.digest, about.sample_rate, precision, graphs, versions()
    )


def read(folder: Path) -> Manifest:
    """The manifest of an export. Raises ModelError where there is none, or it is not one."""
    path = folder / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ModelError(f"{path} is not of format {FORMAT}; export again with this version")
        graphs = tuple(
            GraphEntry(**{**entry, "inputs": {k: tuple(v) for k, v in entry["inputs"].items()}})
            for entry in values.pop("graphs")
        )
        return Manifest(graphs=graphs, **values)
    except OSError as error:
        raise ModelError(f"{folder} is not an export: {NAME} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise ModelError naming the first file that is missing, damaged, or does not belong."""
    known = {name: sha for entry in manifest.graphs for name, sha in entry.files.items()} | dict(manifest.files)
    for name, expected in known.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{folder} is incomplete: {name} is missing; export again")
        if digest(path) != expected:
            raise ModelError(f"{path} is damaged or of another export: its checksum is not the one in {NAME}")
    strange = sorted(p.name for p in folder.iterdir() if p.name not in (*known, NAME, ENGINES))
    if strange:
        raise ModelError(f"{folder} holds {strange[0]}, which {NAME} does not list; export into a folder of its own")


def shapes(graph: Graph) -> dict[str, tuple[int | str, ...]]:
    """A graph's input shapes, free dimensions by name."""
    out: dict[str, tuple[int | str, ...]] = {}
    for name, example in graph.inputs.items():
        axes = graph.axes.get(name, {})
        out[name] = tuple(
            (axes[d].name if axes[d].multiple == 1 else f"{axes[d].multiple} {axes[d].name}") if d in axes else size
            for d, size in enumerate(example.shape)
        )
    return out


def versions() -> dict[str, str]:
    """Versions of the packages in MADE_WITH that are installed."""
    found = {}
    for name in MADE_WITH:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
