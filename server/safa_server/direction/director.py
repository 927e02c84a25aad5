"""The director: what a session is to be told, second by second, by the clock on the wall, chance and sensors. Pure.

    course, commands = begin(programme, now, layers)
    course, commands = step(programme, course, readings)        # once for every second

The same programme, beginning and readings give the same commands. A layer is begun only when nobody has it, two visits
never share one, and no more of them are there than may be together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from safa_server.direction.chance import draw, whole
from safa_server.direction.course import Course, Ramp, Running, Target
from safa_server.direction.programme import Programme, Time, Visit, holding, within
from safa_server.direction.senses import Reading, at_rest, sensed
from safa_stream.scene import format_prompts
from safa_stream.session.messages import AddLayer, Command, Mix, Prompt, RemoveLayer

#: Seconds of one step.
TICK = 1.0
#: Chance is asked so often whether a visit comes, seconds.
SLOT = 60.0
#: Over so many seconds a session that was found is brought to what is due.
TAKE_OVER_SECONDS = 10.0
#: What a session had no room for is tried again after so many seconds.
RETRY_SECONDS = 60.0

Part = tuple[Course, list[Command]]


def begin(programme: Programme, now: float, layers: Mapping[int, str]) -> tuple[Course, tuple[Command, ...]]:
    """Take over a session that has `layers`, prompt lines by number: it is brought to what is due, the rest fades."""
    course = Course(now, *programme.local(now), senses=at_rest(programme))
    said: list[Command] = []
    ramp = TAKE_OVER_SECONDS
    for number in programme.layers:
        due = _due(programme, course, number)
        course = replace(course, times={**course.times, number: due}).with_base(number, due.gain, 0.0)
        gain = course.gain(programme, number)
        if number not in layers:
            said.append(_always_there(programme, due, gain))
        else:
            if layers[number] != format_prompts(due.prompts):
                said.append(Prompt(layer=number, prompts=due.prompts, morph=ramp))
            said.append(Mix(layer=number, gain=gain, ramp=ramp))
    for number in sorted(set(layers) - set(programme.layers)):
        said.append(RemoveLayer(layer=number, ramp=ramp))
        course = replace(course, free={**course.free, number: now + ramp + programme.spare})
    volume = holding(programme.volumes, course.weekday, course.second)
    course = replace(course, volume=volume).with_base(None, volume.gain if volume else 0.0, 0.0)
    said.append(Mix(gain=course.gain(programme, None), ramp=ramp))
    return course, tuple(said)


def step(programme: Programme, course: Course, heard: Sequence[Reading] = ()) -> tuple[Course, tuple[Command, ...]]:
    """One second later: the next course, and what to tell the session now, in this order."""
    now = course.now + TICK
    weekday, second = programme.local(now)
    before = course
    senses = sensed(programme, course.senses, heard, now, TICK)
    course = replace(course, now=now, weekday=weekday, second=second, senses=senses)
    said: list[Command] = []
    for part in _MINUTES if second // 60 != before.second // 60 else _SECONDS:
        course, more = part(programme, course)
        said += more
    course, more = _offsets(programme, before, course, {command.layer for command in said if isinstance(command, Mix)})
    return course, (*said, *more)


def refused(course: Course, layer: int) -> Course:
    """The session had no room for a layer: as if it had not been begun, and tried again later."""
    return replace(
        course,
        times={number: time for number, time in course.times.items() if number != layer},
        running=tuple(one for one in course.running if one.visit.layer != layer),
        free={**course.free, layer: course.now + RETRY_SECONDS},
    )


def _due(programme: Programme, course: Course, number: int) -> Time:
    due = holding([time for time in programme.times if time.layer == number], course.weekday, course.second)
    assert due is not None, "a layer that is always there has a time"
    return due


def _always_there(programme: Programme, time: Time, gain: float) -> AddLayer:
    seed = whole(programme.seed, "layer", time.layer)
    return AddLayer(layer=time.layer, prompts=time.prompts, gain=gain, seed=seed, ramp=TAKE_OVER_SECONDS)


def _times(programme: Programme, course: Course) -> Part:
    """Layers that are always there move on to what is due."""
    said: list[Command] = []
    for number in programme.layers:
        due, was = _due(programme, course, number), course.times.get(number)
        if was is due or (was is None and course.now < course.free.get(number, 0.0)):
            continue
        course = replace(course, times={**course.times, number: due})
        if was is None:
            course = course.with_base(number, due.gain, 0.0)
            said.append(_always_there(programme, due, course.gain(programme, number)))
            continue
        if was.prompts != due.prompts:
            said.append(Prompt(layer=number, prompts=due.prompts, morph=due.morph))
        if was.gain != due.gain:
            course = course.with_base(number, due.gain, due.morph)
            said.append(Mix(layer=number, gain=course.gain(programme, number), ramp=due.morph))
    return course, said


def _volumes(programme: Programme, course: Course) -> Part:
    """How loud all of it is."""
    due = holding(programme.volumes, course.weekday, course.second)
    if due is None or due is course.volume:
        return course, []
    course = replace(course, volume=due).with_base(None, due.gain, due.ramp)
    return course, [Mix(gain=course.gain(programme, None), ramp=due.ramp)]


def _ebbs(programme: Programme, course: Course) -> Part:
    """Visits that begin to fade, and those whose fade is over."""
    if not course.running:
        return course, []
    said: list[Command] = []
    running = []
    free, rested = dict(course.free), dict(course.rested)
    for one in course.running:
        if course.now >= one.ends:
            free[one.visit.layer] = one.ends + programme.spare
            rested[one.visit.name] = one.ends + one.visit.rest
            continue
        if not one.ebbing and course.now >= one.ends - one.visit.ebb:
            one = replace(one, ebbing=True)
            said.append(RemoveLayer(layer=one.visit.layer, ramp=one.ends - course.now))
        running.append(one)
    return replace(course, running=tuple(running), free=free, rested=rested), said


def _begins(programme: Programme, course: Course) -> Part:
    """Visits that sensors call, then those that come by chance."""
    called = {sensor.starts for sensor, sense in zip(programme.sensors, course.senses, strict=True) if sense.calls}
    asked = int(course.now // SLOT) != int((course.now - TICK) // SLOT)
    said: list[Command] = []
    for visit in sorted(programme.visits, key=lambda visit: visit.name not in called):
        by_chance = asked and within(visit.between, course.second) and _comes(programme, visit, course.now)
        if (visit.name in called or by_chance) and _has_room(programme, course, visit):
            shortest, longest = visit.lasts
            length = shortest + (longest - shortest) * draw(programme.seed, "lasts", visit.name, int(course.now))
            one = Running(visit, course.now, course.now + round(length))
            course = replace(course, running=(*course.running, one))
            layer, height = visit.layer, _height(programme, one)
            course = replace(course, bases={**course.bases, layer: Ramp(height)})
            gain = course.gain(programme, layer)
            seed = whole(programme.seed, "visit", visit.name, int(course.now))
            said.append(
                AddLayer(layer=layer, prompts=visit.prompts, seed=seed, gain=gain, pan=visit.pan, ramp=visit.rise)
            )
    return course, said


def _comes(programme: Programme, visit: Visit, now: float) -> bool:
    return draw(programme.seed, "comes", visit.name, int(now // SLOT)) < visit.per_hour * SLOT / 3600


def _has_room(programme: Programme, course: Course, visit: Visit) -> bool:
    return (
        len(course.running) < programme.together
        and all(one.visit.layer != visit.layer for one in course.running)
        and course.now >= course.free.get(visit.layer, 0.0)
        and course.now >= course.rested.get(visit.name, 0.0)
    )


def _height(programme: Programme, one: Running) -> float:
    """The gain that a visit swells or sinks to next."""
    return one.visit.gain - one.visit.swell * draw(programme.seed, "swell", one.visit.name, int(one.begun), one.swell)


def _swells(programme: Programme, course: Course) -> Part:
    """Visits that swell and sink while they are there."""
    if not course.running:
        return course, []
    said: list[Command] = []
    running = []
    for one in course.running:
        visit = one.visit
        if visit.swell > 0 and not one.ebbing and course.now - one.begun >= (one.swell + 1) * visit.swell_every:
            one = replace(one, swell=one.swell + 1)
            course = course.with_base(visit.layer, _height(programme, one), visit.swell_every)
            said.append(Mix(layer=visit.layer, gain=course.gain(programme, visit.layer), ramp=visit.swell_every))
        running.append(one)
    return replace(course, running=tuple(running)), said


def _offsets(programme: Programme, before: Course, course: Course, told: set[Target]) -> Part:
    """What sensors add to gains, on top of ramps that go on under it. told: gains that were told anew this second."""
    said: list[Command] = []
    owed = {target: at for target, at in course.owed.items() if course.present(target) and target not in told}
    quickest: dict[Target, float] = {}
    for sensor, was, sense in zip(programme.sensors, before.senses, course.senses, strict=True):
        if was.said is not sense.said and course.present(sensor.layer) and sensor.layer not in told:
            quickest[sensor.layer] = min(sensor.every, quickest.get(sensor.layer, sensor.every))
    for target, seconds in quickest.items():
        owed.pop(target, None)
        soon = course.now + seconds
        said.append(Mix(layer=target, gain=course.gain(programme, target, soon), ramp=seconds))
        if course.bases[target].left(soon) > 0:
            owed[target] = soon
    for target in [target for target, at in owed.items() if at <= course.now]:
        del owed[target]
        left = course.bases[target].left(course.now)
        if left > 0:
            said.append(Mix(layer=target, gain=course.gain(programme, target), ramp=left))
    return (course if owed == course.owed else replace(course, owed=owed)), said


#: What is looked at every second, and what besides when a minute begins.
_SECONDS: tuple[Callable[[Programme, Course], Part], ...] = (_ebbs, _begins, _swells)
_MINUTES = (_times, _volumes, *_SECONDS)
