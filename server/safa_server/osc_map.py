"""The OSC address space as one table: which command is said at which address, with which of its fields as arguments.

Types, units and ranges come from the commands' dataclasses and from the table of ranges that all transports share.
What is documented, answered at /osc over HTTP and told to OSCQuery is made from the rows here; so is what is read.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any

from safa_server.fields import Range, alternatives, range_of
from safa_server.osc_stream import LARGEST_RING, LEAST_RING
from safa_stream.scene import WeightedPrompt
from safa_stream.session.messages import (
    EVENTS,
    AddLayer,
    CaptureLoop,
    Command,
    Configure,
    Event,
    Freeze,
    Mix,
    Prompt,
    Reanchor,
    RecallScene,
    RemoveLayer,
    Reseed,
    Rewind,
    SaveScene,
    Tempo,
)
from safa_stream.session.state import BACK_SECONDS

ROOT = "/safa"
#: Fields that are samples of the session's clock. On OSC they are two integers, whole seconds and samples beyond them:
#: 32 bits hold 12 hours of samples only, and not every program reads wider types.
TIMES = frozenset({"position", "start", "ready", "to"})
#: Length of a subscription that is not renewed, and how often a second status can be asked for.
SUBSCRIPTION_SECONDS = 600
HIGHEST_RATE = 50.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument. tag: its OSC type, T where it is true or false; limits: None where any value will do."""

    name: str
    tag: str
    required: bool = True
    limits: Range | None = None

    @property
    def range(self) -> str:
        """Such as "-1 to 1" or "at least 0 s"; empty where there is none."""
        if self.limits is None or self.tag == "s":
            return ""
        least, most = self.limits.least, self.limits.most
        span = f"at least {least:g}" if most >= 2**62 else f"{least:g} to {most:g}"
        return f"{span} {self.limits.unit}".strip()


@dataclass(frozen=True, slots=True)
class Row:
    """One address. N stands for a layer's number; direction: "in" is said to the server, "out" by it."""

    address: str
    parameters: tuple[Parameter, ...]
    meaning: str
    direction: str = "in"

    @property
    def types(self) -> str:
        """OSC type tags, those of arguments that can be left out in brackets."""
        needed = "".join(p.tag for p in self.parameters if p.required)
        rest = "".join(p.tag for p in self.parameters if not p.required)
        return needed + (f"[{rest}]" if rest else "")

    @property
    def arguments(self) -> str:
        """Names in order, those that can be left out in brackets."""
        return " ".join(p.name if p.required else f"[{p.name}]" for p in self.parameters)

    @property
    def range(self) -> str:
        """Ranges by argument."""
        return ", ".join(f"{p.name} {p.range}" for p in self.parameters if p.range)


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a command is said: its addresses below the root, its fields in order (the first `needs` must be given).

    An address without N leaves the command's `layer` at its default. fixed: fields that the address itself sets; ago:
    the field `to` is given in seconds before the present.
    """

    addresses: tuple[str, ...]
    command: type[Command]
    fields: tuple[str, ...]
    needs: int
    meaning: str
    fixed: tuple[tuple[str, Any], ...] = ()
    ago: bool = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its arguments, from the command's annotations."""
        if self.ago:
            return (Parameter("seconds", "f", True, Range(0, BACK_SECONDS - 10, "s")),)
        found: list[Parameter] = []
        for index, name in enumerate(self.fields):
            if name in TIMES:
                found += [Parameter("seconds", "i"), Parameter("samples", "i")]
            else:
                limits = range_of(self.command.name, name)
                found.append(Parameter(name, _tag(hint(self.command, name)), index < self.needs, limits))
        return tuple(found)


def _strip(field: str, meaning: str) -> Spelling:
    return Spelling((f"layer/N/{field}", f"master/{field}"), Mix, (field, "ramp"), 1, meaning)


def _configure(field: str, meaning: str) -> Spelling:
    return Spelling((field, f"layer/N/{field}"), Configure, (field,), 1, meaning)


_S = Spelling
SPELLINGS: tuple[Spelling, ...] = (
    _S(
        ("prompt", "layer/N/prompt"),
        Prompt,
        ("prompts", "morph", "now", "negative"),
        1,
        "Move to a prompt line over morph seconds.",
    ),
    _S(
        ("now", "layer/N/now"),
        Prompt,
        ("prompts", "morph"),
        0,
        "The same from just after the playhead on; without a prompt line, what is not heard yet is made again.",
        (("now", True),),
    ),
    _S(
        ("layer/add", "layer/N/add"),
        AddLayer,
        ("prompts", "gain", "pan", "ramp", "seed", "negative"),
        1,
        "Begin a layer, with the lowest free number or with N.",
    ),
    _S(("layer/N/remove",), RemoveLayer, ("ramp",), 0, "Fade a layer out and end it."),
    _strip("gain", "How loud."),
    _S(("layer/N/pan",), Mix, ("pan", "ramp"), 1, "Where between left (-1) and right (1)."),
    _strip("mute", "Silence it."),
    _S(("layer/N/solo",), Mix, ("solo", "ramp"), 1, "Hear only layers that have solo."),
    _strip("low", "Lift or lower what is below 250 Hz."),
    _strip("high", "Lift or lower what is above 4 kHz."),
    _S(("layer/N/duck",), Mix, ("duck", "duck_by", "ramp"), 1, "How far to sink while layer duck_by is loud."),
    _configure("steps", "Solver steps of each view."),
    _configure("guidance", "How closely to follow the words."),
    _configure("reference_ratio", "Share of the steps in which the reference is swapped in."),
    _configure("hops", 'Lines on which views begin to be heard, such as "bar"; "free" for none.'),
    _S(("seed", "layer/N/seed"), Reseed, ("seed", "now"), 1, "Another seed: the same words, another place."),
    _S(("reanchor", "layer/N/reanchor"), Reanchor, (), 0, "Hold the next view more firmly to the reference."),
    _S(("freeze",), Freeze, ("on",), 0, "Hold the scene as it is; with 0 let it go on."),
    _S(("rewind",), Rewind, ("to",), 1, "Go on from what was heard so many seconds ago.", ago=True),
    _S(("rewind/to",), Rewind, ("to",), 1, "Go on from what was heard at a sample time."),
    _S(("loop/capture",), CaptureLoop, ("seconds",), 1, "Make a seamless loop of the last seconds."),
    _S(("scene/save",), SaveScene, ("scene",), 1, "Keep the present scene under a name."),
    _S(("scene/recall",), RecallScene, ("scene", "morph"), 1, "Move to a scene that was kept, or to a JSON object."),
    _S(
        ("tempo",),
        Tempo,
        ("bpm", "beat", "beats_per_bar"),
        1,
        "Change the tempo; without a beat, or with nil, beats go on without a jump.",
    ),
)

_HOST, _PORT = Parameter("host", "s", False), Parameter("port", "i", False, Range(0, 65535))
_CLOCK = (Parameter("seconds", "i"), Parameter("samples", "i"))
#: Messages to the server that are no commands of a session.
SERVICES: tuple[Row, ...] = tuple(
    Row(f"{ROOT}/{name}", parameters, meaning)
    for name, parameters, meaning in (
        ("play", (), "Let the session's clock run."),
        ("pause", (), "Stop the session's clock; nothing is lost."),
        ("ping", (Parameter("token", "f", False),), "Answered by /safa/pong with the same argument, of any type."),
        ("state", (), "Answered by /safa/state."),
        (
            "subscribe",
            (_HOST, _PORT, Parameter("rate", "f", False, Range(0, HIGHEST_RATE, "a second"))),
            "Send events, answers, and so often status and meter to host and port (empty and 0: the sender's), for "
            f"{SUBSCRIPTION_SECONDS // 60} minutes; say it again to renew it.",
        ),
        ("unsubscribe", (_HOST, _PORT), "End that."),
        (
            "audio/subscribe",
            (_HOST, _PORT, Parameter("format", "s", False)),
            f"Send the sound as /safa/audio, as s16 or f32, for {SUBSCRIPTION_SECONDS // 60} minutes.",
        ),
        (
            "audio/ring",
            (
                Parameter("host", "s"),
                Parameter("port", "i", True, Range(0, 65535)),
                Parameter("buffer", "i", True, Range(0, 65535)),
                Parameter("frames", "i", True, Range(LEAST_RING, LARGEST_RING)),
            ),
            "Write the sound into a buffer of an scsynth, as /b_setn of interleaved samples: sample n of the session's "
            "clock is frame n modulo frames. Renewed and ended like the other.",
        ),
        ("audio/unsubscribe", (_HOST, _PORT), "End that."),
        ("auth", (Parameter("token", "s"),), "The server's token: each peer's first message beyond loopback."),
        (
            "at",
            (*_CLOCK, Parameter("address", "s"), Parameter("arguments", "*", False)),
            "Carry a command out at a sample time (also one number of samples instead of two).",
        ),
        (
            "quantise",
            (Parameter("lines", "s"), Parameter("address", "s"), Parameter("arguments", "*", False)),
            'Carry a command out on the next "beat" or "bar", or the next of "2 beats", "4 bars" and so on.',
        ),
    )
)


def _event_row(event: type[Event]) -> Row:
    found: list[Parameter] = []
    for field in fields(event):
        if field.name in TIMES:
            found += [Parameter(f"{field.name} seconds", "i"), Parameter(f"{field.name} samples", "i")]
        else:
            tag = _tag(hint(event, field.name))
            found.append(Parameter(field.name, "i" if tag == "T" else tag))
    return Row(event_address(event), tuple(found), " ".join((event.__doc__ or "").split()), "out")


def event_address(event: type[Event]) -> str:
    """Where an event is told."""
    return f"{ROOT}/event/{event.name.replace('.', '/')}"


def hint(message: type[Command] | type[Event], field: str) -> Any:
    """A field's annotation."""
    return typing.get_type_hints(message)[field]


def _tag(annotation: Any) -> str:
    """The OSC type of a field; texts stand for prompts, lists of words and JSON objects."""
    kinds = [kind for kind in alternatives(annotation) if kind is not NoneType]
    return {bool: "T", int: "i", float: "f"}.get(kinds[0], "s")


def spelt(kind: Any) -> bool:
    """Whether a kind of field is written as a prompt line."""
    return typing.get_origin(kind) is tuple and typing.get_args(kind)[0] is WeightedPrompt


_SESSION = Parameter("session", "s")
ANSWERS: tuple[Row, ...] = (
    Row(
        f"{ROOT}/ok",
        (Parameter("address", "s"), Parameter("number", "i")),
        "A command was taken; its number, or 0 for what is no command of a session.",
        "out",
    ),
    Row(
        f"{ROOT}/error",
        (Parameter("address", "s"), Parameter("reason", "s")),
        "What the address was sent could not be done.",
        "out",
    ),
    Row(f"{ROOT}/pong", (Parameter("token", "f"), *_CLOCK), "The session's clock.", "out"),
    Row(f"{ROOT}/state", (_SESSION, Parameter("state", "s")), "All of a session's state, as JSON.", "out"),
    Row(
        f"{ROOT}/status",
        (_SESSION, *_CLOCK, Parameter("playing", "i"), Parameter("ready", "f"), Parameter("layers", "i")),
        "The session's clock, whether it runs, how many seconds of sound are ready, how many layers there are.",
        "out",
    ),
    Row(
        f"{ROOT}/beat",
        (Parameter("bar", "i"), *(Parameter(name, "f") for name in ("beat", "bpm", "beats_per_bar"))),
        "Told with each status: where in the tempo's grid its clock stands. Bars and the beats in them count from 0.",
        "out",
    ),
    Row(
        f"{ROOT}/meter",
        (*(Parameter(name, "f") for name in ("peak left", "peak right", "rms left", "rms right")),),
        "Since the last one, 1 is full scale.",
        "out",
    ),
    Row(
        f"{ROOT}/audio",
        (Parameter("sequence", "i"), *_CLOCK, Parameter("sound", "b")),
        "Sound that begins at a sample time: interleaved little-endian samples of the format that was asked for.",
        "out",
    ),
)


def address_table() -> tuple[Row, ...]:
    """Every address: commands, services, answers, events."""
    commands = (
        Row(f"{ROOT}/{address}", spelling.parameters, spelling.meaning)
        for spelling in SPELLINGS
        for address in spelling.addresses
    )
    return (*commands, *SERVICES, *ANSWERS, *(_event_row(event) for event in EVENTS))
