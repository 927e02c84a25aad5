"""What a session is told and what it tells, one frozen dataclass each; every transport speaks in these.

Times named `at`, `to`, `start` are samples of the session's own clock at the model's rate; `position` is the first
sample that has not been mixed yet. Lengths named `morph`, `ramp`, `seconds` are seconds. A field that is None leaves
what it names as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from safa_stream.scene import WeightedPrompt

LARGEST_LAYERS = 8
#: A name that a scene is kept under.
LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Base of all commands. `at`: carry it out at this sample, now where it is None or past.

    quantise: wait, from `at` or now on, for the next line of the tempo's grid: "beat", "bar", "2 beats", "4 bars" and
    so on. What waits moves with the grid when the tempo changes.
    """

    name: ClassVar[str] = ""
    at: int | None = None
    quantise: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Command):
    """Move a layer to `prompts` over `morph` seconds, from the next view on, or with `now` right after the playhead.

    negative: what to keep away from, None leaves it as it is.
    """

    name: ClassVar[str] = "prompt"
    prompts: tuple[WeightedPrompt, ...]
    layer: int = 0
    negative: tuple[WeightedPrompt, ...] | None = None
    morph: float = 4.0
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLayer(Command):
    """Begin a layer; its sound fades in over `ramp` seconds once it is there. layer: None takes the lowest free."""

    name: ClassVar[str] = "layer.add"
    prompts: tuple[WeightedPrompt, ...]
    layer: int | None = None
    negative: tuple[WeightedPrompt, ...] = ()
    seed: int | None = None
    gain: float = 0.0
    pan: float = 0.0
    ramp: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveLayer(Command):
    """Fade a layer out over `ramp` seconds and end it."""

    name: ClassVar[str] = "layer.remove"
    layer: int
    ramp: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix(Command):
    """Change a layer's place in the mix, or the master's with layer None; every value moves over `ramp` seconds.

    gain, low, high: dB; pan: -1 left to 1 right; low, high: shelves at 250 Hz and 4 kHz; duck: how many dB the layer
    sinks while layer `duck_by` is loud.
    """

    name: ClassVar[str] = "mix"
    layer: int | None = None
    gain: float | None = None
    pan: float | None = None
    mute: bool | None = None
    solo: bool | None = None
    low: float | None = None
    high: float | None = None
    duck: float | None = None
    duck_by: int | None = None
    ramp: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure(Command):
    """How views are made from the next one on. layer None: of all layers, whatever they had. reference_ratio: 0..1.

    hops: "free", or lines as in `quantise` on which views begin to be heard, as near as frames and the overlap allow.
    """

    name: ClassVar[str] = "configure"
    layer: int | None = None
    steps: int | None = None
    guidance: float | None = None
    reference_ratio: float | None = None
    hops: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reseed(Command):
    """Give a layer another seed: new noise and a new reference from the next view on, joined like any other view."""

    name: ClassVar[str] = "reseed"
    layer: int = 0
    seed: int
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reanchor(Command):
    """Hold a layer's next view more firmly to its reference."""

    name: ClassVar[str] = "reanchor"
    layer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze(Command):
    """Hold the scene: morphs stand still and prompt changes wait until `on` is False."""

    name: ClassVar[str] = "freeze"
    on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewind(Command):
    """Go on from what was heard at sample `to` and after it; the clock itself runs on."""

    name: ClassVar[str] = "rewind"
    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLoop(Command):
    """Make a seamless loop of the last `seconds`; event LoopReady tells when it can be fetched."""

    name: ClassVar[str] = "loop.capture"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveScene(Command):
    """Keep the present scene under a name; event SceneSaved holds it."""

    name: ClassVar[str] = "scene.save"
    scene: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallScene(Command):
    """Move to a scene over `morph` seconds: one kept under a name, or one given as its JSON object."""

    name: ClassVar[str] = "scene.recall"
    scene: str | dict[str, Any]
    morph: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo(Command):
    """Change the tempo's grid from this sample on: beats a minute, the beat here, beats a bar.

    beat: None lets beats go on without a jump. Bars begin at whole multiples of beats_per_bar.
    """

    name: ClassVar[str] = "tempo"
    bpm: float | None = None
    beat: float | None = None
    beats_per_bar: float | None = None


COMMANDS: tuple[type[Command], ...] = (
    Prompt,
    AddLayer,
    RemoveLayer,
    Mix,
    Configure,
    Reseed,
    Reanchor,
    Freeze,
    Rewind,
    CaptureLoop,
    SaveScene,
    RecallScene,
    Tempo,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. `position`: the session's sample when it happened."""

    name: ClassVar[str] = ""
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Event):
    """A command was carried out. start: the first sample that it can change; unknown_words: meant nothing."""

    name: ClassVar[str] = "applied"
    command: int
    start: int
    unknown_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """A command that came with a time could not be carried out when its time had come."""

    name: ClassVar[str] = "refused"
    command: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewMade(Event):
    """A layer's view was made: sound is ready up to sample `ready`. made_in: seconds it took."""

    name: ClassVar[str] = "view"
    layer: int
    view: int
    start: int
    ready: int
    steps: int
    made_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FewerSteps(Event):
    """Generation is short of time: a view is made with fewer solver steps."""

    name: ClassVar[str] = "fewer_steps"
    layer: int
    view: int
    steps: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BedBegan(Event):
    """A layer's sound was late: what it played last goes on as a bed."""

    name: ClassVar[str] = "bed.began"
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BedEnded(Event):
    """A layer's own sound is back after so many samples of bed."""

    name: ClassVar[str] = "bed.ended"
    layer: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reanchored(Event):
    """The drift guard, or a command, held a layer to its reference. measure: what had left its band low..high."""

    name: ClassVar[str] = "reanchored"
    layer: int
    measure: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReady(Event):
    """A captured loop can be fetched."""

    name: ClassVar[str] = "loop.ready"
    command: int
    loop: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSaved(Event):
    """A scene was kept; `content` is its JSON object, which RecallScene takes."""

    name: ClassVar[str] = "scene.saved"
    scene: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEnded(Event):
    """A removed layer's fade is over."""

    name: ClassVar[str] = "layer.ended"
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TempoChanged(Event):
    """The grid is another from sample `position` on, where the beat is `beat`."""

    name: ClassVar[str] = "tempo"
    bpm: float
    beat: float
    beats_per_bar: float


EVENTS: tuple[type[Event], ...] = (
    Applied,
    Refused,
    ViewMade,
    FewerSteps,
    BedBegan,
    BedEnded,
    Reanchored,
    LoopReady,
    SceneSaved,
    LayerEnded,
    TempoChanged,
)
