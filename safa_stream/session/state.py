"""All that a live session is at a moment: its layers, its mix, its clock, and what is waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safa_stream.errors import UsageError
from safa_stream.models.interface import Decoder, Model
from safa_stream.session import messages as m
from safa_stream.session import mixing, safety, tempo
from safa_stream.session.layer import Layer, Settings
from safa_stream.session.levels import Leveller, leveller
from safa_stream.session.livescene import LiveScene, check_layer
from safa_stream.session.stereo import voiced
from safa_stream.session.strips import Strip
from safa_stream.types import FloatArray

if TYPE_CHECKING:
    from safa_stream.session.merging import Moment

#: Commands that may wait for their time, events that may wait to be fetched, scenes that are kept.
LARGEST_QUEUE, LARGEST_EVENTS, LARGEST_SCENES = 1000, 1000, 64
#: What was played is kept for beds; states for going back and for loops so long.
HEARD_SECONDS, BACK_SECONDS = 12.0, 120.0
LONGEST_RAMP = 3600.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command whose time has not come, or that a frozen scene holds back. line: the beat that it waits for."""

    at: int
    number: int
    command: m.Command
    line: float | None = None


@dataclass(slots=True, eq=False)
class State:
    """Mutable; its session is its only user.

    settings: how views of layers without settings of their own are made; prepared: numbers of commands that wait and
    whose layers are being made; stems: of layers that somebody hears apart, the last samples, which are as late as the
    limiter's; moment: mix commands that others can still become a part of.
    """

    model: Model
    decoder: Decoder
    leveller: Leveller
    limiter: safety.Limiter
    limiting: safety.LimiterState
    mix: mixing.MixState
    scene: LiveScene
    settings: Settings
    grid: tempo.Grid
    layers: dict[int, Layer] = field(default_factory=dict)
    sequence: int = 0
    commands: int = 0
    frozen: bool = False
    waiting: list[Waiting] = field(default_factory=list)
    prepared: list[int] = field(default_factory=list)
    held_back: list[Waiting] = field(default_factory=list)
    captures: list[Waiting] = field(default_factory=list)
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: deque[m.Event] = field(default_factory=lambda: deque(maxlen=LARGEST_EVENTS))
    log: list[dict[str, Any]] = field(default_factory=list)
    lines: int = 0
    levels: dict[int | None, float] = field(default_factory=dict)
    stems: dict[int, FloatArray] = field(default_factory=dict)
    moment: Moment | None = None

    @classmethod
    def of(cls, model: Model, scene: LiveScene) -> State:
        """A state without layers; their strips stand in the mixer already."""
        model, rate = voiced(model, scene.channels), model.facts.sample_rate
        limiter = safety.limiter(rate)
        return cls(
            model,
            model.decoder(),
            leveller(rate, scene.lufs),
            limiter,
            safety.begin(limiter, scene.channels),
            mixing.begin(rate, {layer.layer: layer.strip for layer in scene.layers}, scene.master, scene.channels),
            scene,
            Settings(scene.steps, scene.guidance, scene.reference_ratio, scene.hops),
            tempo.begin(rate, scene.bpm, scene.beats_per_bar),
        )

    @property
    def position(self) -> int:
        """The next sample to be read."""
        return self.mix.position

    @property
    def channels(self) -> int:
        """Of what is read."""
        return self.mix.channels

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.model.facts.sample_rate

    def strip(self, number: int | None) -> Strip:
        """A layer's place in the mix, or the master's (None)."""
        return (self.mix.master if number is None else self.mix.channel(number)).strip

    def guidance(self, settings: Settings) -> float:
        """The guidance that settings come to."""
        return self.model.facts.default_guidance if settings.guidance is None else settings.guidance

    def layer(self, number: int) -> Layer:
        """A layer by its number. Raises UsageError where there is none."""
        check_layer(number)
        if number not in self.layers:
            there = ", ".join(map(str, sorted(self.layers))) or "none"
            raise UsageError(f"field 'layer': there is no layer {number}; there are {there}")
        return self.layers[number]

    def samples(self, seconds: float, name: str = "ramp") -> int:
        """A length in samples. Raises UsageError where it is none."""
        good = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= LONGEST_RAMP
        if not good:
            raise UsageError(f"field {name!r} must be from 0 to {LONGEST_RAMP:g} seconds, not {seconds!r}")
        return round(seconds * self.rate)

    def tell(self, event: m.Event) -> None:
        """Keep an event until it is fetched; the oldest goes where too many wait."""
        self.events.append(event)

    def note(self, kind: str, **values: Any) -> None:
        """Write a line of the journal."""
        self.log.append({"type": kind, "position": self.position, **values})
        self.lines += 1
