"""Exports as folders: complete or absent, and gone on with where an earlier try was broken off.

Graphs are written one by one into `.NAME.partial` beside the target, which takes its place at the end; a good export
that is there already is replaced only then.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx

from safa_exporters import manifest as manifests
from safa_exporters.graph import About, Graph
from safa_exporters.manifest import GraphEntry, Manifest
from safa_stream.errors import OutputError, UsageError
from safa_stream.models.builtin.weights import digest, graph_file

#: Graphs above this size keep their weights in a file of their own: a protobuf ends at 2 GiB.
INLINE_BYTES = 256 << 20
_PROGRESS = "progress.json"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be written: where, in which precision, and whether an export that is there may be replaced."""

    folder: Path
    precision: str
    force: bool = False

    @property
    def partial(self) -> Path:
        """Where it is put together."""
        return self.folder.with_name(f".{self.folder.name}.partial")


class Writer:
    """Writes one export. Every method raises OutputError where the disk will not take it; what is done stays."""

    def __init__(self, target: Target, about: About) -> None:
        """Raises UsageError where the target may not be replaced."""
        self.target, self.about = target, about
        if target.folder.exists() and not target.force:
            raise UsageError(f"{target.folder} is there already; choose another folder or add --force")
        if target.folder.exists() and any(target.folder.iterdir()):
            # Whatever else lies there is not ours to delete.
            manifests.read(target.folder)
        self._key = hashlib.sha256(
            repr((asdict(about), target.precision, sorted(manifests.versions().items()))).encode()
        ).hexdigest()
        self._entries = self._begin()

    def done(self, graph: str) -> GraphEntry | None:
        """The entry of a graph that an earlier try finished."""
        entry = self._entries.get(graph)
        if entry is None or any(not _is(self.target.partial / name, sha) for name, sha in entry.files.items()):
            return None
        return entry

    def add(self, graph: Graph, precision: str, model: onnx.ModelProto) -> GraphEntry:
        """Write one graph in the precision that it has."""
        path = self.target.partial / graph_file(graph.name, precision)
        data = f"{path.name}.data"
        try:
            if model.ByteSize() > INLINE_BYTES:
                onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=1024)
            else:
                path.write_bytes(model.SerializeToString(deterministic=True))
        except OSError as error:
            raise self._full(error) from error
        files = [file for file in (path, path.with_name(data)) if file.exists()]
        entry = GraphEntry(
            graph.name,
            precision,
            {file.name: digest(file) for file in files},
            manifests.shapes(graph),
            graph.output,
            max(each.version for each in model.opset_import if each.domain == ""),
            sum(file.stat().st_size for file in files),
        )
        self._entries[graph.name] = entry
        self._write(_PROGRESS, json.dumps({"key": self._key, "graphs": [asdict(e) for e in self._entries.values()]}))
        return entry

    def copy(self, path: Path) -> None:
        """Take a file of the source along."""
        try:
            shutil.copyfile(path, self.target.partial / path.name)
        except OSError as error:
            raise self._full(error) from error

    def finish(self, companions: tuple[str, ...] = ()) -> Manifest:
        """Write the manifest and put the export in its place. companions: names of files that were copied."""
        folder, partial = self.target.folder, self.target.partial
        made = manifests.begun(self.about, self.target.precision, tuple(self._entries.values()))
        made = replace(made, files={name: digest(partial / name) for name in companions})
        self._write(manifests.NAME, made.to_json())
        try:
            (partial / _PROGRESS).unlink(missing_ok=True)
            aside = folder.with_name(f".{folder.name}.old")
            if folder.exists():
                folder.replace(aside)
            partial.replace(folder)
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise self._full(error) from error
        return made

    def _begin(self) -> dict[str, GraphEntry]:
        """The entries of an earlier try of the same export; any other is thrown away."""
        partial = self.target.partial
        try:
            kept = json.loads((partial / _PROGRESS).read_text(encoding="utf-8"))
            if kept["key"] == self._key:
                return {entry["name"]: GraphEntry(**entry) for entry in kept["graphs"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        except OSError as error:
            raise self._full(error) from error
        return {}

    def _write(self, name: str, text: str) -> None:
        try:
            with (self.target.partial / name).open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.target.folder}: {error.strerror}; what is finished is kept and used the next time"
        )


def update(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of an export. Raises OutputError."""
    partial = folder / f".{manifests.NAME}.partial"
    try:
        partial.write_text(manifest.to_json(), encoding="utf-8")
        partial.replace(folder / manifests.NAME)
    except OSError as error:
        raise OutputError(f"cannot write {folder / manifests.NAME}: {error.strerror}") from error


def _is(path: Path, expected: str) -> bool:
    return path.is_file() and digest(path) == expected
