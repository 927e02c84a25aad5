"""The tempo's grid, and commands that wait for its lines: to the sample in the mix, to the frame in what is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_stream.errors import SafaError
from safa_stream.models.interface import Model
from safa_stream.scene import parse_prompts
from safa_stream.session import messages as m
from safa_stream.session import snapshots, tempo
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.replay import replay
from safa_stream.session.session import Session
from safa_stream.session.strips import Strip
from safa_stream.stream import step_views
from tests.session.stage import BLOCK, begun, built_in, feed, hear, jumps, prompt

RATE = 48_000
DELAY = 240  # samples that the limiter looks ahead
FRAME = 1920


@pytest.fixture(scope="module")
def model() -> Model:
    return built_in()


# The grid ------------------------------------------------------------------------------------------------------------

changes = st.lists(st.tuples(st.integers(1, 500_000), st.floats(20, 999)), max_size=6)


@given(changes, st.integers(0, 4_000_000))
def test_beats_go_on_without_a_jump_and_never_back(found: list[tuple[int, float]], sample: int) -> None:
    grid, at = tempo.begin(RATE, 120.0, 4.0), 0
    for after, bpm in found:
        at += after
        before = grid.beat(at)
        grid = grid.changed(at, bpm, None, None)
        assert grid.beat(at) == pytest.approx(before, abs=1e-9)
    assert grid.beat(sample) <= grid.beat(sample + 1)
    assert tempo.Grid.from_dict(grid.as_dict()) == grid


@given(changes, st.integers(0, 500_000), st.sampled_from(["beat", "bar", "3 beats", "4 bars"]))
def test_a_line_is_the_first_that_is_not_past(found: list[tuple[int, float]], ahead: int, quantise: str) -> None:
    grid, at = tempo.begin(RATE, 97.0, 3.0), 0
    for after, bpm in found:
        at += after
        grid = grid.changed(at, bpm, None, None)
    sample = at + ahead
    line, interval = grid.line(sample, quantise), grid.interval(quantise)
    assert line / interval == pytest.approx(round(line / interval), abs=1e-9)
    assert grid.sample(line) >= sample and grid.line(grid.sample(line), quantise) == line
    assert grid.beat(grid.sample(line) - 1) < line + 1e-5 and line <= grid.beat(grid.sample(line)) + 1e-5
    assert line - interval < grid.beat(sample) + 1e-5


def test_a_jump_is_made_where_it_is_asked_for() -> None:
    grid = tempo.begin(RATE, 120.0, 4.0).changed(RATE, None, 16.0, 3.0)
    assert (grid.beat(RATE - 24_000), grid.beat(RATE), grid.beats_per_bar) == (1.0, 16.0, 3.0)
    assert grid.line(RATE + 1, "bar") == 18.0


@pytest.mark.parametrize("quantise", ["", "bars", "1 bars", "2 bar", "0 bars", "65 bars", "Bar", "4", "1/4"])
def test_what_names_no_lines_is_refused(quantise: str) -> None:
    with pytest.raises(SafaError, match="field 'quantise' must be"):
        tempo.lines(quantise)


# Commands that wait --------------------------------------------------------------------------------------------------


def first_difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.flatnonzero((one != other).any(axis=0))[0])


def frames_to_the_change(plain: np.ndarray, steered: np.ndarray, line: int) -> int:
    """How many frames after sample `line` the two begin to differ: where, within 36 frames of it, their relative
    difference grows most from four frames to the next four. What comes before a change is made with it and may differ a
    little, and what follows differs now more, now less."""
    early, at = (line + DELAY) % FRAME, (line + DELAY) // FRAME
    count = (plain.shape[1] - early) // FRAME
    plain, steered = (sound[:, early : early + count * FRAME].reshape(2, count, FRAME) for sound in (plain, steered))
    apart = np.sqrt(((plain - steered) ** 2).mean((0, 2)) / (plain**2).mean((0, 2)))
    near = range(max(4, at - 36), min(count - 4, at + 36))
    rise = [(apart[k : k + 4].mean() + 0.02) / (apart[k - 4 : k].mean() + 0.02) for k in near]
    assert max(rise) > 2.0
    return near[int(np.argmax(rise))] - at


def test_a_gain_for_the_next_bar_acts_on_the_sample_of_that_bar(model: Model) -> None:
    plain, steered = begun(model), begun(model)
    for one in (plain, steered):
        one.receive(m.Tempo(bpm=137.0))
        hear(one, 0.3)
    steered.receive(m.Mix(layer=0, gain=-12.0, quantise="bar"))
    bar = steered.state.waiting[0].at
    assert bar == steered.state.grid.sample(4.0) and bar % BLOCK
    start = steered.position
    assert start + first_difference(hear(plain, 2), hear(steered, 2)) == bar + DELAY + 1
    applied = [event for event in steered.events() if isinstance(event, m.Applied)]
    assert applied[-1].position == applied[-1].start == bar


@pytest.mark.parametrize("waits", ["ahead of what is made", "within what is made"])
def test_a_prompt_for_a_bar_is_heard_from_that_bar_on(model: Model, waits: str) -> None:
    """To the frame, though views are made seconds ahead, and the sound before it stays as it would have been."""
    plain, steered = begun(model), begun(model)
    quantise = "8 beats" if waits == "ahead of what is made" else "2 beats"
    for one in (plain, steered):
        one.receive(m.Tempo(bpm=80.0))
        hear(one, 0.6)
    made = steered.state.layers[0].sound.end
    steered.receive(prompt("campfire", morph=0.0, quantise=quantise))
    line = steered.state.waiting[0].at
    assert (line > made) == (waits == "ahead of what is made")
    start = steered.position
    one, other = hear(plain, 8), hear(steered, 8)
    assert abs(frames_to_the_change(one, other, line - start)) <= 2
    border = slice(line - start - 10 * FRAME, line - start + 10 * FRAME)
    assert jumps(other[:, border]).max() < 30


@pytest.mark.parametrize("by", ["layer.add", "scene.recall"])
def test_a_layer_for_a_bar_is_heard_from_the_sample_of_that_bar_on(model: Model, by: str) -> None:
    plain, steered = begun(model), begun(model)
    for one in (plain, steered):
        hear(one, 0.5)
    scene = begun(model).scene()
    if by == "layer.add":
        steered.receive(m.AddLayer(prompts=parse_prompts("birds"), seed=4, ramp=0.0, quantise="bar"))
    else:
        birds = replace(scene.layers[0], layer=1, prompts=parse_prompts("birds"), strip=Strip(solo=True))
        both = replace(scene, layers=(*scene.layers, birds))
        steered.receive(m.RecallScene(scene=both.as_dict(), morph=0.0, quantise="bar"))
    start = steered.position
    one, other = hear(plain, 1), hear(steered, 1)
    assert np.array_equal(one, other) and steered.describe()["layers"][1]["waiting"]
    assert [layer.layer for layer in steered.scene().layers] == [0]
    one, other = (np.concatenate([early, hear(s, 1.5)], axis=1) for early, s in ((one, plain), (other, steered)))
    first = start + first_difference(one, other)
    assert 96_000 + DELAY <= first <= 96_000 + DELAY + 2, first - 96_000
    assert [layer["waiting"] for layer in steered.describe()["layers"]] == [False, False]
    assert not [event for event in steered.events() if isinstance(event, m.Refused)]


def test_a_layer_that_is_removed_before_its_bar_is_refused_there(model: Model) -> None:
    session = begun(model)
    hear(session, 0.1)
    number = session.receive(m.AddLayer(prompts=parse_prompts("birds"), seed=4, quantise="bar"))
    session.receive(m.RemoveLayer(layer=1, ramp=0.0))
    hear(session, 2.1)
    refused = [event for event in session.events() if isinstance(event, m.Refused)]
    assert [event.command for event in refused] == [number] and list(session.state.layers) == [0]


def test_what_waits_moves_with_the_grid(model: Model) -> None:
    session = begun(model)
    session.receive(m.Mix(layer=0, gain=-1.0, quantise="bar"))
    assert not session.state.waiting  # the first sample is that of a bar
    hear(session, 0.02)
    session.receive(m.Mix(layer=0, gain=-6.0, quantise="bar"))
    session.receive(prompt("campfire", quantise="2 bars"))
    session.receive(m.Mix(layer=0, gain=-3.0, quantise="bar"))
    assert [one.at for one in session.state.waiting] == [96_000, 96_000, 192_000]
    session.receive(m.Tempo(bpm=60.0))
    grid = session.state.grid
    assert [one.at for one in session.state.waiting] == [grid.sample(4), grid.sample(4), grid.sample(8)]
    hear(session, 3.8)
    assert len(session.state.waiting) == 3
    session.receive(m.Tempo(beat=4.01))  # a correction that steps over the line
    hear(session, 0.02)
    assert [type(one.command) for one in session.state.waiting] == [m.Prompt]
    session.receive(m.Tempo(beat=1001.0))  # a leap
    assert session.state.waiting[0].at == session.state.grid.sample(1008)
    told = [event for event in session.events() if isinstance(event, m.TempoChanged)]
    assert [event.bpm for event in told] == [60.0] * 3 and told[-1].beat == 1001.0
    assert session.describe()["tempo"]["beat"] == 1001.0
    assert [one["at"] for one in session.describe()["waiting"]] == [session.state.waiting[0].at]


def test_sound_that_was_made_for_a_bar_is_made_again_when_the_bar_moves(model: Model) -> None:
    plain, steered = begun(model), begun(model)
    for one in (plain, steered):
        hear(one, 0.1)
    steered.receive(prompt("campfire", morph=0.0, quantise="bar"))
    for one in (plain, steered):
        hear(one, 0.5)
    steered.receive(m.Tempo(bpm=75.0))
    line, start = steered.state.waiting[0].at, steered.position
    assert line > 96_000 + 20 * FRAME
    one, other = hear(plain, 6), hear(steered, 6)
    assert abs(frames_to_the_change(one, other, line - start)) <= 2


def test_a_bar_that_comes_sooner_than_it_was_told_of_is_cut_to(model: Model) -> None:
    session = begun(model)
    session.receive(m.Tempo(bpm=60.0))
    hear(session, 0.1)
    session.receive(prompt("campfire", morph=0.0, quantise="bar"))
    hear(session, 3.0)
    session.receive(m.Tempo(beat=3.999))  # 0.9 beats of 4 are a correction
    hear(session, 0.1)
    turn = session.state.layers[0].timeline.last
    assert turn.prompts[0].text == "campfire" and not session.state.waiting
    here = (session.position - session.state.layers[0].sound.origin) / FRAME
    assert here - 4 < turn.at <= here


def test_what_will_be_refused_makes_no_sound_to_be_made_again(model: Model) -> None:
    session = begun(model)
    hear(session, 0.1)
    number = session.receive(prompt("campfire", morph=-1.0, quantise="bar"))
    feed(session)
    views = session.state.layers[0].sound.views.index
    hear(session, 1.0)
    assert session.state.layers[0].sound.views.index == views
    hear(session, 1.0)
    assert [event.command for event in session.events() if isinstance(event, m.Refused)] == [number]
    hear(session, 0.5)
    assert session.state.layers[0].sound.views.index == views and not session.state.layers[0].foretold


def perform(session: Session) -> list[np.ndarray]:
    """Half a dozen changes on lines, a tempo that moves while they wait, and what is asked for out of turn."""
    parts = [hear(session, 0.5)]
    session.receive(m.AddLayer(prompts=parse_prompts("birds"), seed=4, ramp=0.2, quantise="beat"))
    session.receive(prompt("campfire", morph=0.0, quantise="bar"))
    session.receive(m.SaveScene(scene="one", quantise="bar"))
    parts.append(hear(session, 1))
    session.receive(m.Tempo(bpm=101.5, beats_per_bar=3.0))
    session.receive(m.Mix(layer=1, gain=-9.0, quantise="3 beats"))
    parts.append(hear(session, 1.5))
    session.receive(m.Reseed(layer=0, seed=8, quantise="bar"))
    session.receive(m.Tempo(bpm=120.0, beat=0.25, quantise="beat"))
    session.receive(prompt("wind", layer=1, morph=0.3, now=True))
    parts.append(hear(session, 2))
    session.receive(m.RecallScene(scene="one", morph=0.2, quantise="2 bars"))
    parts.append(hear(session, 3))
    return parts


def test_a_journal_with_waiting_commands_plays_again_to_the_bit(model: Model, tmp_path: Path) -> None:
    session = begun(model)
    parts = np.concatenate(perform(session), axis=1)
    facts = model.facts
    begin = {"model": facts.name, "version": facts.version, "scene": session.state.scene.as_dict(), "block": BLOCK}
    journal = Journal(tmp_path / "one.journal", begin)
    journal.write([*session.journal(), {"type": "end", "position": session.position}])
    journal.close()
    assert not [event for event in session.events() if isinstance(event, m.Refused)]
    again = np.concatenate([chunk.samples for chunk in replay(model, read_journal(journal.path))], axis=1)
    assert np.array_equal(again, parts)


def test_a_session_restored_while_commands_wait_goes_on_as_if_nothing_had_been(model: Model) -> None:
    session = begun(model)
    hear(session, 0.5)
    session.receive(m.Tempo(bpm=90.0, beats_per_bar=3.0))
    session.receive(prompt("campfire", morph=0.0, quantise="bar"))
    session.receive(m.Mix(layer=0, gain=-9.0, quantise="2 bars"))
    feed(session)
    assert session.state.layers[0].foretold
    restored = snapshots.restore(model, snapshots.capture(session).pack())
    restored.state.levels = dict(session.state.levels)
    assert restored.describe() == session.describe()
    for one in (session, restored):
        one.receive(m.Tempo(bpm=93.0))
    assert np.array_equal(hear(session, 4.5), hear(restored, 4.5))


def test_a_scene_holds_the_tempo_and_recalling_it_leaves_the_tempo_alone(model: Model) -> None:
    session = begun(model)
    session.receive(m.Tempo(bpm=84.0, beats_per_bar=3.0))
    scene = session.scene()
    assert (scene.bpm, scene.beats_per_bar) == (84.0, 3.0)
    again = Session.begin(model, type(scene).from_value(scene.as_dict()))
    assert (again.state.grid.bpm, again.state.grid.line(1, "bar")) == (84.0, 3.0)
    again.receive(m.Tempo(bpm=60.0))
    again.receive(m.RecallScene(scene=scene.as_dict(), morph=0.0))
    assert again.state.grid.bpm == 60.0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (m.Tempo(bpm=10.0), "'bpm' must be a number from 20 to 999"),
        (m.Tempo(beats_per_bar=0.0), "'beats_per_bar' must be a number from 0.25 to 64"),
        (m.Tempo(beat=float("nan")), "'beat' must be a number"),
        (prompt("rain", quantise="soon"), "'quantise' must be"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(model: Model, command: m.Command, said: str) -> None:
    session = begun(model)
    before = session.describe()
    with pytest.raises(SafaError, match=said):
        session.receive(command)
    assert session.describe() == before


# Views that end on lines ---------------------------------------------------------------------------------------------


def test_views_begin_to_be_heard_on_bars_as_near_as_a_frame(model: Model) -> None:
    """Their hops are the layout's at most and half of it at least; the stream is the same swap as ever."""
    session = begun(model)
    session.receive(m.Tempo(bpm=111.0))
    session.receive(m.Configure(hops="bar"))
    sound = hear(session, 22)
    layer, grid = session.state.layers[0], session.state.grid
    layout = layer.plan.layout
    kept = round(layout.overlap * layer.plan.schedule.kept)
    takes = layer.sound.takes[1:]  # the first was made before
    assert len(takes) >= 5
    for take, following in zip(takes, takes[1:], strict=False):
        assert take.stop == following.frame
        assert layout.hop / 2 <= following.frame - take.frame <= layout.hop
        beat = grid.beat(layer.sound.origin + (following.frame + kept) * FRAME)
        assert abs(beat / 4 - round(beat / 4)) * 4 * 60 / 111 <= 0.021  # half a frame, seconds
    assert jumps(sound).max() < 30


def test_lines_further_apart_than_a_hop_are_reached_in_even_hops(model: Model) -> None:
    session = begun(model)
    session.receive(m.Configure(hops="4 bars"))  # 200 frames, a hop is at most 128
    hear(session, 26)
    layer = session.state.layers[0]
    hops = [take.stop - take.frame for take in layer.sound.takes[1:]]
    borders = [take.frame + 16 - round(-layer.sound.origin / FRAME) for take in layer.sound.takes[1:]]
    assert len([border for border in borders if min(border % 200, -border % 200) <= 1]) >= 2, borders
    assert all(64 <= hop <= 128 for hop in hops)


def test_views_with_hops_of_their_own_share_a_batch_and_survive_a_snapshot(model: Model) -> None:
    def opened(text: str, hops: str) -> Session:
        session = begun(model, text, steps=3)
        session.receive(m.Configure(hops=hops))
        return session

    scenes = [("rain on a tent", "bar"), ("campfire", "free"), ("wind", "3 beats")]
    alone, together = ([opened(*scene) for scene in scenes] for _ in range(2))
    for _ in range(2):
        for session in alone:
            work = session.start(0)
            while not work.view.done:
                step_views(model, [work.view])
            session.complete(work.finish())
        works = [session.start(0) for session in together]
        while not works[0].view.done:
            step_views(model, [work.view for work in works])
        for session, work in zip(together, works, strict=True):
            session.complete(work.finish())
        together = [snapshots.restore(model, snapshots.capture(session).pack()) for session in together]
    assert len({work.view.hop for work in works}) == 3
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.state.layers[0].sound.samples, other.state.layers[0].sound.samples)
