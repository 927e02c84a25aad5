"""Open a checkpoint directory in diffusers layout as a source of graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safa_exporters.graph import Source
from safa_exporters.sources.audioldm import AudioLDM
from safa_exporters.sources.audioldm2 import AudioLDM2
from safa_exporters.sources.stable_audio import StableAudio
from safa_exporters.sources.stable_audio3 import StableAudio3
from safa_stream.errors import ModelError
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind, read_checkpoint, read_pipeline


@dataclass(frozen=True, slots=True)
class Family:
    """A pipeline class's components, its short name, and the source made of them."""

    kinds: tuple[Kind, ...]
    name: str
    source: Callable[[Checkpoint, str], Source]


STABLE_3 = Family(StableAudio3.KINDS, "stable-audio-3", StableAudio3)
#: By the `_class_name` in model_index.json.
FAMILIES: Mapping[str, Family] = {
    "AudioLDMPipeline": Family(AudioLDM.KINDS, "audioldm", AudioLDM),
    "MusicLDMPipeline": Family(AudioLDM.KINDS, "musicldm", AudioLDM),
    "AudioLDM2Pipeline": Family(AudioLDM2.KINDS, "audioldm2", AudioLDM2),
    "StableAudioPipeline": Family(StableAudio.KINDS, "stable-audio", StableAudio),
    "StableAudio3Pipeline": STABLE_3,
    "StableAudio3AudioToAudioPipeline": STABLE_3,
    "StableAudio3InpaintPipeline": STABLE_3,
}


def open_checkpoint(folder: Path) -> Source:
    """The source of a local checkpoint directory. Its weights are held against its configurations, but not loaded.

    Raises ModelError, in one line, for: a folder that is not in diffusers layout, a pipeline class that is not known, a
    component's folder, configuration or weights that are missing, weights that are only pickled, shards that are
    missing or of another set, weights that do not fit their configuration, and a library that is not installed.
    """
    pipeline = read_pipeline(folder)
    if pipeline not in FAMILIES:
        raise ModelError(f"{folder} is a {pipeline}, which is not known; known are {', '.join(FAMILIES)}")
    family = FAMILIES[pipeline]
    return family.source(read_checkpoint(folder, pipeline, family.kinds), family.name)
