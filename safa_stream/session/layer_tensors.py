"""A layer as JSON values and tensors, and back: its timeline, its sound with all takes, and the view in the making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from safa_stream.continuation import StreamState
from safa_stream.decode import DecodeState
from safa_stream.models.interface import Model
from safa_stream.scene import WeightedPrompt
from safa_stream.session import orders, roster
from safa_stream.session.bed import Bed
from safa_stream.session.guard import Guard, Measured
from safa_stream.session.layer import Layer, Settings
from safa_stream.session.levels import LevelState
from safa_stream.session.livescene import LayerScene
from safa_stream.session.sound import Making, Sound, Take
from safa_stream.session.state import State
from safa_stream.session.timeline import Timeline, Turn
from safa_stream.session.work import Aim, Order, Work
from safa_stream.trajectory import AnyNumpy, Tensors, Trajectory


def layer_out(state: State, layer: Layer, tensors: Tensors) -> dict[str, Any]:
    """JSON values of a layer; its arrays go to `tensors`."""
    at = f"layer/{layer.number}/"
    _sound_out(state.model, layer.sound, f"{at}sound/", tensors)
    if layer.pending is not None:
        _sound_out(state.model, layer.pending, f"{at}pending/", tensors)
    if layer.bed is not None:
        tensors[f"{at}bed"] = layer.bed.loop
    for number, hop in enumerate(layer.guard.first):
        tensors[f"{at}guard/first/{number}"] = hop.envelopes
    for number, envelopes in enumerate(layer.guard.recent):
        tensors[f"{at}guard/recent/{number}"] = envelopes
    return {
        "turns": [_turn_out(turn) for turn in layer.timeline.turns],
        "held_at": layer.timeline.held_at,
        "own": asdict(layer.own),
        "phase": layer.phase,
        "ramp": layer.ramp,
        "waits": layer.waits,
        "aim": layer.aim.value,
        "cut_at": layer.cut_at,
        "foretold": list(layer.foretold.items()),
        "back_sample": layer.back_sample,
        "firm": layer.firm,
        "heard_from": layer.heard_from,
        "ends_at": layer.ends_at,
        "bed_since": None if layer.bed is None else layer.bed.since,
        "bed_return": layer.bed_return,
        "guard": [[hop.loudness, hop.high_variance] for hop in layer.guard.first],
        "guard_recent": len(layer.guard.recent),
        "takes": _makings(layer.sound),
        "pending": None if layer.pending is None else _makings(layer.pending),
        "work": None if layer.work is None else _work_out(layer.work, f"{at}work/", tensors),
    }


def layer_in(state: State, number: int, values: dict[str, Any], tensors: Mapping[str, AnyNumpy]) -> None:
    """Put a layer that `layer_out` gave into the state. Raises KeyError, ValueError, TypeError and SafaError for what
    is damaged."""
    at = f"layer/{number}/"
    turns = [_turn_in(state.model, turn) for turn in values["turns"]]
    first = turns[0]
    scene = LayerScene(number, first.prompts, first.negative, first.seed)
    roster.add(state, scene, values["ramp"])
    layer = state.layers[number]
    layer.timeline = Timeline(tuple(turns), values["held_at"])
    layer.sound = _sound_in(state, values["takes"], f"{at}sound/", tensors)
    if values["pending"] is not None:
        layer.pending = _sound_in(state, values["pending"], f"{at}pending/", tensors)
    layer.foretold = {int(number_of): float(frame) for number_of, frame in values["foretold"]}
    for name in ("phase", "waits", "cut_at", "back_sample", "firm", "heard_from", "ends_at", "bed_return"):
        setattr(layer, name, values[name])
    layer.aim = Aim(values["aim"])
    layer.own = Settings(**values["own"])
    if values["bed_since"] is not None:
        layer.bed = Bed(np.asarray(tensors[f"{at}bed"], np.float32), values["bed_since"], state.rate)
    layer.guard = Guard(
        tuple(
            Measured(loudness, variance, np.asarray(tensors[f"{at}guard/first/{n}"], np.float64))
            for n, (loudness, variance) in enumerate(values["guard"])
        ),
        tuple(np.asarray(tensors[f"{at}guard/recent/{n}"], np.float64) for n in range(values["guard_recent"])),
    )
    if values["work"] is not None:
        _work_in(state, number, values["work"], f"{at}work/", tensors)


def _work_out(work: Work, at: str, tensors: Tensors) -> dict[str, Any]:
    order = work.order
    tensors[f"{at}weights"] = np.array([weight for _, weight in order.told])
    return {
        "aim": order.aim.value,
        "frame": order.frame,
        "told": [_turn_out(turn) for turn, _ in order.told],
        "making": asdict(order.making),
        "hop": order.hop,
        "seed": order.seed,
        "ratio": order.ratio,
        "cut_at": order.cut_at,
        "foretold": list(work.foretold.items()),
    }


def _work_in(state: State, number: int, values: dict[str, Any], at: str, tensors: Mapping[str, AnyNumpy]) -> None:
    turns = [_turn_in(state.model, turn) for turn in values["told"]]
    weights = np.asarray(tensors[f"{at}weights"], np.float64)
    told = zip(turns, weights if weights.ndim > 1 else weights.tolist(), strict=True)
    order = Order(
        number,
        Aim(values["aim"]),
        told=tuple(told),
        making=_making_in(values["making"]),
        **{name: values[name] for name in ("frame", "hop", "seed", "ratio", "cut_at")},
    )
    orders.again(state, order, {int(number_of): float(frame) for number_of, frame in values["foretold"]})


def _makings(sound: Sound) -> list[dict[str, Any]]:
    return [asdict(take.making) for take in sound.takes]


def _making_in(values: dict[str, Any]) -> Making:
    prompts = tuple((text, seed, weight) for text, seed, weight in values["prompts"])
    return Making(prompts, values["steps"], values["guidance"])


def _sound_out(model: Model, sound: Sound, at: str, tensors: Tensors) -> None:
    tensors[f"{at}place"] = np.array([sound.origin, sound.start])
    tensors[f"{at}samples"] = sound.samples
    _states_out(model, sound.views, sound.decoding, sound.levels, at, tensors)
    tensors[f"{at}seed"] = np.array(sound.decoding.seed)
    for number, take in enumerate(sound.takes):
        one = f"{at}take/{number}/"
        tensors[f"{one}frame"] = np.array(take.frame)
        tensors[f"{one}latents"] = take.latents
        # References are made again, alike, where a way back needs them.
        _states_out(model, replace(take.views, references=()), take.decoding, take.levels, one, tensors)
        tensors.update(take.head.to_tensors(f"{one}head/", model.to_numpy))
        if take.trajectory is not None:
            tensors.update(take.trajectory.to_tensors(f"{one}whole/", model.to_numpy))


def _sound_in(state: State, takes: list[Any], at: str, tensors: Mapping[str, AnyNumpy]) -> Sound:
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
                _making_in(making),
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
