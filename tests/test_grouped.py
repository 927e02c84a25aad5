"""Groups of channels: the first is what the model makes by itself, all follow one reference, none is another's echo."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream import engine
from safa_stream.errors import ModelError, UsageError
from safa_stream.models.grouped import grouped
from safa_stream.models.interface import Model
from safa_stream.scene import Scene, parse_prompts
from tests.toy import FACTS, ToyDecoder, ToyModel, World, toy

SECONDS = 12.0


def hissing(**facts: object) -> ToyModel:
    """A toy whose decoder remembers, and has noise of its own."""
    model = toy(**facts)
    model.sampled_decoder = ToyDecoder(hiss=0.5, remembers=True)
    return model


def made(model: Model, mode: str = "stream", **values: object) -> np.ndarray:
    scene = Scene(parse_prompts("low, high:0.5"), seed=4, mode=mode, **values)  # type: ignore[arg-type]
    if mode == "joint":
        return engine.whole(model, scene, SECONDS)
    return np.concatenate([chunk.samples for chunk in engine.chunks(model, scene, SECONDS)], axis=1)


@pytest.mark.parametrize("channels", [3, 4, 5, 16])
@pytest.mark.parametrize("values", [{}, {"mode": "joint"}, {"mode": "joint", "loop": True}, {"method": "independent"}])
def test_the_first_group_is_bit_for_bit_what_the_model_makes(channels: int, values: dict[str, object]) -> None:
    alone, many = made(hissing(), **values), made(grouped(hissing(), channels), **values)  # type: ignore[arg-type]
    assert many.shape == (channels, alone.shape[1])
    assert np.array_equal(many[:2], alone)


def test_it_holds_in_every_array_library(world: World) -> None:
    alone, many = made(toy(world)), made(grouped(toy(world), 5))
    assert np.array_equal(many[:2], alone) and many == pytest.approx(made(grouped(toy(), 5)), abs=1e-4)


def test_more_groups_change_none_of_those_there_are() -> None:
    four, seven = made(grouped(hissing(), 4)), made(grouped(hissing(), 7))
    assert np.array_equal(seven[:4], four)
    # The odd one is the left of its pair.
    assert np.array_equal(made(grouped(hissing(), 8))[:7], seven)


def test_groups_are_no_copies_and_share_what_the_prompt_says() -> None:
    many = made(grouped(toy(), 6))
    frames = many.reshape(6, -1, FACTS.samples_per_frame)
    # What the prompt says is the mean of every sample of a frame: there all groups agree.
    said = frames.mean(axis=1)
    assert np.corrcoef(said[0], said[2])[0, 1] > 0.9 and np.corrcoef(said[1], said[5])[0, 1] > 0.9
    beside = np.corrcoef((frames - frames.mean(axis=1, keepdims=True)).reshape(6, -1))
    assert abs(beside[0, 2]) < 0.4 and abs(beside[2, 4]) < 0.4


def test_all_groups_follow_one_reference() -> None:
    stream = engine.chunks(grouped(toy(), 6), Scene(parse_prompts("low")))
    next(stream)
    ((_, reference),) = stream.position.views.references
    groups = np.split(np.asarray(reference.trajectory.states), 3, axis=1)
    assert np.array_equal(groups[0], groups[1]) and np.array_equal(groups[0], groups[2])
    past = stream.position.views.past
    assert past is not None
    own = np.split(np.asarray(past.states), 3, axis=1)
    assert not np.array_equal(own[0], own[1])


def test_groups_are_rows_of_one_batch() -> None:
    model = toy()
    stream = engine.chunks(grouped(model, 6), Scene(parse_prompts("low")))
    next(stream)
    # Three groups, and while the reference is made, which is the same for all, one row more.
    assert model.calls[: FACTS.default_steps] == [4, 4, 4, 3, 3, 3, 3, 3]
    assert set(model.calls[FACTS.default_steps :]) <= {3}


def test_a_model_of_one_channel_has_as_many_groups_as_channels() -> None:
    class Mono(ToyDecoder):
        def decode(self, *asked: object) -> object:  # type: ignore[override]
            state, pcm = super().decode(*asked)  # type: ignore[arg-type]
            return state, pcm[:1]

    model = toy(channels=1)
    model.sampled_decoder = Mono(hiss=0.5)
    many = made(grouped(model, 3))
    assert len(many) == 3 and np.array_equal(many[:1], made(model))
    assert not np.array_equal(many[0], many[1])


def test_a_stream_goes_on_from_its_snapshot() -> None:
    model = grouped(hissing(), 5)
    stream = engine.chunks(model, Scene(parse_prompts("low")))
    for _ in range(3):
        next(stream)
    again = engine.resume(model, stream.snapshot())
    for _ in range(3):
        assert np.array_equal(next(again).samples, next(stream).samples)


def test_what_cannot_be_is_refused() -> None:
    for channels in (0, 17):
        with pytest.raises(UsageError, match="1 to 16"):
            grouped(toy(), channels)
    with pytest.raises(ModelError, match="no more than the model's 2"):
        made(grouped(toy(), 4), mode="joint", method="mad")
    model = toy()
    assert grouped(model, 2) is model and grouped(model, 1) is model
