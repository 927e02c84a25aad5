"""A checkpoint directory in diffusers layout, read and checked; its modules are loaded one by one, when asked for.

model_index.json          the pipeline's class
NAME/config.json          a component's configuration, beside its weights as safetensors
scheduler/scheduler_config.json
README.md                 its front matter may name the licence
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.weights import WeightFiles, check_fit, find_weights, read_json

INDEX_NAME, CONFIG_NAME, SCHEDULER = "model_index.json", "config.json", "scheduler/scheduler_config.json"
#: What the weight files of each library's models are called, without their endings.
STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
#: Folders in the cache of huggingface_hub: owner, name, commit.
CACHED = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})$")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a pipeline's component should be: its folder, and the class and library that its module comes from."""

    name: str
    class_name: str
    library: str = "diffusers"


@dataclass(frozen=True, slots=True)
class Component:
    """A component whose configuration fits its weights. config: with the class's defaults filled in."""

    kind: Kind
    folder: Path
    stored: Mapping[str, Any]
    config: Mapping[str, Any]
    weights: WeightFiles

    def load(self) -> Any:
        """Its module in eval mode and single precision, with its weights."""
        module = build(self.kind, self.stored)
        try:
            self.weights.load_into(module)
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{self.folder} cannot be loaded: {str(error).splitlines()[0]}") from error
        return module.float().eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory whose components are all there and fit their weights. scheduler: its configuration."""

    folder: Path
    pipeline: str
    components: Mapping[str, Component]
    scheduler: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The id where the folder is of the hub's cache, else the folder's name."""
        folder = self.folder.resolve()
        kept = CACHED.search(folder.as_posix())
        return f"{kept[1]}/{kept[2]}" if kept else folder.name

    @property
    def version(self) -> str:
        """The commit where the folder is of the hub's cache, else a digest of configurations and weights' shapes."""
        kept = CACHED.search(self.folder.resolve().as_posix())
        if kept:
            return kept[3][:12]
        shapes = {name: component.weights.shapes() for name, component in self.components.items()}
        stored = {name: dict(component.stored) for name, component in self.components.items()}
        about = json.dumps([self.pipeline, dict(self.scheduler), stored, shapes], sort_keys=True, default=list)
        return hashlib.sha256(about.encode()).hexdigest()[:12]

    @property
    def licence(self) -> str:
        """What the front matter of README.md names, as model cards do; "unknown" otherwise."""
        return read_licence(self.folder)

    def digest(self) -> str:
        """SHA-256 over all files that the components and their order come from, in the order of their names."""
        paths = [path for path in (self.folder / INDEX_NAME, self.folder / SCHEDULER) if path.exists()]
        for component in self.components.values():
            paths += [component.folder / CONFIG_NAME, *component.weights.files]
            paths += [component.weights.index] if component.weights.index else []
        out = hashlib.sha256()
        for path in sorted(paths, key=lambda path: path.relative_to(self.folder).as_posix()):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    out.update(block)
        return out.hexdigest()


def read_pipeline(folder: Path) -> str:
    """The class that model_index.json names. Raises ModelError where the folder is not in diffusers layout."""
    if not folder.is_dir():
        raise ModelError(f"no such checkpoint directory: {folder}")
    if not (folder / INDEX_NAME).is_file():
        raise ModelError(f"{folder} is not a checkpoint directory in diffusers layout: {INDEX_NAME} is missing")
    name = read_json(folder / INDEX_NAME, "the index of a diffusers pipeline").get("_class_name")
    if not isinstance(name, str):
        raise ModelError(f"{folder / INDEX_NAME} does not name the pipeline's class (_class_name)")
    return name


def read_checkpoint(
    folder: Path, pipeline: str, kinds: Sequence[Kind], scheduler: Mapping[str, Any] | None = None
) -> Checkpoint:
    """Read the components' configurations and hold them against their weights; no weight is loaded.

    scheduler: the configuration that holds where the checkpoint has none, for pipelines that may be saved without.
    Raises ModelError naming the first folder or file that is missing or does not fit.
    """
    components = {kind.name: read_component(folder, kind) for kind in kinds}
    if scheduler is None or (folder / SCHEDULER).exists():
        scheduler = read_json(folder / SCHEDULER, "a scheduler's configuration")
    if not isinstance(scheduler.get("_class_name"), str):
        raise ModelError(f"{folder / SCHEDULER} does not name the scheduler's class (_class_name)")
    return Checkpoint(folder, pipeline, components, scheduler)


def read_component(checkpoint: Path, kind: Kind) -> Component:
    """Read one component. Raises ModelError as `read_checkpoint` does."""
    folder = checkpoint / kind.name
    if not folder.is_dir():
        raise ModelError(f"{checkpoint} is incomplete: the folder {kind.name} is missing")
    stored = read_json(folder / CONFIG_NAME, f"the configuration of a {kind.class_name}")
    named = stored.get("_class_name") or next(iter(stored.get("architectures") or ()), None)
    if named != kind.class_name:
        raise ModelError(
            f"{folder / CONFIG_NAME} should be of a {kind.class_name}, not of {named or 'an unnamed class'}"
        )
    import torch

    weights = find_weights(folder, STEMS[kind.library])
    with torch.device("meta"):
        module = build(kind, stored, str(folder / CONFIG_NAME))
    check_fit(folder, module, weights)
    config = module.config.to_dict() if hasattr(module.config, "to_dict") else dict(module.config)
    return Component(kind, folder, stored, config, weights)


def build(kind: Kind, config: Mapping[str, Any], origin: str = "this configuration") -> Any:
    """The module of a configuration, with random weights. Raises ModelError where the class does not take it."""
    cls = library_class(kind.library, kind.class_name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            if kind.library == "transformers":
                return cls(cls.config_class.from_dict(dict(config)))
            return cls.from_config(dict(config))
    except ImportError as error:
        raise ModelError(
            f"{kind.class_name} needs more than {kind.library}: pip install 'safa-stream[torch]'"
        ) from error
    except Exception as error:  # a wrong configuration can raise anything in a constructor
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"no {kind.class_name} can be made from {origin}: {line}") from error


def library_class(library: str, name: str) -> Any:
    """A class of diffusers or transformers. Raises ModelError saying what to install."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(library), name)
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[-1]
        raise ModelError(f"{name} needs {library} ({reason}): pip install 'safa-stream[torch]'") from error
    except AttributeError as error:
        raise ModelError(f"the installed {library} has no {name}: pip install -U 'safa-stream[torch]'") from error


def read_licence(folder: Path) -> str:
    """What the front matter of README.md names, as model cards do; "unknown" otherwise."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return "unknown"
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    named = dict(re.findall(r"^(license|license_name):[ \t]*([^\n#]+)", front[1], re.MULTILINE)) if front else {}
    return str(named.get("license_name") or named.get("license") or "unknown").strip().strip("'\"")
