"""Pretrained models that are known to fit, and those that are on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.checkpoint import CONFIG_NAME, INDEX_NAME, read_licence, read_pipeline
from safa_stream.models.pretrained.weights import read_json


@dataclass(frozen=True, slots=True)
class Known:
    """A model on the hub, by its card. gigabytes: to download, about.

    core_seconds: of processor time for a guided call of the denoiser on a default view, in single precision on one
    core; measured with random weights on a server CPU with AVX-512. None: not measured.
    """

    name: str
    pipeline: str
    licence: str
    sample_rate: int
    channels: int
    gigabytes: float
    use: str
    core_seconds: float | None = None


NON_COMMERCIAL = "cc-by-nc-sa-4.0"
STABILITY = "stability-ai-community"
#: Where the card's front matter was not seen.
CARD = "see its card"
#: cvssp/audioldm and cvssp/audioldm-l-full are left out: they have pickled weights only.
KNOWN = (
    Known("cvssp/audioldm2", "AudioLDM2Pipeline", NON_COMMERCIAL, 16000, 1, 4.4, "sounds of all kinds", 4.0),
    Known("cvssp/audioldm2-large", "AudioLDM2Pipeline", NON_COMMERCIAL, 16000, 1, 6.0, "sounds of all kinds, better"),
    Known("cvssp/audioldm2-music", "AudioLDM2Pipeline", NON_COMMERCIAL, 16000, 1, 4.4, "music", 4.0),
    Known("cvssp/audioldm-s-full-v2", "AudioLDMPipeline", NON_COMMERCIAL, 16000, 1, 1.7, "sounds, the lightest", 2.3),
    Known("cvssp/audioldm-m-full", "AudioLDMPipeline", NON_COMMERCIAL, 16000, 1, 2.6, "sounds"),
    Known("ucsd-reach/musicldm", "MusicLDMPipeline", NON_COMMERCIAL, 16000, 1, 1.8, "music", 2.3),
    Known("stabilityai/stable-audio-open-1.0", "StableAudioPipeline", STABILITY, 44100, 2, 5.3, "sounds"),
    Known("ACE-Step/acestep-v15-xl-turbo-diffusers", "AceStepPipeline", CARD, 48000, 2, 12.0, "music"),
    Known("ruixiangma/LongCat-AudioDiT-1B-Diffusers", "LongCatAudioDiTPipeline", "mit", 24000, 1, 5.0, "speech"),
)


@dataclass(frozen=True, slots=True)
class Installed:
    """A pipeline's folder on this machine. name: its id, or the folder; gigabytes: of its files.

    sample_rate, channels: as its components' configurations say, None where they do not.
    """

    name: str
    folder: Path
    pipeline: str
    licence: str
    gigabytes: float
    sample_rate: int | None
    channels: int | None


def installed(cache: Path, folders: Iterable[Path] = ()) -> list[Installed]:
    """The pipelines in the hub's cache, and those in folders or right under them. Nothing is loaded."""
    found = list(_cached(cache))
    for folder in folders:
        inside = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []
        found += [(str(path), path) for path in inside if (path / INDEX_NAME).is_file()]
    return [made for name, path in found if (made := _installed(name, path)) is not None]


def cache_folder() -> Path:
    """The cache of huggingface_hub, by its rules; the library itself may not be installed."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE", Path(os.environ.get("HF_HOME", home)) / "hub")).expanduser()


def _cached(cache: Path) -> Iterator[tuple[str, Path]]:
    """The newest snapshots of all models in a cache of huggingface_hub."""
    for entry in sorted(cache.glob("models--*--*")):
        _, owner, name = entry.name.split("--", 2)
        try:
            commit = (entry / "refs" / "main").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        folder = entry / "snapshots" / commit
        if (folder / INDEX_NAME).is_file():
            yield f"{owner}/{name}", folder


def _installed(name: str, folder: Path) -> Installed | None:
    try:
        pipeline = read_pipeline(folder)
        rate, channels = _sound(folder)
    except ModelError:
        return None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Installed(name, folder, pipeline, read_licence(folder), round(size / 1e9, 2), rate, channels)


def _sound(folder: Path) -> tuple[int | None, int | None]:
    """Rate and channels: a vocoder makes one channel, an autoencoder of waveforms says how many it has."""
    for part in ("vocoder", "vae"):
        path = folder / part / CONFIG_NAME
        if path.is_file():
            config = read_json(path, "a configuration")
            channels = 1 if part == "vocoder" else config.get("audio_channels") or config.get("in_channels")
            return config.get("sampling_rate") or config.get("sample_rate"), channels
    return None, None
