"""Pickled weights of old checkpoints as safetensors, once and on purpose: everything else here reads safetensors only.

They are read by torch's weights-only unpickler (`torch.load(weights_only=True)`), which makes tensors and plain
containers and refuses whatever else a file asks for. It is younger code than its task is old: convert what comes from a
source that is trusted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa_stream.errors import ModelError, UsageError
from safa_stream.models.pretrained.checkpoint import INDEX_NAME, STEMS
from safa_stream.models.pretrained.weights import read_json

#: What libraries call pickled weights, and what they call the same as safetensors.
NAMES = {STEMS["diffusers"]: STEMS["diffusers"], "pytorch_model": STEMS["transformers"]}
ENDING, INDEX_ENDING = ".bin", ".bin.index.json"


@dataclass(frozen=True, slots=True)
class Conversion:
    """One file to write. index: it names shards, its `weight_map` changes; else it holds tensors."""

    source: Path
    target: str
    index: bool = False


def planned(folder: Path) -> tuple[Conversion, ...]:
    """The pickled files of a checkpoint's components that have no safetensors beside them, in order of their names.

    Raises ModelError where the folder is no checkpoint in diffusers layout, or holds nothing to convert.
    """
    if not (folder / INDEX_NAME).is_file():
        raise ModelError(f"{folder} is not a checkpoint directory in diffusers layout: {INDEX_NAME} is missing")
    found = tuple(
        conversion
        for part in sorted(path for path in folder.iterdir() if path.is_dir())
        if not any(part.glob("*.safetensors"))
        for conversion in _of_component(part)
    )
    if not found:
        raise ModelError(f"{folder} holds no pickled weights that lack their safetensors; there is nothing to convert")
    return found


def convert(folder: Path, out: Path, progress: Callable[[str], None] = lambda line: None) -> tuple[str, ...]:
    """Copy a checkpoint to `out` with its pickled weights as safetensors; the names of the files that were written.

    `out` appears when it is complete. Raises UsageError where it exists, ModelError where a file holds anything but
    tensors by name, or cannot be read.
    """
    plan = planned(folder)
    if out.exists():
        raise UsageError(f"{out} exists; choose another folder")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns("*.bin", "*.bin.index.json", "*.ckpt", ".cache"))
        for conversion in plan:
            target = partial / conversion.source.parent.name / conversion.target
            progress(f"{conversion.source.relative_to(folder)} -> {target.relative_to(partial)}")
            _write_index(conversion.source, target) if conversion.index else _write_tensors(conversion.source, target)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return tuple(f"{conversion.source.parent.name}/{conversion.target}" for conversion in plan)


def _of_component(part: Path) -> Iterator[Conversion]:
    for old, new in NAMES.items():
        index = part / f"{old}{INDEX_ENDING}"
        if index.is_file():
            yield Conversion(index, f"{new}.safetensors.index.json", index=True)
            yield from (Conversion(part / name, _renamed(name, old, new)) for name in _shards(index))
        elif (part / f"{old}{ENDING}").is_file():
            yield Conversion(part / f"{old}{ENDING}", f"{new}.safetensors")


def _shards(index: Path) -> list[str]:
    listed = read_json(index, "an index of shards").get("weight_map")
    if not isinstance(listed, Mapping) or not all(isinstance(name, str) for name in listed.values()):
        raise ModelError(f"{index} is not an index of shards: weight_map should say which file holds which tensor")
    names = sorted(set(listed.values()))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise ModelError(f"{index.parent} is incomplete: {name}, a shard that {index.name} names, is missing")
    return names


def _renamed(name: str, old: str, new: str) -> str:
    return new + name.removeprefix(old).removesuffix(ENDING) + ".safetensors"


def _write_index(source: Path, target: Path) -> None:
    content = read_json(source, "an index of shards")
    (old, new), *_ = [(old, new) for old, new in NAMES.items() if source.name.startswith(old)]
    content["weight_map"] = {name: _renamed(file, old, new) for name, file in content["weight_map"].items()}
    target.write_text(json.dumps(content, indent=2) + "\n")


def _write_tensors(source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    try:
        held: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is made to harm can raise anything here
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"{source} is not converted: it holds more than weights, or is damaged ({line})") from error
    if not isinstance(held, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in held.items()
    ):
        raise ModelError(f"{source} is not converted: it should hold tensors by name and nothing else")
    # Tensors that share memory, as tied embeddings do, are written one by one: safetensors knows no sharing.
    save_file({name: value.detach().clone().contiguous() for name, value in held.items()}, target, {"format": "pt"})
