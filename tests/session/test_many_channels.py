"""Sessions of many channels, and layers by themselves: laws on a model that is a formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_stream.errors import SceneError
from safa_stream.scene import parse_prompts
from safa_stream.session import loops, snapshots
from safa_stream.session import messages as m
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.replay import replay
from safa_stream.session.session import Session
from safa_stream.session.strips import Strip
from safa_stream.types import FloatArray
from tests.session.stage import feed, prompt
from tests.toy import FACTS, ToyDecoder, ToyModel

RATE, BLOCK = 4000, 80
LAYERS = (
    LayerScene(0, parse_prompts("low"), strip=Strip(low=6, pan=0.3)),
    LayerScene(1, parse_prompts("high"), seed=3, strip=Strip(gain=-6, duck=12, duck_by=0)),
    LayerScene(5, parse_prompts("low, high"), seed=5),
)


def model() -> ToyModel:
    facts = replace(FACTS, sample_rate=RATE, samples_per_frame=RATE // 25)
    return ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=RATE // 25, hiss=0.1))


def begun(channels: int, **values: Any) -> Session:
    return Session.begin(model(), LiveScene(LAYERS, channels=channels, **values))


def perform(session: Session, blocks: int = 60, apart: tuple[int, ...] = (), heard: int = 0) -> list[Any]:
    """Blocks as (samples, layers), with commands on the way; `heard` blocks were read before."""
    out = []
    for number in range(heard, heard + blocks):
        match number:
            case 10:
                session.receive(m.Mix(layer=0, high=-6, gain=-3))
            case 20:
                session.receive(prompt("high, low", now=True))
            case 30:
                session.receive(m.AddLayer(prompts=parse_prompts("low"), seed=9, gain=3, ramp=0.2))
            case 45:
                session.receive(m.RemoveLayer(layer=1, ramp=0.1))
        feed(session)
        chunk, layers = session.read_apart(BLOCK, apart)
        out.append((chunk.samples, layers))
    return out


def whole(blocks: list[Any]) -> FloatArray:
    return np.concatenate([samples for samples, _ in blocks], axis=1)


class TestSessions:
    @pytest.mark.parametrize("channels", [3, 8])
    def test_the_first_pair_is_what_a_session_of_two_has(self, channels: int) -> None:
        stereo, many = whole(perform(begun(2))), whole(perform(begun(channels)))
        assert many.shape == (channels, stereo.shape[1]) and stereo.any()
        assert np.array_equal(many[:2], stereo)

    def test_a_snapshot_and_a_journal_make_the_same_again(self, tmp_path: Path) -> None:
        straight = whole(perform(begun(5)))
        session = begun(5)
        journal = Journal(
            tmp_path / "j", {"model": "toy", "version": "1", "scene": session.scene().as_dict(), "block": BLOCK}
        )
        perform(session, 35)
        journal.write(session.journal())
        restored = snapshots.restore(model(), snapshots.capture(session).pack())
        assert restored.state.channels == 5
        assert np.array_equal(whole(perform(restored, 25, heard=35)), straight[:, 35 * BLOCK :])
        perform(session, 25, heard=35)
        journal.write([*session.journal(), {"type": "end", "position": session.position}])
        journal.close()
        again = np.concatenate([c.samples for c in replay(model(), read_journal(tmp_path / "j"))], axis=1)
        assert np.array_equal(again, straight)

    def test_a_late_layer_is_heard_as_a_bed_on_all_channels(self) -> None:
        def left_alone(channels: int) -> FloatArray:
            session = begun(channels)
            perform(session, 30)
            heard = np.concatenate([session.read(BLOCK).samples for _ in range(300)], axis=1)
            assert "bed.began" in {event.name for event in session.events()}
            return heard

        many = left_alone(4)
        assert np.array_equal(many[:2], left_alone(2))
        assert (np.abs(many[:, -2000:]).max(axis=1) > 0.001).all()

    def test_loops_have_all_channels_and_no_seam(self) -> None:
        session = begun(6)
        for _ in range(11 * RATE // BLOCK):
            feed(session)
            session.read(BLOCK)
        session.receive(m.CaptureLoop(seconds=9.0))
        (capture,) = session.captures()
        loop = loops.make_loop(capture)
        assert loop.shape == (6, 9 * RATE) and (loop.std(axis=1) > 0.001).all()

    def test_the_limiter_lowers_all_channels_together(self) -> None:
        # So loud that the limiter works all the time: what it takes from one it takes from all.
        loud = Strip(gain=24)
        quiet, limited = begun(4), begun(4, master=loud)
        one, two = whole(perform(quiet, 30)), whole(perform(limited, 30))
        assert np.abs(two).max() <= 10 ** (-1 / 20) + 1e-6
        gains = two[:, 1500:] / np.where(np.abs(one[:, 1500:]) < 1e-4, np.nan, one[:, 1500:])
        assert np.nanmax(np.nanstd(gains, axis=0) / np.nanmean(gains, axis=0)) < 1e-3
        assert np.nanmin(gains) < 0.9 * 10 ** (24 / 20)

    @pytest.mark.parametrize("channels", [1, 17, True, "6", 2.0])
    def test_impossible_ones_are_refused(self, channels: Any) -> None:
        with pytest.raises(SceneError, match="'channels'"):
            LiveScene(LAYERS, channels=channels)
        assert LiveScene.from_value(LiveScene(LAYERS, channels=6).as_dict()).channels == 6


class TestLayersApart:
    @pytest.mark.parametrize("channels", [2, 5])
    def test_all_layers_together_are_the_whole(self, channels: int) -> None:
        blocks = perform(begun(channels), apart=tuple(range(8)))
        added = np.concatenate([sum(layers.values()) for _, layers in blocks], axis=1)
        # As exact as eight roundings to float32; layers that come, go, duck and are panned included.
        assert np.abs(added - whole(blocks)).max() < 1e-6
        assert (np.abs(np.concatenate([layers[1] for _, layers in blocks], axis=1)).max(axis=1) > 0.01).all()

    def test_they_change_nothing_of_the_whole(self) -> None:
        assert np.array_equal(whole(perform(begun(2))), whole(perform(begun(2), apart=(0, 5))))

    def test_master_and_limiter_come_behind_them(self) -> None:
        plain, turned = begun(2), begun(2, master=Strip(gain=-90, low=12))
        one, two = perform(plain, apart=(0,)), perform(turned, apart=(0,))
        assert all(np.array_equal(a[0], b[0]) for (_, a), (_, b) in zip(one, two, strict=True))
        assert whole(one).any() and not whole(two).any()

    def test_a_layer_that_is_not_there_is_silent_and_one_that_is_muted_too(self) -> None:
        session = begun(2)
        session.receive(m.Mix(layer=0, mute=True))
        blocks = perform(session, 20, apart=(0, 7))
        assert not any(layers[7].any() for _, layers in blocks)
        assert not any(layers[0].any() for _, layers in blocks[10:])

    def test_who_begins_in_the_middle_begins_with_the_limiters_delay(self) -> None:
        session, late = begun(2), begun(2).state.limiter.delay
        always = perform(begun(2), 20, apart=(0,))
        perform(session, 10)
        from_ten = perform(session, 10, apart=(0,), heard=10)
        one, two = (np.concatenate([layers[0] for _, layers in blocks], axis=1) for blocks in (always[10:], from_ten))
        assert not two[:, :late].any() and np.array_equal(two[:, late:], one[:, late:])
        session.read(BLOCK)
        assert session.state.stems == {}
