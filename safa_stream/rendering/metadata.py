"""What a rendered file says about itself: a JSON document in its comment tag, enough to make the file again."""

from __future__ import annotations

import json
import shlex
import struct
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from safa_stream.channels import AMBIX
from safa_stream.errors import FailureError, SafaError, SceneError
from safa_stream.models.interface import BY_NETWORK
from safa_stream.scene import Scene, format_prompts

FORMAT = "safa-render-1"
#: Fields of a scene that are options of the same name.
OPTIONS = (
    "steps", "guidance", "overlap", "swap_interval", "reference_ratio", "method", "attend_ratio", "sync_weight",
    "sync_steps", "mode", "model",
)  # fmt: skip
#: A comment is a few kilobytes; what claims to be more is not ours.
LARGEST_COMMENT = 4 << 20


@dataclass(frozen=True, slots=True)
class Tags:
    """The text tags of a file."""

    title: str
    software: str
    comment: str


@dataclass(frozen=True, slots=True)
class Origin:
    """How a file was made. The scene has no open choices: steps, guidance and overlap are those that were used.

    licence: the model's, which may say what its sounds can be used for; "unknown" in files of earlier versions.
    distance: by which method syncdiffusion compared views, None for other methods. channels: of the file, behind the
    channel map where there is one; sources: of the sound before it.
    """

    scene: Scene
    seconds: float
    lufs: float | None
    rate: int
    channels: int
    model: str
    model_version: str
    version: str
    licence: str = "unknown"
    distance: str | None = None
    channel_map: str | None = None
    sources: int | None = None

    def to_json(self) -> str:
        """One line of ASCII, which every tag format keeps as it is."""
        data = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scene"}
        return json.dumps({"format": FORMAT, **data, "scene": json.loads(self.scene.to_json(None))})

    @classmethod
    def from_json(cls, text: str) -> Origin:
        """Read it back. Raises SceneError where it is not such a document."""
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
                raise SceneError(f"the comment is not of the format {FORMAT}")
            scene = Scene.from_json(json.dumps(data.pop("scene")))
            return cls(scene=scene, **data)
        except (ValueError, KeyError, TypeError) as error:
            raise SceneError(f"the comment is not a description of a scene: {error}") from None


@dataclass(frozen=True, slots=True)
class FileReport:
    """What is known of a rendered file."""

    file: str
    seconds: float
    sample_rate: int
    channels: int
    file_format: str
    subtype: str
    origin: Origin

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        origin = asdict(self.origin) | {"scene": json.loads(self.origin.scene.to_json(None))}
        return asdict(self) | {"origin": origin, "command": command(self)}


def tags(origin: Origin) -> Tags:
    """The tags of a file that is made this way."""
    return Tags(format_prompts(origin.scene.prompts), f"safa-stream {origin.version}", origin.to_json())


def read(path: Path) -> FileReport:
    """What a file says of itself. Raises FailureError where it cannot be read or was not made by this program."""
    try:
        with soundfile.SoundFile(path) as file:
            facts = (file.frames / file.samplerate, file.samplerate, file.channels, file.format, file.subtype)
            comment = file.comment
        if facts[3] in ("WAV", "WAVEX", "RF64"):
            with path.open("rb") as stream:
                comment = _riff_comment(stream)
    except (soundfile.SoundFileError, OSError, struct.error) as error:
        said = error.strerror if isinstance(error, OSError) else "not a sound file that can be read"
        raise FailureError(f"{path}: {said}") from None
    try:
        return FileReport(str(path), *facts, Origin.from_json(comment))
    except SafaError:
        raise FailureError(
            f"{path}: holds no scene; it was not written by safa-stream, or its tags were lost"
        ) from None


def command(report: FileReport) -> str:
    """The command that makes the file again, to the sample on the same version and model.

    A scene that the command line cannot say in full is left to `safa-stream info --save-scene`.
    """
    origin, scene, plain = report.origin, report.origin.scene, Scene(report.origin.scene.prompts)
    words: list[str] = ["safa-stream", "render"]
    if len({change.morph for change in scene.changes}) > 1:
        words += ["--scene", "SCENE.json"]
    else:
        words.append(format_prompts(scene.prompts))
        if scene.negative:
            words += ["--negative", format_prompts(scene.negative)]
        words += ["--seed", str(scene.seed)]
        for name in OPTIONS:
            if getattr(scene, name) != getattr(plain, name):
                words += ["--" + name.replace("_", "-"), str(getattr(scene, name))]
        network = (origin.distance or "").removeprefix(BY_NETWORK)
        words += ["--perceptual", network] if network != (origin.distance or "") else []
        words += ["--loop"] if scene.loop else []
        for change in scene.changes:
            words += ["--at", repr(change.at), format_prompts(change.prompts)]
        if scene.changes:
            words += ["--morph", repr(scene.changes[0].morph)]
    words += ["--duration", repr(origin.seconds), "--rate", str(origin.rate)]
    words += ["--channels", str(origin.channels)] if origin.channel_map is None else _mapped(origin)
    words += ["--lufs", "off" if origin.lufs is None else repr(origin.lufs)]
    bits = {"PCM_16": "16", "PCM_24": "24", "FLOAT": "32f"}.get(report.subtype)
    words += ["--bits", bits] if bits else []
    return shlex.join([*words, "--out", Path(report.file).name])


def _mapped(origin: Origin) -> list[str]:
    words = ["--channel-map", origin.channel_map or ""]
    return [*words, "--channels", str(origin.sources)] if origin.channel_map == AMBIX else words


def _riff_comment(stream: BinaryIO) -> str:
    """The ICMT entry of a RIFF or RF64 file; libsndfile itself reads back no more than 2 kB of it."""
    stream.seek(12)
    while len(header := stream.read(8)) == 8:
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"LIST" and size <= LARGEST_COMMENT:
            found = _entry(stream.read(size + size % 2), b"ICMT")
            if found is not None:
                return found
            continue
        if name == b"data":
            break
        stream.seek(size + size % 2, 1)
    return ""


def _entry(body: bytes, wanted: bytes) -> str | None:
    place = 4
    while body[:4] == b"INFO" and place + 8 <= len(body):
        size = struct.unpack_from("<I", body, place + 4)[0]
        if body[place : place + 4] == wanted:
            return body[place + 8 : place + 8 + size].rstrip(b"\0").decode("utf-8", "replace")
        place += 8 + size + size % 2
    return None
