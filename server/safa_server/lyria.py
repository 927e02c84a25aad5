"""The messages of Google's BidiGenerateMusic (Lyria RealTime) as values; pure.

    client: setup, clientContent, musicGenerationConfig, playbackControl; exactly one a message
    server: setupComplete, serverContent, filteredPrompt; `warning` rides on serverContent

v1alpha and v1beta are alike. Names are read in camelCase and snake_case, as readers of protocol buffers' JSON do, and
written in camelCase. docs/lyria.md says what works and which fields have no meaning here.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import parse_qs, urlsplit

from safa_stream.errors import UsageError

RATE = 48_000
CHANNELS = 2
#: As Google's server writes it. The samples are little-endian all the same, as every client of it expects.
MIME_TYPE = f"audio/l16;rate={RATE};channels={CHANNELS}"
#: Clients join a base address that may end in "/", so there can be two in front.
PATH = re.compile(r"/{1,2}ws/google\.ai\.generativelanguage\.v1(alpha|beta)\.GenerativeService\.BidiGenerateMusic")
MOST_PROMPTS = 32
LONGEST_PROMPT = 500
LONGEST_MODEL_NAME = 200


class Playback(StrEnum):
    """`playbackControl`."""

    PLAY = "PLAY"
    PAUSE = "PAUSE"
    STOP = "STOP"
    RESET_CONTEXT = "RESET_CONTEXT"


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message, and only the first. model: "models/NAME"; whatever its name, the server's model plays."""

    model: str


@dataclass(frozen=True, slots=True)
class LyriaPrompt:
    """One prompt as the client wrote it. text: any characters; weight: above 0."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class ClientContent:
    """The prompts from now on; those of weight 0 are left out already. strange: fields that no prompt has."""

    prompts: tuple[LyriaPrompt, ...]
    strange: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MusicConfig:
    """`musicGenerationConfig`. None: not set, the server's default."""

    temperature: float | None = None
    top_k: int | None = None
    seed: int | None = None
    guidance: float | None = None
    bpm: int | None = None
    density: float | None = None
    brightness: float | None = None
    scale: str | None = None
    mute_bass: bool | None = None
    mute_drums: bool | None = None
    only_bass_and_drums: bool | None = None
    music_generation_mode: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, under their wire names."""
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {camel(name): value for name, value in values if value is not None}


@dataclass(frozen=True, slots=True)
class ConfigUpdate:
    """Fields to set, by their names in `MusicConfig`; None sets one back. Empty: all go back to their defaults."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def applied_to(self, config: MusicConfig) -> MusicConfig:
        """The configuration after this message. Fields that it does not name stay as they are, unlike at Google's."""
        if not self.values:
            return MusicConfig()
        kept = {item.name: getattr(config, item.name) for item in fields(config)}
        return MusicConfig(**{**kept, **self.values})

    def without_meaning(self) -> tuple[str, ...]:
        """Wire names of fields set here that nothing in this server follows."""
        return tuple(camel(name) for name, value in self.values.items() if value is not None and name not in MEANINGFUL)


ClientMessage = Setup | ClientContent | ConfigUpdate | Playback


@dataclass(frozen=True, slots=True)
class _Range:
    """What a configuration field holds: a number from least to most, whole or not; a name; or true and false."""

    kind: type
    least: float = -math.inf
    most: float = math.inf
    names: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "one of " + ", ".join(self.names)
        return f"a {'whole ' if self.kind is int else ''}number from {self.least:g} to {self.most:g}"

    def read(self, value: Any) -> Any:
        """The value, or None where it cannot be one of these."""
        if self.kind is bool:
            return value if isinstance(value, bool) else None
        if self.kind is str:
            return value.upper() if isinstance(value, str) and value.upper() in self.names else None
        number = _number(value)
        if number is None or not self.least <= number <= self.most or (self.kind is int and number != int(number)):
            return None
        return self.kind(number)


_KEYS = ("C D_FLAT D E_FLAT E F G_FLAT G A_FLAT A B_FLAT B", "A B_FLAT B C D_FLAT D E_FLAT E F G_FLAT G A_FLAT")
SCALES = tuple(f"{major}_MAJOR_{minor}_MINOR" for major, minor in zip(*(keys.split() for keys in _KEYS), strict=True))
MODES = ("QUALITY", "DIVERSITY", "VOCALIZATION")
#: Names that stand for "not set".
UNSET = ("SCALE_UNSPECIFIED", "MUSIC_GENERATION_MODE_UNSPECIFIED")
_CONFIG: Mapping[str, _Range] = {
    "temperature": _Range(float, 0, 3),
    "top_k": _Range(int, 1, 1000),
    "seed": _Range(int, -(2**31), 2**31 - 1),
    "guidance": _Range(float, 0, 6),
    "bpm": _Range(int, 60, 200),
    "density": _Range(float, 0, 1),
    "brightness": _Range(float, 0, 1),
    "scale": _Range(str, names=(*SCALES, UNSET[0])),
    "mute_bass": _Range(bool),
    "mute_drums": _Range(bool),
    "only_bass_and_drums": _Range(bool),
    "music_generation_mode": _Range(str, names=(*MODES, UNSET[1])),
}
#: Fields that change what is heard.
MEANINGFUL = ("seed", "guidance", "brightness")


def read_message(text: str | bytes) -> ClientMessage:
    """One message of a client. Raises UsageError with a line that names the field that is wrong."""
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the message is not valid JSON: {error}") from None
    found = _object(data, "the message", tuple(_READERS))
    if len(found) != 1:
        raise UsageError(f"a message holds exactly one of {', '.join(map(camel, _READERS))}; this one: {len(found)}")
    ((name, value),) = found.items()
    return _READERS[name](value)


def _read_setup(value: Any) -> Setup:
    model = _object(value, "setup", ("model",)).get("model")
    if not _is_text(model, LONGEST_MODEL_NAME):
        raise UsageError('setup.model must be a model\'s name such as "models/lyria-realtime-exp"')
    return Setup(model)


def _read_content(value: Any) -> ClientContent:
    items = _object(value, "clientContent", ("weighted_prompts",)).get("weighted_prompts")
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_PROMPTS:
        raise UsageError(f"clientContent.weightedPrompts must be a list of 1 to {MOST_PROMPTS} prompts")
    prompts, strange = [], []
    for number, item in enumerate(items):
        where = f"clientContent.weightedPrompts[{number}]"
        if not isinstance(item, dict):
            raise UsageError(f"{where} must be an object with text and weight")
        # Browser clients hand over their own objects whole, colours and all.
        strange += [str(name) for name in item if name not in ("text", "weight")]
        text, weight = item.get("text"), _number(item.get("weight", 0))
        if not _is_text(text, LONGEST_PROMPT):
            raise UsageError(f"{where}.text must be 1 to {LONGEST_PROMPT} characters")
        if weight is None or weight < 0:
            raise UsageError(f"{where}.weight must be a finite number above 0")
        prompts += [LyriaPrompt(text, weight)] if weight > 0 else []
    if not prompts:
        raise UsageError("clientContent.weightedPrompts: the weights must not be all 0")
    return ClientContent(tuple(prompts), tuple(dict.fromkeys(strange)))


def _read_config(value: Any) -> ConfigUpdate:
    values: dict[str, Any] = {}
    for name, given in _object(value, "musicGenerationConfig", tuple(_CONFIG)).items():
        read = None if given is None else _CONFIG[name].read(given)
        if given is not None and read is None:
            raise UsageError(f"musicGenerationConfig.{camel(name)} must be {_CONFIG[name].words}")
        values[name] = None if read in UNSET else read
    return ConfigUpdate(values)


def _read_playback(value: Any) -> Playback:
    if not isinstance(value, str) or value.upper() not in Playback.__members__:
        raise UsageError(f"playbackControl must be one of {', '.join(Playback)}")
    return Playback[value.upper()]


_READERS: Mapping[str, Callable[[Any], ClientMessage]] = {
    "setup": _read_setup,
    "client_content": _read_content,
    "music_generation_config": _read_config,
    "playback_control": _read_playback,
}


def setup_complete() -> str:
    """The answer to `Setup`."""
    return _text({"setupComplete": {}})


def audio_chunk(samples: bytes, prompts: Sequence[LyriaPrompt], config: MusicConfig, warning: str = "") -> str:
    """Sound and what made it. samples: 16 bit, little-endian, 48 kHz, left and right in turn.

    The warning rides along because readers of this protocol look into `serverContent` of every message.
    """
    told = {"weightedPrompts": [{"text": prompt.text, "weight": prompt.weight} for prompt in prompts]}
    source = {"clientContent": told, "musicGenerationConfig": config.to_json()}
    chunk = {"data": base64.b64encode(samples).decode("ascii"), "mimeType": MIME_TYPE, "sourceMetadata": source}
    message: dict[str, Any] = {"serverContent": {"audioChunks": [chunk]}}
    return _text({**message, "warning": warning} if warning else message)


def filtered_prompt(text: str, reason: str) -> str:
    """A prompt that is not played, and why."""
    return _text({"filteredPrompt": {"text": text, "filteredReason": reason}})


def is_lyria(target: str) -> bool:
    """Whether a request's target, "/ws/google...BidiGenerateMusic?key=...", is this endpoint."""
    return PATH.fullmatch(target.partition("?")[0]) is not None


def key_of(target: str, header: str | None) -> str:
    """The key that a client brings, in `x-goog-api-key` or as `?key=`; "" without one."""
    return header or parse_qs(urlsplit(target.lstrip("/")).query).get("key", [""])[-1]


def camel(name: str) -> str:
    """mute_bass to muteBass."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _object(value: Any, where: str, known: Sequence[str]) -> dict[str, Any]:
    """A JSON object with its names as `known` has them."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a JSON object")
    names = {spelling: name for name in known for spelling in (name, camel(name))}
    found: dict[str, Any] = {}
    for spelling, item in value.items():
        if spelling not in names:
            listed = ", ".join(camel(name) for name in known)
            raise UsageError(f"unknown field {spelling[:40]!r} in {where}; known fields: {listed}")
        if names[spelling] in found:
            raise UsageError(f"field {spelling!r} stands twice in {where}")
        found[names[spelling]] = item
    return found


def _is_text(value: Any, longest: int) -> TypeGuard[str]:
    """Text with something in it, and no halves of characters, which JSON's escapes can hold and UTF-8 cannot."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
