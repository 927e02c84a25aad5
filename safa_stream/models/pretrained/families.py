"""Which class of ours runs which pipeline of diffusers, and how a checkpoint directory becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from safa_stream.errors import ModelError
from safa_stream.models.backends.spec import AUTO
from safa_stream.models.pretrained.base import PretrainedModel, viewed
from safa_stream.models.pretrained.checkpoint import read_checkpoint, read_pipeline
from safa_stream.models.pretrained.computing import open_computing


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family's class is: the module beside this one, and its name."""

    module: str
    class_name: str

    def model_class(self) -> type[PretrainedModel]:
        """The class; importing it needs diffusers."""
        found: type[PretrainedModel] = getattr(
            import_module(f"safa_stream.models.pretrained.{self.module}"), self.class_name
        )
        return found


#: By the `_class_name` in model_index.json.
FAMILIES: Mapping[str, Family] = {
    "AudioLDMPipeline": Family("audioldm", "AudioLDM"),
    "MusicLDMPipeline": Family("audioldm", "MusicLDM"),
    "AudioLDM2Pipeline": Family("audioldm2", "AudioLDM2"),
    "StableAudioPipeline": Family("stable_audio", "StableAudio"),
    "StableAudio3Pipeline": Family("stable_audio3", "StableAudio3"),
    "AceStepPipeline": Family("ace_step", "AceStep"),
    "LongCatAudioDiTPipeline": Family("longcat", "LongCat"),
}


def family_of(folder: Path) -> Family:
    """The family of a checkpoint directory. Raises ModelError for another pipeline, or no checkpoint at all."""
    pipeline = read_pipeline(folder)
    if pipeline not in FAMILIES:
        raise ModelError(f"{folder} is a {pipeline}, which is not known; known are {', '.join(FAMILIES)}")
    return FAMILIES[pipeline]


def open_pretrained(folder: Path, backend: str = AUTO, view: float | None = None) -> PretrainedModel:
    """The model in a checkpoint directory of diffusers' layout, on a backend by name.

    view: seconds of a view, None for the model's own. Raises UsageError where it does not take that, and ModelError
    where files are missing, damaged, pickled, or of another kind; or the backend cannot be used here.
    """
    model_class = family_of(folder).model_class()
    computing = open_computing(backend)
    checkpoint = read_checkpoint(folder, read_pipeline(folder), model_class.KINDS, model_class.SCHEDULER)
    model = model_class(checkpoint, computing)
    if view is not None:
        model.facts = viewed(model.facts, view)
    return model
