"""Jobs: a list of renders as JSON lines, checked as a whole before the first of them is made.

{"out": "tent.flac", "prompt": "rain on a tent", "duration": 60, "seed": 7}
{"out": "night/frogs.ogg", "scene": {"format": "safa-scene-1", ...}, "duration": 120, "lufs": -16}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from safa_stream.errors import SafaError, UsageError
from safa_stream.rendering.render import check
from safa_stream.rendering.sink import LOUDNESS, Output
from safa_stream.scene import Scene, parse_prompts, read_json

#: Fields of a job that are a scene's, and those that are its file's.
OF_SCENE = (
    "seed", "steps", "guidance", "overlap", "swap_interval", "reference_ratio", "method", "mode", "loop", "model",
)  # fmt: skip
OF_FILE = ("rate", "channels", "channel_map", "format", "bits", "lufs", "spectrogram")
FIELDS = ("out", "duration", "prompt", "negative", "scene", *OF_SCENE, *OF_FILE)
LARGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """One render. out: a path inside the batch's folder; spectrogram: whether a picture is put beside the file."""

    out: str
    scene: Scene
    seconds: float
    rate: int | None = None
    channels: int | None = None
    channel_map: str | None = None
    file_format: str | None = None
    bits: str | None = None
    lufs: float | None = LOUDNESS
    spectrogram: bool = False

    @property
    def key(self) -> str:
        """A digest of all that the job asks for: the same job has the same, another never."""
        asked = {name.name: getattr(self, name.name) for name in fields(self) if name.name != "scene"}
        return hashlib.sha256(json.dumps([asked, self.scene.to_json(None)]).encode()).hexdigest()[:24]

    def output(self, folder: Path) -> Output:
        """Where it is written; what an earlier try left there is replaced."""
        path = folder / self.out
        picture = path.with_suffix(".png") if self.spectrogram else None
        return Output(
            path,
            self.rate,
            self.channels,
            self.channel_map,
            self.file_format,
            self.bits,
            self.lufs,
            picture,
            force=True,
        )


def read_jobs(path: Path, defaults: Mapping[str, Any]) -> tuple[Job, ...]:
    """The jobs of a file. defaults: fields for lines that do not have them.

    Raises UsageError naming the line: no JSON object, unknown, missing or wrong fields, an `out` that leaves the folder
    or that two jobs share. Empty lines are skipped.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8") from None
    jobs: list[Job] = []
    places: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            job = read_job(line, defaults)
        except SafaError as error:
            raise UsageError(f"{path}, line {number}: {error}") from None
        for name in (job.out, *((str(PurePosixPath(job.out).with_suffix(".png")),) if job.spectrogram else ())):
            if name in places:
                raise UsageError(f"{path}, line {number}: {name} is the file of line {places[name]} already")
            places[name] = number
        jobs.append(job)
    if not jobs:
        raise UsageError(f"{path} holds no jobs: one JSON object a line, with out, prompt and duration")
    return tuple(jobs)


def read_job(line: str, defaults: Mapping[str, Any]) -> Job:
    """One line. Raises UsageError naming the field that is wrong."""
    if len(line) > LARGEST_LINE:
        raise UsageError(f"it is longer than {LARGEST_LINE} characters")
    given = read_json(line, "the job")
    if not isinstance(given, dict):
        raise UsageError("not a JSON object")
    unknown = [name for name in given if name not in FIELDS]
    if unknown:
        raise UsageError(f"no field is called {unknown[0]!r}; there are {', '.join(FIELDS)}")
    values = {**defaults, **given}
    job = Job(
        out=_place(values.get("out")),
        scene=_scene(values, given),
        seconds=_number(values, "duration"),
        rate=_whole(values, "rate"),
        channels=_whole(values, "channels"),
        channel_map=_text(values, "channel_map"),
        file_format=_text(values, "format"),
        bits=_text(values, "bits"),
        lufs=None if values.get("lufs") == "off" else _number({"lufs": LOUDNESS, **values}, "lufs"),
        spectrogram=_flag(values, "spectrogram"),
    )
    # All but the folder, which may not be there yet.
    check(job.scene, job.seconds, replace(job.output(Path()), path=None, spectrogram=None))
    return job


def _scene(values: Mapping[str, Any], given: Mapping[str, Any]) -> Scene:
    if ("scene" in given) == ("prompt" in given):
        raise UsageError("a job has either prompt or scene")
    settings = {name: values[name] for name in OF_SCENE if values.get(name) is not None}
    if settings.get("loop"):
        settings.setdefault("mode", "joint")
    if "negative" in values:
        settings["negative"] = parse_prompts(_text(values, "negative") or "")
    if "prompt" in given:
        return Scene(prompts=parse_prompts(_text(given, "prompt") or ""), **settings)
    return replace(Scene.from_json(json.dumps(given["scene"])), **settings)


def _place(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise UsageError("field 'out' must be a file's name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UsageError(f"field 'out' must be a path inside the batch's folder, not {name!r}")
    return str(path)


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"field {name!r} must be a number, not {value!r}")
    return float(value)


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise UsageError(f"field {name!r} must be a whole number, not {value!r}")
    return value


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"field {name!r} must be a text, not {value!r}")
    return value


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"field {name!r} must be true or false, not {value!r}")
    return value
