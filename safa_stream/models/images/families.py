"""Which class of ours runs which pipeline of diffusers, and how a checkpoint directory becomes a model of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from safa_stream.errors import ModelError
from safa_stream.models import HUB_ID
from safa_stream.models.backends.spec import AUTO
from safa_stream.models.images.base import PretrainedImages
from safa_stream.models.pretrained.checkpoint import read_checkpoint, read_pipeline
from safa_stream.models.pretrained.computing import open_computing
from safa_stream.models.pretrained.hub import Hub

#: By the `_class_name` in model_index.json: the module beside this one, and its class.
FAMILIES: Mapping[str, tuple[str, str]] = {
    "StableDiffusionPipeline": ("stable_diffusion", "StableDiffusion"),
    "StableDiffusion3Pipeline": ("stable_diffusion3", "StableDiffusion3"),
}


def image_class(folder: Path) -> type[PretrainedImages]:
    """The class that runs the pipeline in a checkpoint directory. Raises ModelError for one that makes no pictures."""
    pipeline = read_pipeline(folder)
    if pipeline not in FAMILIES:
        raise ModelError(f"{folder} is a {pipeline}, which makes no panoramas; what does is {', '.join(FAMILIES)}")
    module, name = FAMILIES[pipeline]
    found: type[PretrainedImages] = getattr(import_module(f"safa_stream.models.images.{module}"), name)
    return found


def open_images(folder: Path, backend: str = AUTO) -> PretrainedImages:
    """The model in a checkpoint directory of diffusers' layout, on a backend of torch by name.

    Raises ModelError where files are missing, damaged, pickled, or of another kind; or the backend cannot be used here.
    """
    model_class = image_class(folder)
    computing = open_computing(backend)
    return model_class(read_checkpoint(folder, read_pipeline(folder), model_class.KINDS), computing)


def load_images(name: str, backend: str = AUTO) -> PretrainedImages:
    """`open_images` of a folder, or of an id on the hub, which is downloaded where it is not in its cache here."""
    folder = Path(name)
    if not folder.is_dir() and HUB_ID.fullmatch(name):
        folder = Hub(model_class=image_class).fetched(name)
    return open_images(folder, backend)
