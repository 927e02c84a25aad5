from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from safa_stream import engine
from safa_stream.errors import LayoutError, SafaError, SnapshotError, UsageError
from safa_stream.scene import METHODS, PromptChange, Scene, parse_prompts
from safa_stream.swap import SwapSchedule
from tests.toy import ToyDecoder, ToyModel, toy

RATE, FRAME = 400, 16
PROMPTS = parse_prompts("low, high:0.5")


def stream_of(model: ToyModel, seconds: float | None = None, **fields: Any) -> list[np.ndarray]:
    scene = Scene(PROMPTS, **fields)
    return [chunk.samples for chunk in engine.chunks(model, scene, seconds)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seconds", [0.0025, 0.4, 1.6, 3.0, 5.013])
def test_a_stream_has_exactly_the_length_asked_for(method: str, seconds: float) -> None:
    chunks = list(engine.chunks(toy(), Scene(PROMPTS, method=method), seconds))
    assert sum(chunk.samples.shape[1] for chunk in chunks) == round(seconds * RATE)
    assert [chunk.start for chunk in chunks] == [
        0,
        *itertools.accumulate(chunk.samples.shape[1] for chunk in chunks[:-1]),
    ]
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.samples.dtype == np.float32 and chunk.samples.shape[0] == 2 and chunk.samples.shape[1] > 0
        assert chunk.sample_rate == RATE and chunk.generation_seconds > 0


def test_no_view_is_made_that_is_not_heard() -> None:
    # A hop is 32 frames, a view 40; 104 frames end inside the third view's held-back overlap.
    for frames, views in ((40, 1), (41, 2), (72, 2), (104, 3), (105, 4)):
        model = toy()
        stream_of(model, frames * FRAME / RATE, method="safa-self")
        assert len(model.calls) == views * model.facts.default_steps


def test_one_chunk_is_one_hop_and_the_first_lacks_the_decoders_halo() -> None:
    endless = engine.chunks(toy(), Scene(PROMPTS))
    sizes = [chunk.samples.shape[1] for chunk in itertools.islice(endless, 4)]
    assert sizes == [(32 - 3) * FRAME, 32 * FRAME, 32 * FRAME, 32 * FRAME]


def test_a_hop_shorter_than_the_halo_yields_no_empty_chunks() -> None:
    model = toy(view_frames=4, default_overlap=0.5)
    sizes = [part.shape[1] for part in stream_of(model, 1.0)]
    assert min(sizes) > 0 and sum(sizes) == RATE


def test_the_stream_is_the_decoded_views() -> None:
    model = toy()
    short, long = (np.concatenate(stream_of(model, seconds), axis=1) for seconds in (3.0, 6.0))
    # Lengths differ, so the shorter one's end does: it has no further view to be joined to.
    same = 2 * 32 * FRAME - 3 * FRAME
    assert np.array_equal(short[:, :same], long[:, :same])


@pytest.mark.parametrize("field", ["steps", "guidance", "overlap", "seed", "negative", "method", "reference_ratio"])
def test_every_setting_is_heard(field: str) -> None:
    values = {
        "steps": 5,
        "guidance": 1.0,
        "overlap": 0.4,
        "seed": 3,
        "negative": parse_prompts("noise"),
        "method": "safa-self",
        "reference_ratio": 0.9,
    }
    usual, changed = (np.concatenate(stream_of(toy(), 3.0, **one), 1) for one in ({}, {field: values[field]}))
    assert not np.array_equal(usual, changed)


def test_the_swap_interval_reaches_schedule_and_reference() -> None:
    plan = engine.stream_plan(toy(), Scene(PROMPTS, swap_interval=3))
    assert plan.schedule.interval == 3 and plan.reference_interval == 3
    chosen = engine.stream_plan(toy(), Scene(PROMPTS), SwapSchedule("dither"))
    assert chosen.schedule.kind == "dither"


def test_prompts_change_at_their_time() -> None:
    model = toy(latent_channels=1, latent_bins=1)
    model.sampled_decoder = ToyDecoder(halo=0)
    change = PromptChange(at=8 * 32 * FRAME / RATE, prompts=parse_prompts("other"))
    levels = []
    for changes in ((), (change,)):
        scene = Scene(parse_prompts("low"), changes=changes, seed=4)
        levels.append(np.concatenate([c.samples for c in engine.chunks(model, scene, 16 * 32 * FRAME / RATE)], 1))
    cut = 8 * 32 * FRAME
    assert np.array_equal(levels[0][:, :cut], levels[1][:, :cut])
    assert not np.isclose(levels[0][:, cut + 8 * FRAME :].mean(), levels[1][:, cut + 8 * FRAME :].mean(), rtol=0.05)


def test_weights_of_prompts_over_time() -> None:
    changes = (PromptChange(10.0, PROMPTS, 4.0), PromptChange(12.0, PROMPTS, 0.0), PromptChange(20.0, PROMPTS, 2.0))
    assert engine.prompt_weights(changes, 5.0) == [1, 0, 0, 0]
    assert engine.prompt_weights(changes, 11.0) == [0.75, 0.25, 0, 0]
    assert engine.prompt_weights(changes, 12.0) == [0, 0, 1, 0]
    assert engine.prompt_weights(changes, 21.0) == [0, 0, 0.5, 0.5]
    assert engine.prompt_weights(changes, 99.0) == [0, 0, 0, 1]


def test_unknown_words_of_all_prompts_are_told() -> None:
    scene = Scene(
        parse_prompts("low, ?blorp"),
        negative=parse_prompts("?mist"),
        changes=(PromptChange(1.0, parse_prompts("?zap")),),
    )
    assert engine.chunks(toy(), scene).unknown_words == ("?blorp", "?mist", "?zap")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seconds", [0.1, 3.0, 5.013])
def test_a_canvas_has_exactly_the_length_asked_for(method: str, seconds: float) -> None:
    made = engine.whole(toy(), Scene(PROMPTS, method=method, mode="joint"), seconds)
    assert made.shape == (2, round(seconds * RATE)) and made.dtype == np.float32


@pytest.mark.parametrize("method", METHODS)
def test_a_loop_has_the_length_asked_for_to_the_frame(method: str) -> None:
    made = engine.whole(toy(), Scene(PROMPTS, method=method, mode="joint", loop=True), 4.05)
    assert made.shape == (2, round(4.05 * RATE / FRAME) * FRAME)


def test_a_loop_that_no_views_tile_is_refused_with_lengths_that_do() -> None:
    with pytest.raises(LayoutError, match=r"20|36"):
        engine.whole(toy(), Scene(PROMPTS, mode="joint", loop=True), 10 * FRAME / RATE)


def test_independent_views_are_the_same_streamed_and_laid_out() -> None:
    streamed = np.concatenate(stream_of(toy(), 5.0, method="independent"), axis=1)
    laid_out = engine.whole(toy(), Scene(PROMPTS, method="independent", mode="joint"), 5.0)
    assert np.allclose(streamed, laid_out, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_durations_that_are_none_are_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="duration"):
        engine.chunks(toy(), Scene(PROMPTS), seconds)
    with pytest.raises(UsageError, match="duration"):
        engine.whole(toy(), Scene(PROMPTS, mode="joint"), seconds)


def test_a_scene_is_made_in_its_own_mode() -> None:
    with pytest.raises(UsageError, match="whole"):
        engine.chunks(toy(), Scene(PROMPTS, mode="joint"))
    with pytest.raises(UsageError, match="chunks"):
        engine.whole(toy(), Scene(PROMPTS), 1.0)


def test_a_snapshot_of_another_stream_or_damaged_is_refused() -> None:
    scene = Scene(PROMPTS)
    running = engine.chunks(toy(), scene, 5.0)
    next(running)
    saved = running.snapshot()
    with pytest.raises(SnapshotError, match="scene"):
        engine.chunks(toy(), Scene(PROMPTS, seed=1), 5.0, saved)
    with pytest.raises(SnapshotError, match="model"):
        engine.resume(toy(name="another"), saved)
    for wrong in (b"", b"\x00" * 100, saved[:-40], json.dumps({"a": 1}).encode()):
        with pytest.raises(SnapshotError):
            engine.resume(toy(), wrong)


def test_a_snapshot_with_a_tensor_missing_is_refused_by_name() -> None:
    from safetensors import numpy as safetensors_numpy

    running = engine.chunks(toy(), Scene(PROMPTS), 5.0)
    next(running)
    tensors = safetensors_numpy.load(running.snapshot())
    for name in ("engine/start", "stream/index", "decode/carried"):
        fewer = {other: values for other, values in tensors.items() if other != name}
        saved = safetensors_numpy.save(fewer, {engine.SNAPSHOT_KEY: json.dumps(running._identity())})
        with pytest.raises(SafaError, match=name):
            engine.resume(toy(), saved)
