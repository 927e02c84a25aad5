"""The weight files of one component of a checkpoint: found, held against the module that they are for, and read.

Only safetensors are read. Pickled weights (.bin, .ckpt, .pt, .pth) can run code when they are loaded and are refused;
who trusts them converts them first (`unpickling`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from safa_stream.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

PICKLED = frozenset({".bin", ".ckpt", ".pt", ".pth"})
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The safetensors files of a component, and the index that names them where they are shards."""

    files: tuple[Path, ...]
    index: Path | None = None

    def shapes(self) -> dict[str, Shape]:
        """Tensor names to shapes, from the files' headers alone. Raises ModelError for a damaged file."""
        out: dict[str, Shape] = {}
        for path in self.files:
            try:
                with safe_open(path, framework="pt") as file:
                    out.update({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})
            except (OSError, SafetensorError) as error:
                raise ModelError(f"{path} is damaged or no safetensors file: {error}") from error
        return out

    def load_into(self, module: nn.Module) -> None:
        """Put the weights into a module that they fit, in single precision."""
        from safetensors.torch import load_file

        state: dict[str, Any] = {}
        for path in self.files:
            state.update(load_file(path))
        _rename(module, state, self)
        single = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
        module.load_state_dict(single, assign=True)


def find_weights(folder: Path, stem: str) -> WeightFiles:
    """The weights of a component folder: `stem`.safetensors, its shards with their index, or its only variant.

    Raises ModelError where there are none or only pickled ones, where a shard of the index is missing or a shard that
    the index does not name lies beside it, and where it cannot be told which of several files is meant.
    """
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if whole.is_file() and index.is_file():
        raise ModelError(f"{folder} holds both {whole.name} and {index.name}; remove the one that is not meant")
    if whole.is_file():
        return WeightFiles((whole,))
    if index.is_file():
        return _shards(folder, stem, index)
    variants = sorted(path for path in folder.glob(f"{stem}.*.safetensors") if path.is_file())
    if len(variants) == 1:
        return WeightFiles((variants[0],))
    if variants:
        names = ", ".join(path.name for path in variants)
        raise ModelError(f"{folder} holds several variants of its weights ({names}); keep one of them")
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise ModelError(
            f"{folder} holds only pickled weights ({pickled[0]}), which can run code when they are loaded; "
            f"`safa-stream convert` makes a copy of the checkpoint with {whole.name}"
        )
    raise ModelError(f"{folder} holds no weights: {whole.name} is missing")


def check_fit(folder: Path, module: nn.Module, weights: WeightFiles) -> None:
    """Hold the files' tensors against a module's, by name and shape. Raises ModelError naming what differs."""
    held: dict[str, Any] = dict(weights.shapes())
    _rename(module, held, weights)
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = [
        f"{name} is {list(held[name])} and should be {list(wanted[name])}"
        for name in sorted(wanted.keys() & held.keys())
        if held[name] != wanted[name]
    ]
    troubles = [
        *_counted("missing", sorted(wanted.keys() - held.keys())),
        *_counted("unknown", sorted(held.keys() - wanted.keys())),
        *_counted("of other shape", differing),
    ]
    if troubles:
        raise ModelError(f"the weights in {folder} do not fit its config.json: {'; '.join(troubles)}")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a file. Raises ModelError with `what` it should have been."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); it should hold {what}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not {what}")
    return content


def _shards(folder: Path, stem: str, index: Path) -> WeightFiles:
    listed = read_json(index, "an index of shards").get("weight_map")
    if not isinstance(listed, Mapping) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise ModelError(f"{index} is not an index of shards: weight_map should say which file holds which tensor")
    names = sorted(set(listed.values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(f"{folder} is incomplete: {name}, a shard that {index.name} names, is missing")
    extra = sorted({path.name for path in folder.glob(f"{stem}-*.safetensors")} - set(names))
    if extra:
        raise ModelError(f"{folder} holds {extra[0]}, which {index.name} does not name; it is of another set of shards")
    return WeightFiles(tuple(folder / name for name in names), index)


def _rename(module: nn.Module, tensors: MutableMapping[str, Any], weights: WeightFiles) -> None:
    """diffusers' new names for tensors that early checkpoints hold under old ones (attention of autoencoders)."""
    fix = getattr(module, "_fix_state_dict_keys_on_load", None)
    if fix is not None and weights.index is None:
        fix(tensors)


def _counted(what: str, names: list[str]) -> Iterator[str]:
    if names:
        yield f"{len(names)} {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
