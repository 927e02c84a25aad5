"""Commands carried out: each changes the state or raises UsageError and has changed nothing."""

from __future__ import annotations

import secrets
from dataclasses import replace

from safa_stream.errors import UsageError
from safa_stream.session import beginnings, roster, scenes, turns, waiting
from safa_stream.session import messages as m
from safa_stream.session.loops import Capture, Part
from safa_stream.session.sound import back
from safa_stream.session.state import BACK_SECONDS, State, Waiting
from safa_stream.session.work import Aim

#: Loops from the shortest that a closing view leaves anything of, to the longest whose states are kept.
SHORTEST_LOOP, LONGEST_LOOP = 8.0, 110.0


def carry_out(state: State, command: m.Command, number: int) -> list[m.Event]:
    """Do what a command says, now; what it led to. Raises UsageError or one of its kinds."""
    start, unknown, more = state.position, tuple[str, ...](), list[m.Event]()
    match command:
        case m.Prompt():
            if state.frozen:
                turns.hold_back(state, command, number)
            else:
                start, unknown = turns.turn(state, command, number)
        case m.AddLayer():
            unknown = beginnings.add(state, command, number)
        case m.RemoveLayer():
            roster.remove(state, state.layer(command.layer), state.samples(command.ramp))
        case m.Mix():
            roster.mix(state, command)
        case m.Configure():
            roster.configure(state, command)
        case m.Reseed():
            start, unknown = turns.turn(state, command, number)
        case m.Reanchor():
            state.layer(command.layer).firm = True
            more.append(
                m.Reanchored(position=start, layer=command.layer, measure="asked", value=0.0, low=0.0, high=0.0)
            )
        case m.Freeze():
            turns.freeze(state, command.on)
        case m.Rewind():
            _rewind(state, command.to)
        case m.CaptureLoop():
            _capture(state, command, number)
        case m.SaveScene():
            more.append(scenes.save(state, command.scene))
        case m.RecallScene():
            unknown = scenes.recall(state, command, number)
            for layer in list(state.layers.values()):
                if layer.waits == number:
                    beginnings.begin(state, layer, state.samples(command.morph, "morph"))
        case m.Tempo():
            more.append(waiting.change_tempo(state, command))
        case _:
            raise UsageError(f"a session cannot carry out {type(command).__name__}")
    if number in state.prepared:
        state.prepared.remove(number)
    return [m.Applied(position=state.position, command=number, start=start, unknown_words=unknown), *more]


def resolved(command: m.Command) -> m.Command:
    """The command with what is left to chance decided, so that it can be carried out again alike."""
    if isinstance(command, m.AddLayer) and command.seed is None:
        return replace(command, seed=secrets.randbelow(2**31))
    return command


def _rewind(state: State, to: int) -> None:
    oldest = state.position - round((BACK_SECONDS - 10) * state.rate)
    if not isinstance(to, int) or isinstance(to, bool) or not max(0, oldest) <= to <= state.position:
        raise UsageError(f"field 'to' must be a sample from {max(0, oldest)} to {state.position}, not {to!r}")
    heard = [layer for layer in state.layers.values() if layer.heard_from is not None]
    samples = {layer.number: max(to, layer.heard_from or 0) - layer.sound.origin for layer in heard}
    for layer in heard:
        if back(layer.sound, samples[layer.number] // state.model.facts.samples_per_frame) is None:
            raise UsageError(f"field 'to': what layer {layer.number} played at sample {to} is not kept any more")
    for layer in heard:
        layer.work, layer.pending, layer.aim = None, None, Aim.BACK
        layer.back_sample = samples[layer.number]


def _capture(state: State, command: m.CaptureLoop, number: int) -> None:
    if not isinstance(command.seconds, int | float) or not SHORTEST_LOOP <= command.seconds <= LONGEST_LOOP:
        raise UsageError(f"field 'seconds' must be from {SHORTEST_LOOP:g} to {LONGEST_LOOP:g}, not {command.seconds!r}")
    heard = [layer.heard_from for layer in state.layers.values() if layer.heard_from is not None]
    if not heard or (state.position - min(heard)) < command.seconds * state.rate:
        raise UsageError(f"field 'seconds': less than {command.seconds:g} s were heard so far")
    if len(state.captures) >= 4:
        raise UsageError("four loops are being made already; wait for one")
    state.captures.append(Waiting(state.position, number, command))


def capture_of(state: State, asked: Waiting) -> Capture:
    """All that making a loop needs, as it is now."""
    assert isinstance(asked.command, m.CaptureLoop)
    parts = []
    for number, layer in sorted(state.layers.items()):
        heard = layer.timeline.weights(layer.next_frame())
        told = tuple((turn.told, weight) for turn, weight in heard)
        if layer.heard_from is not None:
            parts.append((number, Part(layer.sound, layer.plan, told, state.strip(number), layer.plan.seed)))
    guidance = state.guidance(state.settings)
    return Capture(
        asked.number, asked.command.seconds, state.model, state.decoder, tuple(parts), state.strip(None), guidance
    )
