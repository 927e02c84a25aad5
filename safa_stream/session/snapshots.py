"""A session as bytes and back: what goes on from a snapshot equals what would have gone on without it.

The bytes are a safetensors file (no code in it); what is not an array is JSON in its header. Left out are views in the
making, which are begun again, and what lies too far back to be rewound to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from safa_stream.continuation import StreamState
from safa_stream.decode import DecodeState
from safa_stream.errors import SafaError, SnapshotError
from safa_stream.models.interface import Model
from safa_stream.scene import WeightedPrompt
from safa_stream.session import mixing, roster, safety
from safa_stream.session.bed import Bed
from safa_stream.session.codec import command_from_json, command_to_json
from safa_stream.session.guard import Guard, Measured
from safa_stream.session.journal import Mark
from safa_stream.session.layer import Aim, Layer, Leaving, Settings
from safa_stream.session.levels import LevelState
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.session import Session
from safa_stream.session.sound import WHOLE_TAKES, Making, Sound, Take
from safa_stream.session.state import State, Waiting
from safa_stream.session.tempo import Grid
from safa_stream.session.timeline import Timeline, Turn
from safa_stream.trajectory import AnyNumpy, Tensors, Trajectory

FORMAT, KEY = "safa-session-snapshot-2", "safa_session"
#: Where reading begins without a mark.
BEGINNING = Mark()
_PLAIN = ("sequence", "commands", "lines", "frozen", "scenes", "prepared")


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A session as it stood: taken in a moment, while nobody else uses it, and packed at leisure."""

    tensors: Tensors
    about: dict[str, Any]

    @property
    def lines(self) -> int:
        """How many lines of the session's own its journal has to have for all that is in here."""
        return int(self.about["lines"])

    def pack(self) -> bytes:
        """The snapshot's bytes."""
        # Made contiguous, as safetensors writes others wrongly; numpy would give numbers a dimension on the way.
        packed = {k: np.ascontiguousarray(v) if v.ndim else v for k, v in self.tensors.items()}
        return bytes(safetensors_numpy.save(packed, {KEY: json.dumps(self.about)}))


def capture(session: Session, mark: Mark = BEGINNING) -> Captured:
    """All that is needed to go on from here. A session replaces its arrays and never alters them.

    mark: a place in the session's journal that lies before what this does not hold, so that reading can begin there.
    """
    state = session.state
    # The journal's lines so far are what this holds: none of them may change any more.
    state.moment = None
    tensors: Tensors = {**state.mix.to_tensors("mix/"), **state.limiting.to_tensors("limit/")}
    about: dict[str, Any] = {
        "format": FORMAT,
        "model": f"{state.model.facts.name} {state.model.facts.version}",
        "position": session.position,
        "journal": asdict(mark),
        "making": {str(n): layer.work.asked for n, layer in state.layers.items() if layer.work is not None},
        "scene": state.scene.as_dict(),
        "settings": asdict(state.settings),
        "grid": state.grid.as_dict(),
        **{name: copy(getattr(state, name)) for name in _PLAIN},
        "waiting": [_waiting_out(one) for one in state.waiting],
        "held_back": [_waiting_out(one) for one in state.held_back],
        "layers": {str(n): _layer_out(state, layer, tensors) for n, layer in state.layers.items()},
    }
    return Captured(tensors, about)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot says of itself. position: the next sample; mark: where to begin in the journal; making: steps and
    expected seconds of layers' views that were in the making, by the layers' numbers."""

    position: int
    mark: Mark
    making: Mapping[int, tuple[int | None, float]]


def facts_of(data: bytes) -> Facts:
    """What stands in a snapshot's head. Raises SnapshotError where it is damaged or of another format."""
    with _reading():
        about = _about(data)
        making = {int(number): (steps, expected) for number, (steps, expected) in about.get("making", {}).items()}
        mark = Mark(**about["journal"]) if "journal" in about else BEGINNING
        return Facts(about.get("position", 0), mark, making)


def restore(model: Model, data: bytes) -> Session:
    """The session that was saved. Raises SnapshotError where the bytes are damaged or of another model or version."""
    with _reading():
        tensors, about = safetensors_numpy.load(data), _about(data)
        wanted = f"{model.facts.name} {model.facts.version}"
        if about["model"] != wanted:
            raise SnapshotError(f"the session's snapshot is of model {about['model']}, this is {wanted}")
        return Session(_state(model, about, tensors))


def extra(data: bytes, name: str) -> tuple[AnyNumpy | None, dict[str, Any]]:
    """An array that whoever saved a session laid beside it, None where there is none; and what the snapshot says of
    itself. Raises SnapshotError."""
    with _reading():
        return safetensors_numpy.load(data).get(name), _about(data)


def marked(data: bytes, mark: Mark) -> bytes:
    """The same snapshot, for a journal that has another place for what it does not hold. Raises SnapshotError."""
    with _reading():
        size = int.from_bytes(data[:8], "little")
        header, about = json.loads(data[8 : 8 + size]), _about(data)
        header["__metadata__"][KEY] = json.dumps({**about, "journal": asdict(mark)})
        # Tensors' places count from the end of the head, which has to be a multiple of eight bytes.
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head + data[8 + size :]


def _about(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    about: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
    if about["format"] != FORMAT:
        raise SnapshotError(f"the session's snapshot is not of the format {FORMAT}")
    return about


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever a damaged file makes go wrong is a SnapshotError."""
    try:
        yield
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SnapshotError(f"the session's snapshot is damaged: {type(error).__name__}: {error}") from error
    except SnapshotError:
        raise
    except SafaError as error:
        raise SnapshotError(f"the session's snapshot is damaged: {error}") from error


def _state(model: Model, about: dict[str, Any], tensors: Mapping[str, AnyNumpy]) -> State:
    state = State.of(model, LiveScene.from_value(about["scene"]))
    for name in _PLAIN:
        setattr(state, name, about[name])
    state.settings = Settings(**about["settings"])
    state.grid = Grid.from_dict(about["grid"])
    state.waiting = [_waiting_in(one) for one in about["waiting"]]
    state.held_back = [_waiting_in(one) for one in about["held_back"]]
    state.mix = mixing.MixState.from_tensors(tensors, "mix/")
    state.limiting = safety.LimiterState.from_tensors(tensors, "limit/")
    for number, values in about["layers"].items():
        _layer_in(state, int(number), values, tensors)
    return state


def _layer_out(state: State, layer: Layer, tensors: Tensors) -> dict[str, Any]:
    at = f"layer/{layer.number}/"
    _sound_out(state.model, layer.sound, f"{at}sound/", tensors)
    if layer.leaving is not None:
        tensors[f"{at}leaving"] = layer.leaving.samples
    if layer.bed is not None:
        tensors[f"{at}bed"] = layer.bed.loop
    for number, hop in enumerate(layer.guard.first):
        tensors[f"{at}guard/first/{number}"] = hop.envelopes
    for number, envelopes in enumerate(layer.guard.recent):
        tensors[f"{at}guard/recent/{number}"] = envelopes
    aim, cut_at = (layer.aim, layer.cut_at) if layer.work is None else (layer.work.aim, layer.work.cut_at)
    return {
        "turns": [_turn_out(turn) for turn in layer.timeline.turns],
        "held_at": layer.timeline.held_at,
        "own": asdict(layer.own),
        "phase": layer.phase,
        "ramp": layer.ramp,
        "waits": layer.waits,
        "aim": aim.value,
        "cut_at": cut_at,
        "foretold": list(layer.foretold.items()),
        "back_sample": layer.back_sample,
        "firm": layer.firm,
        "heard_from": layer.heard_from,
        "ends_at": layer.ends_at,
        "leaving_since": None if layer.leaving is None else layer.leaving.since,
        "bed_since": None if layer.bed is None else layer.bed.since,
        "bed_return": layer.bed_return,
        "guard": [[hop.loudness, hop.high_variance] for hop in layer.guard.first],
        "guard_recent": len(layer.guard.recent),
        "takes": [asdict(take.making) for take in layer.sound.takes[-WHOLE_TAKES:]],
    }


def _layer_in(state: State, number: int, values: dict[str, Any], tensors: Mapping[str, AnyNumpy]) -> None:
    at = f"layer/{number}/"
    turns = [_turn_in(state.model, turn) for turn in values["turns"]]
    first = turns[0]
    scene = LayerScene(number, first.prompts, first.negative, first.seed)
    roster.add(state, scene, values["ramp"])
    layer = state.layers[number]
    layer.timeline = Timeline(tuple(turns), values["held_at"])
    layer.sound = _sound_in(state, layer.sound.decoding.seed, values["takes"], f"{at}sound/", tensors)
    layer.foretold = {int(number_of): float(frame) for number_of, frame in values["foretold"]}
    for name in ("phase", "waits", "cut_at", "back_sample", "firm", "heard_from", "ends_at", "bed_return"):
        setattr(layer, name, values[name])
    layer.aim = Aim(values["aim"])
    layer.own = Settings(**values["own"])
    if values["leaving_since"] is not None:
        layer.leaving = Leaving(np.asarray(tensors[f"{at}leaving"], np.float32), values["leaving_since"])
    if values["bed_since"] is not None:
        layer.bed = Bed(np.asarray(tensors[f"{at}bed"], np.float32), values["bed_since"], state.rate)
    layer.guard = Guard(
        tuple(
            Measured(loudness, variance, np.asarray(tensors[f"{at}guard/first/{n}"], np.float64))
            for n, (loudness, variance) in enumerate(values["guard"])
        ),
        tuple(np.asarray(tensors[f"{at}guard/recent/{n}"], np.float64) for n in range(values["guard_recent"])),
    )


def _sound_out(model: Model, sound: Sound, at: str, tensors: Tensors) -> None:
    tensors[f"{at}place"] = np.array([sound.origin, sound.start])
    tensors[f"{at}samples"] = sound.samples
    _states_out(model, sound.views, sound.decoding, sound.levels, at, tensors)
    tensors[f"{at}seed"] = np.array(sound.decoding.seed)
    for number, take in enumerate(sound.takes[-WHOLE_TAKES:]):
        one = f"{at}take/{number}/"
        tensors[f"{one}frame"] = np.array(take.frame)
        tensors[f"{one}latents"] = take.latents
        # References are made again, alike, where a way back needs them.
        _states_out(model, replace(take.views, references=()), take.decoding, take.levels, one, tensors)
        tensors.update(take.head.to_tensors(f"{one}head/", model.to_numpy))
        if take.trajectory is not None:
            tensors.update(take.trajectory.to_tensors(f"{one}whole/", model.to_numpy))


def _sound_in(state: State, seed: int, takes: list[Any], at: str, tensors: Mapping[str, AnyNumpy]) -> Sound:
    model = state.model
    origin, start = (int(value) for value in np.asarray(tensors[f"{at}place"]))
    seed = int(np.asarray(tensors[f"{at}seed"]))
    found = []
    for number, making in enumerate(takes):
        one = f"{at}take/{number}/"
        whole = f"{one}whole/states" in tensors
        found.append(
            Take(
                int(np.asarray(tensors[f"{one}frame"])),
                *_states_in(state, seed, one, tensors),
                np.asarray(tensors[f"{one}latents"], np.float32),
                Trajectory.from_tensors(tensors, f"{one}whole/", model.from_numpy) if whole else None,
                Trajectory.from_tensors(tensors, f"{one}head/", model.from_numpy),
                Making(tuple(tuple(prompt) for prompt in making["prompts"]), making["steps"], making["guidance"]),
            )
        )
    samples = np.asarray(tensors[f"{at}samples"], np.float32)
    return Sound(origin, start, samples, *_states_in(state, seed, at, tensors), tuple(found))


def _states_out(
    model: Model, views: StreamState, decoding: DecodeState, levels: LevelState, at: str, tensors: Tensors
) -> None:
    for name, value in {**views.to_tensors(model), **decoding.to_tensors(), **levels.to_tensors("levels/")}.items():
        tensors[at + name] = value


def _states_in(
    state: State, seed: int, at: str, tensors: Mapping[str, AnyNumpy]
) -> tuple[StreamState, DecodeState, LevelState]:
    inside = {name.removeprefix(at): value for name, value in tensors.items() if name.startswith(at)}
    return (
        StreamState.from_tensors(inside, state.model),
        DecodeState.from_tensors(inside, state.decoder, seed),
        LevelState.from_tensors(inside, "levels/"),
    )


def _turn_out(turn: Turn) -> dict[str, Any]:
    return {
        "at": turn.at,
        "morph": turn.morph,
        "prompts": [asdict(prompt) for prompt in turn.prompts],
        "negative": [asdict(prompt) for prompt in turn.negative],
        "seed": turn.seed,
    }


def _turn_in(model: Model, values: dict[str, Any]) -> Turn:
    prompts, negative = (tuple(WeightedPrompt(**one) for one in values[name]) for name in ("prompts", "negative"))
    told = model.encode(prompts, negative, values["seed"])
    return Turn(values["at"], values["morph"], prompts, negative, values["seed"], told)


def _waiting_out(waiting: Waiting) -> dict[str, Any]:
    command = command_to_json(waiting.command)
    return {"at": waiting.at, "number": waiting.number, "command": command, "line": waiting.line}


def _waiting_in(values: dict[str, Any]) -> Waiting:
    return Waiting(values["at"], values["number"], command_from_json(values["command"]), values["line"])
