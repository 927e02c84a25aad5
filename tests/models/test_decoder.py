"""The decoder: chunked equals whole, the same seed gives the same sound, tones, clicks and noise stay what they are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin import features
from safa_stream.models.builtin.decoder import LEAST_PART, TextureDecoder, open_decoder
from safa_stream.models.builtin.excitation import excitation
from safa_stream.models.builtin.features import SAMPLE_RATE, SAMPLES_PER_TOKEN, LatentMap
from safa_stream.models.builtin.weights import load_weights

FRAMES = 60
EXACT = 2e-6


@cache
def decoder() -> TextureDecoder:
    return open_decoder(load_weights(), Backend("onnx", threads=2))


@cache
def latent_map() -> LatentMap:
    tensors = load_weights().tensors
    return LatentMap(*(tensors[f"latent.{name}"] for name in ("mean", "forward", "backward")))


def window(latents: np.ndarray) -> np.ndarray:
    """[T, K] to [C, T, F]."""
    return np.moveaxis(latents.reshape(len(latents), 8, -1), 0, 1)


def whole(latents: np.ndarray, seed: int = 1) -> np.ndarray:
    model = decoder()
    return model.decode(window(latents), 0, 0, 0, seed, model.start(seed))[1]


def encode(samples: np.ndarray) -> np.ndarray:
    """Mono samples [N] to latents [T, K]."""
    return latent_map().encode(features.tokens(np.stack([samples, samples]).astype(np.float32)))


def seconds(length: float) -> np.ndarray:
    return np.arange(int(length * SAMPLE_RATE) // SAMPLES_PER_TOKEN * SAMPLES_PER_TOKEN) / SAMPLE_RATE


def noise(length: float, level: float = 0.05) -> np.ndarray:
    generator = np.random.default_rng(5)
    return (generator.standard_normal(len(seconds(length))) * level).astype(np.float32)


@cache
def scene() -> np.ndarray:
    """Latents of noise with a gliding tone and clicks in it."""
    time = seconds(FRAMES / 25)
    sound = noise(FRAMES / 25, 0.02) + 0.1 * np.sin(2 * np.pi * (800 * time + 150 * time**2))
    sound[::9600] += 0.8
    return encode(sound)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(0, 2**63))
def test_chunks_equal_the_whole(sizes: list[int], seed: int) -> None:
    model, latents = decoder(), scene()
    state, parts, first = model.start(seed), [], 0
    for size in [*sizes, FRAMES]:
        stop = min(FRAMES, first + size)
        if stop == first:
            break
        begin, end = max(0, first - model.halo), min(FRAMES, stop + model.halo)
        piece = window(latents[begin:end])
        state, pcm = model.decode(piece, first - begin, end - stop, first, seed, state)
        parts.append(pcm)
        first = stop
    assert np.abs(np.concatenate(parts, axis=1) - whole(latents, seed)).max() < EXACT


@pytest.mark.parametrize("sound", ["fire", "bells"])
def test_the_sound_is_the_one_that_was_recorded(sound: str) -> None:
    """Latents of the model, and every 101st sample that the decoder gave for them. With the noise of then, they were
    what it gave when it was written in plain numpy.

    They belong to the weights that ship: other weights need other recordings.
    """
    with np.load(Path(__file__).with_name("decoded.npz")) as recorded:
        latents, samples = recorded[f"{sound}.latents"].astype(np.float32), recorded[f"{sound}.samples"]
    model = decoder()
    made = model.decode(latents, 0, 0, 0, 11, model.start(11))[1][:, ::101]
    assert np.linalg.norm(made - samples) < 1e-4 * np.linalg.norm(samples)


def test_parts_at_the_same_time_equal_one_after_the_other_and_the_whole() -> None:
    weights, latents = load_weights(), np.concatenate([scene()] * 2)
    together, in_turn = (open_decoder(weights, Backend("onnx", threads=threads)) for threads in (2, 1))
    assert together.pool is not None and in_turn.pool is None and len(latents) >= 2 * LEAST_PART
    at_once = replace(in_turn, graphs=in_turn.graphs[:1])
    found = [one.decode(window(latents), 0, 0, 0, 1, one.start(1))[1] for one in (together, in_turn, at_once)]
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() < EXACT


def test_every_token_has_its_noise_wherever_a_window_begins() -> None:
    whole = excitation(5, -20, 60)
    for first, count in ((-20, 60), (-13, 9), (0, 1), (7, 30)):
        part, at = excitation(5, first, count), first + 20
        steady = whole.steady.reshape(2, 60, -1)[:, at : at + count]
        assert np.array_equal(part.steady.reshape(2, count, -1), steady)
        assert np.array_equal(part.heights, whole.heights[at : at + count])
        assert np.array_equal(part.detail.reshape(count, -1), whole.detail.reshape(60, -1)[at : at + count])
    for kind in (whole.steady.reshape(120, -1), whole.heights[:, 1:], whole.detail.reshape(60, -1)):
        assert len(np.unique(kind, axis=0)) == len(kind), "no two tokens have the same"
        assert abs(kind.mean()) < 0.05 and abs(kind.std() - 1) < 0.05


def test_the_same_seed_gives_the_same_samples_and_another_seed_others() -> None:
    latents = scene()
    assert np.array_equal(whole(latents, 3), whole(latents, 3))
    assert not np.allclose(whole(latents, 3), whole(latents, 4), atol=1e-3)


def test_the_state_given_in_is_not_changed() -> None:
    model = decoder()
    state = model.start(1)
    middle, _ = model.decode(window(scene()[:30]), 0, 10, 0, 1, state)
    kept = middle.phase.copy(), middle.amplitude.copy()
    model.decode(window(scene()), 20, 10, 20, 1, middle)
    assert np.array_equal(kept[0], middle.phase) and np.array_equal(kept[1], middle.amplitude)
    assert not state.amplitude.any()


def spectrum(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(mono * np.hanning(len(mono)))) ** 2
    return np.fft.rfftfreq(len(mono), 1 / SAMPLE_RATE), power


@pytest.mark.parametrize("pitch", [220.0, 1000.0, 3300.0])
def test_a_pure_tone_stays_one_tone_at_its_pitch(pitch: float) -> None:
    made = whole(encode(0.1 * np.sin(2 * np.pi * pitch * seconds(3)))).mean(0)[SAMPLE_RATE // 2 : -SAMPLE_RATE // 2]
    hz, power = spectrum(made)
    peak = hz[power.argmax()]
    assert abs(peak / pitch - 1) < 0.01
    near = np.abs(hz / peak - 1) < 0.03
    assert power[~near].max() < power.max() / 100


def test_clicks_stay_clicks() -> None:
    sound = noise(3, 0.001)
    sound[4800::12000] += 0.5
    made = whole(encode(sound)).mean(0)
    crest = np.abs(made).max() / made.std()
    smooth = whole(encode(noise(3))).mean(0)
    assert crest > 2.5 * np.abs(smooth).max() / smooth.std()


def test_noise_keeps_the_energy_of_its_bands() -> None:
    sound = noise(6)
    made = whole(encode(sound)).mean(0)
    real, ours = (np.exp(features.log_mel(x)[50:-50]).mean(0) for x in (sound, made))
    groups = 10 * np.log10(ours.reshape(12, 8).mean(1) / real.reshape(12, 8).mean(1))
    assert np.abs(groups).max() < 1.0


def test_silence_stays_silent() -> None:
    made = whole(encode(np.zeros(2 * SAMPLE_RATE, np.float32)))
    assert np.abs(made).max() < 1e-3


@pytest.mark.parametrize("scale", [1e3, 1e9, np.nan, np.inf])
def test_latents_that_no_sound_has_stay_finite_and_bounded(scale: float) -> None:
    latents = np.random.default_rng(2).standard_normal((30, 80)).astype(np.float32)
    latents[::3] *= np.float32(scale)
    made = whole(latents)
    assert np.isfinite(made).all() and np.abs(made).max() <= 8.0


def test_no_step_at_the_border_of_chunks() -> None:
    model, latents = decoder(), scene()
    state, parts = model.start(1), []
    for first in range(0, FRAMES, 10):
        begin, end = max(0, first - model.halo), min(FRAMES, first + 10 + model.halo)
        state, pcm = model.decode(window(latents[begin:end]), first - begin, end - first - 10, first, 1, state)
        parts.append(pcm)
    step = np.abs(np.diff(np.concatenate(parts, axis=1), axis=1)).max(0)
    borders = step[np.arange(1, FRAMES // 10) * 10 * SAMPLES_PER_TOKEN - 1]
    assert borders.max() <= np.quantile(step, 0.999)
