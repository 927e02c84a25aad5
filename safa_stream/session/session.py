"""A live session: commands in, sound and events out; no clock, socket or thread of its own.

    receive(command) ─► timelines, strips ┐
                                          ├─ start(layer) ─► Work ─► (the engine) ─► Finished ─► complete
    read(count) ◄─ mixer ◄─ layers' sound ┘

Time is the session's own: `position` counts the samples that were read. Who calls what at which position is all that
decides the sound; the journal keeps just that, so a performance can be played again to the bit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.models.interface import Model
from safa_stream.session import (
    beginnings,
    foretelling,
    merging,
    mixing,
    orders,
    roster,
    safety,
    scenes,
    steering,
    telling,
    waiting,
)
from safa_stream.session import messages as m
from safa_stream.session.guard import Guard
from safa_stream.session.layer import FADE_SECONDS
from safa_stream.session.livescene import LiveScene
from safa_stream.session.loops import Capture
from safa_stream.session.state import (
    BACK_SECONDS,
    HEARD_SECONDS,
    LARGEST_EVENTS,
    State,
)
from safa_stream.session.tempo import Grid
from safa_stream.session.work import Aim, Finished, Work
from safa_stream.types import Chunk, FloatArray


class Session:
    """Make one with `begin`, or with `snapshots.restore`. For one caller at a time."""

    def __init__(self, state: State) -> None:
        self.state = state

    @classmethod
    def begin(cls, model: Model, scene: LiveScene) -> Session:
        """A session before its first sample. Raises UsageError where the model cannot make the scene."""
        state = State.of(model, scene)
        for layer in scene.layers:
            roster.add(state, layer, 0)
        return cls(state)

    # What is heard -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The next sample to be read."""
        return self.state.position

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.state.rate

    @property
    def heard_grid(self) -> Grid:
        """Which beat is heard at which sample: the limiter lets all be heard `limiter.delay` samples later."""
        return self.state.grid.later(self.state.limiter.delay)

    @property
    def begun(self) -> bool:
        """Whether all that the session began with can be heard."""
        return self.state.position > 0 or all(layer.heard_from is not None for layer in self.state.layers.values())

    def ready(self) -> int:
        """Samples that can be read before a layer would need a bed; 0 before the session has begun."""
        if not self.begun:
            return 0
        heard = [layer for layer in self.state.layers.values() if layer.heard_from is not None]
        return min((layer.ready(self.state.position, self.state.rate) for layer in heard), default=0)

    def read(self, count: int) -> Chunk:
        """The next `count` samples. Layers that are late are heard as beds; nothing makes this wait.

        The limiter looks ahead, so all that is heard is `limiter.delay` samples (5 ms) later than the clock says.
        """
        return self.read_apart(count, ())[0]

    def read_apart(self, count: int, layers: Collection[int]) -> tuple[Chunk, dict[int, FloatArray]]:
        """`read`, and some layers by themselves [channels, count], silence where there is no such layer.

        They are taken where they go into the master: behind shelves, gain, mute, ducking and pan, ahead of master and
        limiter, and as late as what the limiter lets out. So the sum of all layers is the whole wherever master and
        limiter leave it alone. One that was not asked for before begins with as much silence as the limiter is late.
        """
        start, blocks = self.state.position, dict[int, FloatArray]()
        for number, layer in self.state.layers.items():
            if layer.heard_from is None:
                continue
            bedded = layer.bed is not None
            blocks[number], ended = layer.hear(start, count, self.state.rate)
            if layer.bed is not None and not bedded:
                self.state.tell(m.BedBegan(position=start, layer=number))
            if ended is not None:
                self.state.tell(m.BedEnded(position=start, layer=number, samples=ended))
        parts = list(self._mixed(blocks, start, count, layers))
        mixed = np.concatenate([part for part, _ in parts], axis=1)
        stems = {layer: np.concatenate([apart[layer] for _, apart in parts], axis=1) for layer in layers}
        self.state.limiting, out = safety.limit(self.state.limiter, self.state.limiting, mixed)
        self._meter(blocks, out)
        self._end_layers()
        self._look_ahead()
        chunk = Chunk(out, start, self.state.sequence, self.state.rate, 0.0)
        self.state.sequence += 1
        return chunk, self._delayed(stems)

    def _delayed(self, stems: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
        """Layers as late as the limiter makes the whole; what nobody asks for any more is forgotten."""
        late, kept, begin = self.state.limiter.delay, dict[int, FloatArray](), self.state.stems
        out = {}
        for number, stem in stems.items():
            before = begin.get(number)
            line = np.concatenate([np.zeros((len(stem), late), np.float32) if before is None else before, stem], axis=1)
            out[number], kept[number] = line[:, : stem.shape[1]], line[:, stem.shape[1] :]
        self.state.stems = kept
        return out

    def _mixed(
        self, blocks: Mapping[int, FloatArray], start: int, count: int, apart: Collection[int]
    ) -> Iterator[tuple[FloatArray, dict[int, FloatArray]]]:
        """The block's parts, and those of layers by themselves.

        A command that waits for a sample within the block is carried out just before that sample. What each layer has
        is heard for the block as a whole; which commands come when is a matter of the mix alone.
        """
        stop = start + count
        while self.state.position < stop:
            self._due()
            first = self.state.position
            last = min([stop, *(waiting.at for waiting in self.state.waiting[:1])])
            part = {n: block[:, first - start : last - start] for n, block in blocks.items() if n in self.state.layers}
            self.state.mix, mixed, stems = mixing.mix_apart(self.state.mix, part, last - first, apart)
            yield mixed, stems

    def _meter(self, blocks: Mapping[int, FloatArray], out: FloatArray) -> None:
        """Note how high the block was, behind every layer's gain and at the end."""
        state = self.state
        for number, block in blocks.items():
            strip = state.strip(number)
            state.levels[number] = -math.inf if strip.mute else telling.decibels(block) + strip.gain
        state.levels[None] = telling.decibels(out)

    def events(self) -> list[m.Event]:
        """What happened since the last call."""
        told, self.state.events = list(self.state.events), deque(maxlen=LARGEST_EVENTS)
        return told

    # What is made --------------------------------------------------------------------------------------------------

    def lead(self, number: int) -> float:
        """Seconds of sound that a layer has ahead; minus infinity while it has none, or is to be cut."""
        layer = self.state.layers[number]
        if layer.heard_from is None or layer.aim is not Aim.NEXT:
            return -math.inf
        return (layer.sound.end - self.state.position) / self.state.rate

    def is_waiting(self, number: int) -> bool:
        """Whether a layer waits for its first sound, for a change right after the playhead, or to go back."""
        layer = self.state.layers[number]
        aim = layer.aim if layer.work is None else layer.work.aim
        return layer.heard_from is None or aim is not Aim.NEXT

    def wanting(self, lead: float) -> list[int]:
        """Layers that want a view: those that have less than `lead` seconds ahead and no view in the making."""
        return [
            number for number, layer in self.state.layers.items() if layer.work is None and self.lead(number) < lead
        ]

    def wanted_steps(self, number: int) -> int:
        """Solver steps that a layer's views are to be made with."""
        return orders.wanted_steps(self.state, self.state.layers[number])

    def start(self, number: int, steps: int | None = None, expected: float = 0.0) -> Work:
        """Begin a layer's next view; with `steps` where it is short of time. expected: seconds that it will take."""
        work = orders.begin(self.state, self.state.layers[number], steps, expected)
        self.state.note("start", layer=number, steps=steps, expected=expected)
        return work

    def complete(self, finished: Finished, seconds: float = 0.0) -> m.ViewMade | None:
        """Take a finished view, and what is told of it; one that is not wanted any more, or comes too late to be heard,
        is dropped: None.

        seconds: the time that it took.
        """
        work = finished.work
        layer = self.state.layers.get(work.layer)
        if layer is None or layer.work is not work:
            return None
        self.state.note("complete", layer=work.layer)
        first = layer.heard_from is None
        if not layer.taken(finished, self.state.position, self.state.rate):
            return None
        foretelling.keep_up(self.state)
        if first and self.state.position > 0 and layer.waits is None:
            ramp = max(layer.ramp, round(FADE_SECONDS * self.state.rate))
            self.state.mix = mixing.fade_in(self.state.mix, work.layer, ramp)
        alarm = layer.watched(finished, self.state.rate)
        if alarm is not None:
            layer.firm, layer.guard = True, Guard()
            self.state.tell(
                m.Reanchored(
                    position=self.state.position,
                    layer=work.layer,
                    measure=alarm.measure,
                    value=round(alarm.value, 3),
                    low=round(alarm.low, 3),
                    high=round(alarm.high, 3),
                )
            )
        sound = layer.sound
        per_frame, playhead = self.state.model.facts.samples_per_frame, layer.playhead(self.state.position)
        oldest = layer.frame_at(playhead - round(BACK_SECONDS * self.state.rate), per_frame)
        played = layer.frame_at(playhead, per_frame) - layer.plan.layout.overlap
        heard = playhead - round(HEARD_SECONDS * self.state.rate)
        layer.sound = sound.forgotten(heard, oldest, played, layer.hop)
        layer.timeline = layer.timeline.pruned(oldest)
        made = m.ViewMade(
            position=self.state.position,
            layer=work.layer,
            view=work.base.views.index,
            start=sound.origin + work.base.views.frame(layer.plan) * per_frame,
            ready=sound.end,
            steps=work.making.steps,
            made_in=round(seconds, 4),
        )
        self.state.tell(made)
        return made

    def forget_works(self) -> None:
        """Give up all views in the making; they are wanted again."""
        for layer in self.state.layers.values():
            if layer.work is not None:
                layer.aim, layer.cut_at, layer.work = layer.work.aim, layer.work.order.cut_at, None

    # What is asked for ---------------------------------------------------------------------------------------------

    def receive(self, command: m.Command) -> int:
        """Carry a command out, now or at its time; returns its number, or that of one that it became a part of.

        Raises UsageError or one of its kinds, naming the field, where it cannot be; then nothing has changed.
        """
        part_of = merging.merged(self.state, command)
        if part_of is not None:
            return part_of
        number, command, mix = self.state.commands + 1, steering.resolved(command), self.state.mix
        later = waiting.of(self.state, command, number)
        if later is not None:
            self.state.note("command", number=number, command=command)
            waiting.add(self.state, later)
        else:
            events = steering.carry_out(self.state, command, number)
            self.state.note("command", number=number, command=command)
            merging.begun(self.state, command, number, mix)
            for event in events:
                self.state.tell(event)
        self.state.commands = number
        self._look_ahead()
        return number

    def _look_ahead(self) -> None:
        """Have made ahead what waits for its time."""
        beginnings.prepare(self.state)
        foretelling.keep_up(self.state)

    def _due(self) -> None:
        """Carry out what has its time at this sample."""
        while self.state.waiting and self.state.waiting[0].at <= self.state.position:
            due = self.state.waiting.pop(0)
            try:
                for event in steering.carry_out(self.state, due.command, due.number):
                    self.state.tell(event)
            except UsageError as error:
                for layer in self.state.layers.values():
                    layer.recalled(due.number)
                self.state.tell(m.Refused(position=self.state.position, command=due.number, reason=str(error)))

    def _end_layers(self) -> None:
        state = self.state
        over = [n for n, layer in state.layers.items() if layer.ends_at is not None and layer.ends_at <= state.position]
        for number in over:
            del state.layers[number]
            state.mix = mixing.remove(state.mix, number)
            state.tell(m.LayerEnded(position=state.position, layer=number))

    # What it tells of itself ---------------------------------------------------------------------------------------

    def journal(self) -> list[dict[str, Any]]:
        """Journal lines since the last call."""
        lines, self.state.log = self.state.log, []
        return lines

    def captures(self) -> list[Capture]:
        """Loops that were asked for since the last call; what each is to be made from, as it is now."""
        state, asked = self.state, self.state.captures
        state.captures = []
        return [steering.capture_of(state, waiting) for waiting in asked]

    def provenance(self) -> dict[str, Any]:
        """What the sound at the present position was made with: prompts and their weights, seeds, settings."""
        return telling.provenance(self.state)

    def scene(self) -> LiveScene:
        """The present scene. Raises UsageError where every layer is about to end."""
        return scenes.scene_of(self.state)

    def describe(self) -> dict[str, Any]:
        """The session as a JSON object."""
        return telling.describe(self.state, self.ready())
