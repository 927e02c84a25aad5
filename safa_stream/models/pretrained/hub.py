"""Models of the hub by id (OWNER/NAME): looked up in its cache on this machine, else downloaded into it.

Only what the model needs is downloaded, never pickled weights; what arrived before an interruption is kept.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.checkpoint import CONFIG_NAME, INDEX_NAME, SCHEDULER, STEMS
from safa_stream.models.pretrained.families import family_of
from safa_stream.models.pretrained.weights import PICKLED, find_weights

if TYPE_CHECKING:
    from safa_stream.models.images.base import PretrainedImages
    from safa_stream.models.pretrained.base import PretrainedModel

    #: What says which components a pipeline needs.
    AnyModel = type[PretrainedModel] | type[PretrainedImages]

LOGIN = "log in with `hf auth login` or set HF_TOKEN"
#: Files of which a tokenizer needs one.
VOCABULARIES = {"tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"}
#: Beside the components: the model card names the licence.
ALWAYS = (INDEX_NAME, SCHEDULER, "README.md")


def sounds(folder: Path) -> AnyModel:
    """The class of a model of sounds that runs the pipeline in a folder. Raises ModelError for another pipeline."""
    return family_of(folder).model_class()


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub and its cache; None: those of huggingface_hub, which HF_ENDPOINT and HF_HOME set.

    model_class: finds the class that runs the pipeline in a folder, or raises ModelError.
    """

    endpoint: str | None = None
    cache: Path | None = None
    model_class: Callable[[Path], AnyModel] = sounds

    @property
    def folder(self) -> Path:
        """Where the cache is."""
        return self.cache or Path(constants.HF_HUB_CACHE)

    def cached(self, name: str) -> Path | None:
        """The folder of a model in the cache, complete or not; None where nothing of it is there."""
        found = try_to_load_from_cache(name, INDEX_NAME, cache_dir=self._cache)
        return Path(found).parent if isinstance(found, str) else None

    def fetched(self, name: str) -> Path:
        """The folder of a model with all that it needs, downloaded where that is not in the cache yet.

        Raises ModelError, in one line, where there is no network, no such model, no permission, no space, or nothing
        that can be used, and where the download is interrupted.
        """
        folder = self.cached(name)
        if folder is not None and complete(folder, self.model_class(folder)):
            return folder
        with self._asking(name):
            info = HfApi(endpoint=self.endpoint).model_info(name, files_metadata=True)
        files = [file.rfilename for file in info.siblings or ()]
        if INDEX_NAME not in files:
            raise ModelError(f"{name} is no pipeline of diffusers: it has no {INDEX_NAME}")
        with self._asking(name, downloading=True):
            index = hf_hub_download(name, INDEX_NAME, cache_dir=self._cache, endpoint=self.endpoint)
        wanted = needed(name, self.model_class(Path(index).parent), files)
        with self._asking(name, downloading=True):
            made = snapshot_download(name, cache_dir=self._cache, endpoint=self.endpoint, allow_patterns=wanted)
        return Path(made)

    @property
    def _cache(self) -> str | None:
        return None if self.cache is None else str(self.cache)

    @contextmanager
    def _asking(self, name: str, downloading: bool = False) -> Iterator[None]:
        """The hub's errors as ModelError."""
        site = self.endpoint or constants.ENDPOINT
        try:
            yield
        except GatedRepoError as error:
            raise ModelError(f"{name} is gated: accept its terms at {site}/{name}, then {LOGIN}") from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise ModelError(f"there is no model {name} on {site}, or it is private: then {LOGIN}") from error
        except HfHubHTTPError as error:
            raise ModelError(f"{site} does not give {name}: {_reason(error)}") from error
        except Exception as error:  # which library speaks HTTP, and so its errors, changes between the hub's versions
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise ModelError(f"no space left in {self.folder} for {name}") from error
            if downloading:
                raise ModelError(
                    f"the download of {name} was interrupted ({_reason(error)}); run this again to go on with it"
                ) from error
            part = "only in part" if self.cached(name) else "not"
            raise ModelError(
                f"{name} is {part} in {self.folder} and {site} cannot be reached ({_reason(error)}); run this again "
                "with a network, which goes on where a download stopped, or give the path of a folder"
            ) from error


def fetched(name: str) -> Path:
    """The folder of a model of the default hub, see `Hub.fetched`."""
    return Hub().fetched(name)


def complete(folder: Path, model: AnyModel) -> bool:
    """Whether a model's folder in the cache has all that its class needs."""
    if model.SCHEDULER is None and not (folder / SCHEDULER).is_file():
        return False
    for name in _folders(model):
        part = folder / name
        files = {path.name for path in part.iterdir()} if part.is_dir() else set()
        if not files or (name.startswith("tokenizer") and not files & VOCABULARIES):
            return False
        try:
            if (part / CONFIG_NAME).is_file():
                find_weights(part, _stem(model, name))
        except ModelError:
            return False
    return True


def needed(name: str, model: AnyModel, files: Collection[str]) -> list[str]:
    """Of a model's files those that are to be downloaded. Raises ModelError for a component that is only pickled."""
    wanted = [file for file in ALWAYS if file in files]
    for folder in _folders(model):
        inside = {PurePosixPath(file).name for file in files if PurePosixPath(file).parent.as_posix() == folder}
        if not inside:
            raise ModelError(f"{name} is incomplete: it has no folder {folder}")
        weights = {file for file in inside if PurePosixPath(file).suffix in PICKLED | {".safetensors"}}
        weights |= {file for file in inside if file.endswith(".index.json")}
        chosen = inside - weights
        if weights:
            chosen |= _weights(name, folder, _stem(model, folder), inside)
        wanted += [f"{folder}/{file}" for file in sorted(chosen) if not file.endswith((".msgpack", ".h5", ".onnx"))]
    return wanted


def _weights(name: str, folder: str, stem: str, files: Collection[str]) -> set[str]:
    whole, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    if whole in files:
        return {whole}
    if index in files:
        return {index, *(file for file in files if file.startswith(f"{stem}-") and file.endswith(".safetensors"))}
    variants = sorted(file for file in files if file.startswith(f"{stem}.") and file.endswith(".safetensors"))
    if variants:
        return {variants[0]}
    raise ModelError(
        f"{name} has only pickled weights in {folder}, which can run code when they are loaded; download it "
        f"(hf download {name} --local-dir DIR), make a copy with {folder}/{whole} "
        "(safa-stream convert DIR --out COPY), and give that copy's path"
    )


def _folders(model: AnyModel) -> tuple[str, ...]:
    return (*(kind.name for kind in model.KINDS), *model.TEXTS)


def _stem(model: AnyModel, folder: str) -> str:
    libraries = {kind.name: kind.library for kind in model.KINDS}
    return STEMS[libraries.get(folder, "transformers")]


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
