from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

from safa_stream.engine import chunks
from safa_stream.errors import SafaError, SnapshotError
from safa_stream.evaluation.spectra import log_mel
from safa_stream.models.interface import Model
from safa_stream.scene import Scene, parse_prompts
from safa_stream.session import messages as m
from safa_stream.session import mixing, snapshots, sound
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.livescene import LiveScene
from safa_stream.session.loops import make_loop
from safa_stream.session.replay import replay
from safa_stream.session.session import Session
from safa_stream.session.strips import Strip
from safa_stream.stream import step_views
from tests.session.stage import BLOCK, begun, built_in, feed, hear, jumps, prompt


@pytest.fixture(scope="module")
def model() -> Model:
    return built_in()


def perform(session: Session) -> list[np.ndarray]:
    """Half a minute in which all kinds of things happen, a starved stretch among them."""
    parts = [hear(session, 2)]
    session.receive(prompt("campfire", morph=1.0))
    session.receive(m.AddLayer(prompts=parse_prompts("birds"), gain=-3.0, ramp=0.5, seed=4))
    session.receive(m.Mix(layer=0, gain=-6.0, at=session.position + 12_345))
    parts.append(hear(session, 3))
    session.receive(prompt("ocean waves", now=True, morph=0.0))
    parts.append(hear(session, 2))
    session.receive(m.Mix(layer=1, duck=12.0, duck_by=0, high=4.0, pan=-0.4, ramp=0.2))
    session.receive(m.SaveScene(scene="evening"))
    session.receive(m.Freeze(on=True))
    session.receive(prompt("wind", morph=0.5))
    parts.append(hear(session, 2))
    session.receive(m.Freeze(on=False))
    parts.append(hear(session, 9, fed=False))
    session.receive(m.Rewind(to=session.position - 6 * 48_000))
    parts.append(hear(session, 3))
    session.receive(m.RecallScene(scene="evening", morph=1.0))
    session.receive(m.Reseed(layer=0, seed=11, now=True))
    session.receive(m.Configure(guidance=2.0))
    session.receive(m.Configure(layer=0, steps=3))
    parts.append(hear(session, 3))
    session.receive(m.RemoveLayer(layer=1, ramp=0.3))
    parts.append(hear(session, 2))
    return parts


def test_a_live_session_sounds_like_the_rendered_stream(model: Model) -> None:
    session = begun(model)
    gain = session.state.layers[0].sound.levels.gain
    live = hear(session, 4)
    rendered = next(chunks(model, Scene.from_prompt("rain on a tent", steps=2))).samples
    late = 240  # samples that the limiter looks ahead
    assert np.allclose(live[:, late:], rendered[:, : live.shape[1] - late] * gain, atol=1e-6)


def test_a_journal_plays_the_performance_again_to_the_bit(model: Model, tmp_path: Path) -> None:
    session = begun(model)
    parts = np.concatenate(perform(session), axis=1)
    facts = model.facts
    begin = {"model": facts.name, "version": facts.version, "scene": session.state.scene.as_dict(), "block": BLOCK}
    journal = Journal(tmp_path / "one.journal", begin)
    journal.write([*session.journal(), {"type": "end", "position": session.position}])
    journal.close()
    again = np.concatenate([chunk.samples for chunk in replay(model, read_journal(journal.path))], axis=1)
    assert np.array_equal(again, parts)
    better = replay(model, read_journal(journal.path), steps=4)
    longer = np.concatenate([chunk.samples for chunk in better], axis=1)
    assert longer.shape == parts.shape
    assert not np.array_equal(longer, parts)


def test_a_journal_that_was_cut_off_or_damaged(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "cut.journal"
    Journal(path, {"model": "builtin", "version": "0", "scene": {}}).close()
    with path.open("a") as file:
        file.write('{"type": "command", "posi')
    assert [entry.kind for entry in read_journal(path)] == ["begin"]
    with pytest.raises(SnapshotError, match="of model builtin 0"):
        list(replay(model, read_journal(path)))
    path.write_text('{"type": "begin", "position": 0, "format": "other"}\n')
    with pytest.raises(SnapshotError, match="line 1: the format is 'other'"):
        list(read_journal(path))


@pytest.mark.parametrize("moment", ["plain", "morphing", "switching", "starved", "waiting"])
def test_a_restored_session_goes_on_as_if_nothing_had_been(model: Model, moment: str) -> None:
    session = begun(model, "rain on a tent")
    session.receive(m.AddLayer(prompts=parse_prompts("birds"), ramp=0.2, seed=9))
    hear(session, 2)
    if moment == "morphing":
        session.receive(prompt("campfire", morph=8.0))
        hear(session, 3)
    if moment == "switching":
        session.receive(prompt("campfire", now=True, morph=0.0))
        feed(session)
        hear(session, 0.02)
    if moment == "starved":
        hear(session, 9, fed=False)
    if moment == "waiting":
        session.receive(m.Mix(layer=0, gain=-20.0, at=session.position + 50_000))
        session.receive(m.Freeze(on=True))
        session.receive(prompt("wind"))
    data = snapshots.capture(session).pack()
    restored = snapshots.restore(model, data)
    # Meters show what was heard last, which a restored session has not heard.
    restored.state.levels = dict(session.state.levels)
    assert restored.describe() == session.describe()
    for one in (session, restored):
        one.receive(prompt("wind", layer=1, morph=0.5))
        one.receive(m.Freeze(on=False))
    assert np.array_equal(hear(session, 6), hear(restored, 6))


def test_damaged_snapshots_are_refused(model: Model) -> None:
    data = snapshots.capture(begun(model)).pack()
    for damaged in (b"", data[:100], data[: len(data) // 2], b"\0" * 50, data[:200] + b"x" * 20 + data[220:]):
        with pytest.raises(SnapshotError):
            snapshots.restore(model, damaged)


def test_views_of_many_sessions_in_one_batch_equal_each_alone(model: Model) -> None:
    scenes = ["rain on a tent", "campfire", "ocean waves, wind:0.5"]
    alone = [hear(begun(model, scene, steps=3 + n), 1) for n, scene in enumerate(scenes)]
    sessions = [
        Session.begin(model, LiveScene.from_value({**LiveScene.from_value(scene).as_dict(), "steps": 3 + n}))
        for n, scene in enumerate(scenes)
    ]
    works = [session.start(0) for session in sessions]
    # They join one after the other and leave as they are done: every step is a batch of another size.
    step_views(model, [works[0].view])
    while active := [work for work in works if not work.view.done]:
        step_views(model, [work.view for work in active])
    for session, work, expected in zip(sessions, works, alone, strict=True):
        session.complete(work.finish())
        assert np.allclose(hear(session, 1, fed=False), expected, atol=1e-5)


def test_now_is_heard_at_once_and_without_a_click(model: Model) -> None:
    session, untouched = begun(model), begun(model)
    before = hear(session, 2)
    assert np.array_equal(before, hear(untouched, 2))
    session.receive(prompt("campfire", now=True, morph=0.0))
    assert np.array_equal(hear(session, 0.1, fed=False), hear(untouched, 0.1, fed=False))
    after, same = hear(session, 1), hear(untouched, 1)
    changed = np.flatnonzero(np.abs(after - same).max(0) > 1e-6)
    assert changed[0] < 0.02 * 48_000, "the view was ready, so the very next block begins to change"
    assert jumps(np.concatenate([before, after], axis=1))[95_000:100_000].max() < 30


def test_a_change_without_now_waits_for_the_next_view(model: Model) -> None:
    session, untouched = begun(model), begun(model)
    number = session.receive(prompt("campfire", morph=0.0))
    (applied,) = [event for event in session.events() if isinstance(event, m.Applied)]
    assert applied.command == number
    heard, same = hear(session, 6), hear(untouched, 6)
    changed = np.flatnonzero(np.abs(heard - same).max(0) > 1e-6)
    assert changed[0] >= applied.start - 2 * 1920 * model.facts.decoder_halo
    assert len(changed) > 48_000


@pytest.mark.parametrize(("before", "late_by"), [(1, 9), (9, 28)])
def test_a_late_view_is_bridged_by_a_bed_and_nothing_of_it_is_lost(model: Model, before: int, late_by: int) -> None:
    session, untouched = begun(model), begun(model)
    everything = hear(untouched, before + 20)
    parts = [hear(session, before)]
    parts.append(hear(session, late_by, fed=False))
    parts.append(hear(session, 8))
    heard = np.concatenate(parts, axis=1)
    events = session.events()
    (began,) = [event for event in events if isinstance(event, m.BedBegan)]
    (ended,) = [event for event in events if isinstance(event, m.BedEnded)]
    bed = slice(began.position + BLOCK, ended.position)
    assert np.abs(heard[:, bed]).reshape(2, -1, BLOCK).max((0, 2)).min() > 1e-4, "the bed is never silent"
    assert jumps(heard)[began.position - 5000 : ended.position + 5000].max() < 30
    after = ended.position + BLOCK + 240
    late = ended.position - (began.position + BLOCK)
    rest = heard[:, after:]
    assert np.allclose(rest, everything[:, after - late : after - late + rest.shape[1]], atol=1e-5)


def test_a_bed_that_is_never_relieved_fades_away(model: Model) -> None:
    session = begun(model)
    heard = hear(session, 46, fed=False)
    assert np.abs(heard[:, 30 * 48_000 : 31 * 48_000]).max() > 1e-3
    assert np.abs(heard[:, 45 * 48_000 :]).max() < 1e-6


def test_gain_acts_in_the_next_block_and_to_the_sample(model: Model) -> None:
    session, untouched = begun(model), begun(model)
    hear(session, 1), hear(untouched, 1)
    session.receive(m.Mix(layer=0, gain=-12.0, ramp=0.0, at=session.position + BLOCK))
    heard, same = hear(session, 0.2), hear(untouched, 0.2)
    assert np.array_equal(heard[:, : BLOCK + 240], same[:, : BLOCK + 240])
    settled = slice(BLOCK + 240 + 2400, None)
    assert np.allclose(heard[:, settled], same[:, settled] * 10 ** (-12 / 20), atol=1e-6)


def test_a_captured_loop_has_no_seam(model: Model) -> None:
    session = begun(model, "ocean waves", steps=4)
    session.receive(m.AddLayer(prompts=parse_prompts("crickets"), seed=3, ramp=0.0))
    hear(session, 13)
    number = session.receive(m.CaptureLoop(seconds=10.0))
    (capture,) = session.captures()
    loop = make_loop(capture)
    assert capture.command == number and loop.shape == (2, 480_000)
    assert jumps(np.concatenate([loop, loop], axis=1))[475_000:485_000].max() < 30
    with pytest.raises(SafaError, match="less than 60 s were heard"):
        session.receive(m.CaptureLoop(seconds=60.0))


def test_a_loops_beginning_is_mixed_after_its_end(model: Model) -> None:
    session = begun(model, "ocean waves", steps=2)
    hear(session, 13)
    session.receive(m.CaptureLoop(seconds=11.0))
    (capture,) = session.captures()
    ((number, part),) = capture.parts
    loops = [
        make_loop(replace(capture, parts=((number, replace(part, strip=strip)),)))
        for strip in (Strip(gain=-30.0), Strip(gain=-30.0, low=12.0))
    ]
    length = loops[0].shape[1]
    state = mixing.begin(session.rate, {0: Strip(low=12.0)}, Strip())
    for _ in range(2):
        state, mixed = mixing.mix(state, {0: loops[0]})
    assert length == 11 * session.rate
    assert np.abs(mixed - loops[1]).max() < 1e-5 < 0.01 * np.abs(loops[1] - loops[0]).max()


def test_rewinding_plays_again_what_was_heard(model: Model) -> None:
    session = begun(model, "ocean waves")
    heard = hear(session, 9)
    session.receive(m.Rewind(to=3 * 48_000))
    again = hear(session, 5)
    start = np.flatnonzero(np.abs(np.correlate(again[0, 10_000:14_000], heard[0, 3 * 48_000 :][:20_000], "valid")))
    assert len(start)
    inside = again[:, 4800:96_000]
    best = max(
        float(np.corrcoef(inside[0], heard[0, 144_000 + shift : 144_000 + shift + inside.shape[1]])[0, 1])
        for shift in range(4800 - 2880, 4800 + 2880, 240)
    )
    assert best > 0.99


def test_a_layer_that_is_cut_again_and_again_keeps_a_bounded_past(model: Model, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "MOST_TAKES", 6)
    session = begun(model)
    for turn in range(12):
        session.receive(prompt(("campfire", "wind")[turn % 2], now=True, morph=0.0))
        hear(session, 0.5)
    takes = session.state.layers[0].sound.takes
    assert len(takes) == 6
    for take in takes:
        whole = take.latents if take.latents.base is None else take.latents.base
        assert whole.shape[1] <= session.state.layers[0].hop, "a hop does not keep its whole trajectory in memory"
    with pytest.raises(SafaError, match="not kept any more"):
        session.receive(m.Rewind(to=0))
    assert jumps(hear(session, 2))[2400:].max() < 30


@pytest.mark.parametrize("now", [False, True])
def test_a_short_morph_takes_its_time(model: Model, now: bool) -> None:
    """Between no change and one at once: by steps smaller than a view, and over as long as was asked for."""
    sounds = {}
    for name, change in {"none": None, "short": 2.0, "at once": 0.0}.items():
        session = begun(model, "rain", steps=4)
        hear(session, 1)
        if change is not None:
            session.receive(prompt("bells", morph=change, now=now))
            (applied,) = (event for event in session.events() if isinstance(event, m.Applied))
        sounds[name] = hear(session, 12)
    begins = (applied.start - session.rate) / session.rate + (0.3 if now else 1.0)

    def heard(name: str, since: float, until: float) -> np.ndarray:
        return sounds[name][:, round((begins + since) * session.rate) : round((begins + until) * session.rate)]

    early = [float(np.abs(heard("short", 0.1, 0.3) - heard(other, 0.1, 0.3)).mean()) for other in ("none", "at once")]
    assert early[0] < early[1]
    # Which sound it is then, strikes or not: by the mean spectrum.
    colour = {name: log_mel(heard(name, 3.0, 7.0)).mean(0) for name in sounds}
    late = [float(np.abs(colour["short"] - colour[other]).mean()) for other in ("none", "at once")]
    assert late[0] > late[1], late


def test_frozen_scenes_hold_changes_back(model: Model) -> None:
    session = begun(model)
    session.receive(m.Freeze(on=True))
    session.receive(prompt("campfire", morph=0.0))
    hear(session, 12)
    assert session.describe()["layers"][0]["prompts"] == "rain on a tent"
    session.receive(m.Freeze(on=False))
    assert session.describe()["layers"][0]["prompts"] == "campfire"


def test_a_layer_can_have_settings_of_its_own(model: Model) -> None:
    session = begun(model)
    session.receive(m.AddLayer(prompts=parse_prompts("birds"), seed=9))
    session.receive(m.Configure(layer=1, steps=3))
    feed(session)
    assert {e.layer: e.steps for e in session.events() if isinstance(e, m.ViewMade)} == {0: 2, 1: 3}
    session.receive(m.Configure(steps=4))
    assert [layer["steps"] for layer in session.describe()["layers"]] == [4, 4]


@pytest.mark.parametrize(
    "command, said",
    [
        (prompt("rain", layer=5), "there is no layer 5"),
        (prompt("xyzzy plugh"), "no word of the prompt is known"),
        (prompt("rain", morph=-1.0), "field 'morph'"),
        (prompt("rain", morph=float("nan")), "field 'morph'"),
        (m.Mix(layer=0, gain=float("nan")), "'gain'"),
        (m.Mix(layer=0, gain=200.0), "'gain'"),
        (m.Mix(solo=True), "'solo' belongs to a layer"),
        (m.Mix(layer=9, gain=0.0), "a layer's number"),
        (m.Configure(steps=0), "'steps'"),
        (m.Configure(guidance=float("inf")), "'guidance'"),
        (m.Rewind(to=10**9), "field 'to'"),
        (m.CaptureLoop(seconds=1.0), "field 'seconds'"),
        (m.SaveScene(scene=""), "field 'scene'"),
        (m.RecallScene(scene="nowhere"), "no scene 'nowhere'"),
        (m.RecallScene(scene={"format": "safa-live-1", "layers": [], "extra": 1}), "unknown field 'extra'"),
        (m.AddLayer(prompts=parse_prompts("rain"), layer=0), "there is a layer 0 already"),
        (m.RemoveLayer(layer=3), "there is no layer 3"),
        (m.Reseed(layer=0, seed=-1), "'seed'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(model: Model, command: m.Command, said: str) -> None:
    session, untouched = begun(model), begun(model)
    with pytest.raises(SafaError, match=said):
        session.receive(command)
    assert session.describe() == untouched.describe()
    assert np.array_equal(hear(session, 0.5), hear(untouched, 0.5))
    session.receive(replace(command, at=48_000))
    hear(session, 1)
    assert any(isinstance(event, m.Refused) for event in session.events())
