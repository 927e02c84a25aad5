"""What happens in the host as commands to the session: the same events give the same, whenever they are read. Pure.

So an offline render is steered like the performance. Automation can change a value with every block; a command of a
kind goes out at most once in so many frames, with the values that held then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from safa_server.bridge.document import decibels
from safa_server.bridge.parameters import BLENDING, LAYERS, NAMES, USUAL
from safa_server.bridge.segment import JUMP, PARAMETER, TEMPO, TRANSPORT, PluginEvent
from safa_server.bridge.slots import weighted
from safa_stream.session.messages import Command, Configure, Freeze, Mix, Prompt, Reseed, Tempo
from safa_stream.session.tempo import FASTEST, LONGEST_BAR, SHORTEST_BAR, SLOWEST

#: Seconds between two commands of a kind.
PROMPT_SECONDS, MIX_SECONDS = 0.25, 0.02


@dataclass(frozen=True, slots=True)
class Order:
    """A command, and the ring's frame at which what it stands for happened."""

    index: int
    command: Command


@dataclass(slots=True)
class Steering:
    """rate: of the ring's frames, in Hz; slots: the prompts' texts; layers: those that the session has.

    values: the parameters as they are; rolling: whether the host's transport does; tempo: what it said last; notes:
    what the transport did, in words.
    """

    rate: int
    slots: tuple[str, ...]
    layers: frozenset[int] = frozenset({0})
    values: dict[str, float] = field(default_factory=lambda: dict(USUAL))
    known: set[str] = field(default_factory=set)
    rolling: bool = False
    tempo: Tempo | None = None
    notes: list[str] = field(default_factory=list)
    _waiting: dict[str, int] = field(default_factory=dict)
    _said: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the plugin has said all of its parameters."""
        return len(self.known) == len(NAMES)

    @property
    def runs(self) -> bool:
        """Whether the session is to run: always, or while the transport rolls."""
        return self.rolling or self.values["follow"] < 0.5

    def take(self, events: Iterable[PluginEvent], before: int) -> list[Order]:
        """Orders from events, and from what waits until it is due before frame `before`."""
        orders: list[Order] = []
        for event in events:
            orders += self._due(event.index)
            if event.kind == PARAMETER and event.which < len(NAMES):
                self._set(NAMES[event.which], event.a, event.index)
            elif event.kind == TRANSPORT:
                self.rolling = event.which == 1
                self.notes.append(
                    f"the host's transport {'rolls' if self.rolling else 'stands'} at frame {event.a:.0f}"
                )
            elif event.kind == JUMP:
                self.notes.append(f"the host's transport jumps from frame {event.a:.0f} to {event.b:.0f}")
            elif event.kind == TEMPO:
                self.tempo = _tempo(event.a, event.b, event.c)
                self.notes.append(f"the host's tempo is {event.a:g}, {event.c:g} beats a bar, at beat {event.b:.2f}")
                orders.append(Order(event.index, self.tempo))
        return orders + self._due(before)

    def change_slots(self, slots: tuple[str, ...], index: int) -> None:
        """Other texts from frame `index` on."""
        self.slots = slots
        self._waiting.setdefault("prompt", index)

    def forget(self) -> None:
        """Nothing waits any more: the values went into a scene."""
        self._waiting.clear()

    def _set(self, name: str, value: float, index: int) -> None:
        self.known.add(name)
        if self.values[name] == value:
            return
        self.values[name] = value
        kind = "prompt" if name in BLENDING else name
        if kind in _KINDS:
            self._waiting.setdefault(kind, index)

    def _due(self, before: int) -> list[Order]:
        orders = []
        for kind, since in sorted(self._waiting.items(), key=lambda one: one[1]):
            pause = PROMPT_SECONDS if kind == "prompt" else MIX_SECONDS
            due = max(since, self._said.get(kind, -(2**62)) + round(pause * self.rate))
            if due >= before:
                continue
            del self._waiting[kind]
            self._said[kind] = due
            if (command := _KINDS[kind](self)) is not None:
                orders.append(Order(due, command))
        return orders


def _prompt(steering: Steering) -> Command | None:
    prompts = weighted(steering.slots, steering.values)
    values = steering.values
    return Prompt(prompts=prompts, morph=values["morph"], now=values["now"] > 0.5) if prompts else None


def _tempo(bpm: float, beat: float, beats_per_bar: float) -> Tempo:
    """A host's tempo as a session takes it; hosts know slower and faster ones."""
    return Tempo(
        bpm=min(max(bpm, SLOWEST), FASTEST),
        beat=beat,
        beats_per_bar=min(max(beats_per_bar, SHORTEST_BAR), LONGEST_BAR),
    )


def _layer(number: int) -> Callable[[Steering], Command | None]:
    def command(steering: Steering) -> Command | None:
        gain = decibels(steering.values[f"layer_{number + 1}"])
        return Mix(layer=number, gain=gain) if number in steering.layers else None

    return command


_KINDS: dict[str, Callable[[Steering], Command | None]] = {
    "prompt": _prompt,
    "gain": lambda steering: Mix(gain=decibels(steering.values["gain"])),
    # 0 is the model's own, which a running session cannot be told to take again.
    "guidance": lambda steering: Configure(guidance=g) if (g := steering.values["guidance"]) > 0 else None,
    "freeze": lambda steering: Freeze(on=steering.values["freeze"] > 0.5),
    "seed": lambda steering: Reseed(seed=round(steering.values["seed"])),
    **{f"layer_{number + 1}": _layer(number) for number in range(LAYERS)},
}
