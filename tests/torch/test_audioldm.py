"""AudioLDM, MusicLDM and AudioLDM2 as models: each part equals what the pipelines of diffusers make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safa_stream import decode
from safa_stream.models import load
from safa_stream.models.interface import Conditioning, stack
from safa_stream.models.pretrained.audioldm import SpectrogramModel
from safa_stream.models.pretrained.audioldm2 import TOKENS
from safa_stream.models.pretrained.families import open_pretrained
from safa_stream.models.pretrained.mel_decoder import Grid, MelDecoder
from safa_stream.scene import WeightedPrompt, parse_prompts
from safa_stream.solvers import step
from safa_stream.types import FloatArray
from tests.torch.checkpoints import classes, pipelines, write

FAMILIES = ("audioldm", "musicldm", "audioldm2")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> SpectrogramModel:
    opened = open_pretrained(checkpoint, "torch")
    assert isinstance(opened, SpectrogramModel)
    return opened


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Any:
    """diffusers' own, with the language model that it needs."""
    name = checkpoint_class(checkpoint)
    given = {}
    if name == "AudioLDM2Pipeline":
        given["language_model"] = classes.GPT2LMHeadModel.from_pretrained(checkpoint / "language_model")
    opened = getattr(pipelines, name).from_pretrained(checkpoint, **given)
    opened.set_progress_bar_config(disable=True)
    return opened


def checkpoint_class(folder: Path) -> str:
    return str(json.loads((folder / "model_index.json").read_text())["_class_name"])


def random_latents(model: SpectrogramModel, frames: int, rows: int = 1, seed: int = 3) -> FloatArray:
    shape = (rows, model.facts.latent_channels, frames, model.facts.latent_bins)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def encoded_by(pipeline: Any, prompt: str, negative: str) -> dict[str, torch.Tensor]:
    """What the pipeline's U-Net is told, [2, ...], the negative prompt first."""
    if type(pipeline).__name__ == "AudioLDM2Pipeline":
        text, mask, generated = pipeline.encode_prompt(
            prompt, "cpu", 1, True, negative_prompt=negative, max_new_tokens=8
        )
        return {
            "encoder_hidden_states": generated,
            "encoder_hidden_states_1": text,
            "encoder_attention_mask_1": mask,
        }
    if type(pipeline).__name__ == "MusicLDMPipeline":
        # transformers 5 answers with an object where the pipeline takes it for a tensor.
        told = pipeline.tokenizer([negative, prompt], padding=True, return_tensors="pt")
        labels = pipeline.text_encoder.get_text_features(**told).pooler_output
    else:
        labels = pipeline._encode_prompt(prompt, "cpu", 1, True, negative)
    return {"encoder_hidden_states": None, "class_labels": labels}


@torch.no_grad()
def test_a_guided_trajectory_equals_the_pipelines(model: SpectrogramModel, pipeline: Any) -> None:
    prompt, negative, guidance, steps = "rain on a tent", "wind", 3.5, 4
    told = encoded_by(pipeline, prompt, negative)
    noise = random_latents(model, 32)
    pipeline.scheduler.set_timesteps(steps)
    expected = torch.from_numpy(noise) * pipeline.scheduler.init_noise_sigma
    for timestep in pipeline.scheduler.timesteps:
        both = pipeline.unet(torch.cat([expected] * 2), timestep, **told, return_dict=False)[0]
        without, with_it = both.chunk(2)
        guess = without + guidance * (with_it - without)
        expected = pipeline.scheduler.step(guess, timestep, expected, return_dict=False)[0]

    encoded = model.encode(parse_prompts(prompt), parse_prompts(negative), seed=0)
    table = model.solver(steps)
    x, h = model.from_numpy(noise) * table.initial_scale, None
    for index, timestep in enumerate(table.timesteps):
        m = model.denoise(
            x,
            torch.tensor([timestep]),
            encoded.conditioning,
            encoded.negative,
            torch.tensor([guidance]),
        )
        x, h = step(table.row(index), x, m, h)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model.to_numpy(x), expected.numpy(), atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_sound_equals_the_pipelines(model: SpectrogramModel, pipeline: Any) -> None:
    latents = random_latents(model, 40)[0]
    mel = pipeline.vae.decode(torch.from_numpy(latents[None]) / pipeline.vae.config.scaling_factor).sample
    expected = pipeline.mel_spectrogram_to_waveform(mel)[0].numpy()
    found = decode.decode_whole(model.decoder(), latents, seed=0)
    assert found.shape == (1, 40 * model.facts.samples_per_frame) and expected.std() > 1e-3
    # The vocoder adds some samples of its own at the end.
    np.testing.assert_allclose(found[0], expected[: found.shape[1]], atol=1e-5)


@torch.no_grad()
def test_rows_at_other_steps_and_guidance_do_not_hear_each_other(model: SpectrogramModel) -> None:
    first, second = (model.encode(parse_prompts(text), (), 0) for text in ("rain", "birds on a far sea"))
    x, times, guidance = (
        model.from_numpy(random_latents(model, 16, rows=3)),
        torch.tensor([901.0, 21.0, 401.0]),
        torch.tensor([3.5, 1.0, 2.0]),
    )
    rows = [first, second, second]
    told, away = (stack([getattr(row, name) for row in rows]) for name in ("conditioning", "negative"))
    together = model.denoise(x, times, told, away, guidance)
    for at, row in enumerate(rows):
        one = slice(at, at + 1)
        alone = model.denoise(x[one], times[one], row.conditioning, row.negative, guidance[one])
        np.testing.assert_allclose(together[one], alone, atol=1e-5 * float(np.abs(alone).max()))


def test_weights_of_prompts_are_heard(model: SpectrogramModel) -> None:
    def tensors(prompts: str) -> Conditioning:
        return model.encode(parse_prompts(prompts), (), 0).conditioning

    rain, both, birds = (tensors(text) for text in ("rain:1", "rain:3, sea birds:1", "sea birds:1"))
    for name, mixed in both.tensors.items():
        a, b = rain.tensors[name], birds.tensors[name]
        if name == "text_mask":
            assert torch.equal(mixed, torch.maximum(a, b))
            continue
        expected = 0.75 * a + 0.25 * b
        if name == "text":
            # Past the shorter text, only the longer one is there.
            only = (birds.tensors["text_mask"] > rain.tensors["text_mask"])[..., None]
            expected = torch.where(only, b, expected) * both.tensors["text_mask"][..., None]
        np.testing.assert_allclose(mixed, expected, atol=1e-5)


def test_words_that_are_not_told_are_named(model: SpectrogramModel) -> None:
    many = ["rain"] * 600
    unknown = model.encode([WeightedPrompt(" ".join([*many, "zebra"]))], (), 0).unknown_words
    assert "zebra" in unknown
    assert model.encode(parse_prompts("soft rain on a tent"), parse_prompts("wind"), 0).unknown_words == ()


def test_chunks_equal_the_whole(model: SpectrogramModel) -> None:
    latents, decoder = random_latents(model, 300, seed=5)[0], model.decoder()
    # Louder and louder, so that norms over other windows would be heard.
    latents *= np.linspace(0.2, 2.0, 300, dtype=np.float32)[None, :, None]
    whole = decode.decode_whole(decoder, latents, 0)
    draw = np.random.default_rng(1)
    for pieces in ([208, 92], [1] * 300, draw.multinomial(300, [0.1] * 10).tolist()):
        state, at, parts = decode.start(decoder, 0, latents.shape[0], latents.shape[2]), 0, []
        for number, count in enumerate(pieces):
            final = number == len(pieces) - 1
            state, pcm = decode.push(decoder, state, latents[:, at : at + count], final)
            # What goes through a snapshot goes on as if it had not.
            state = decode.DecodeState.from_tensors(state.to_tensors(), decoder, 0)
            parts += [] if pcm is None else [pcm]
            at += count
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


def test_a_circle_has_no_seam(model: SpectrogramModel) -> None:
    latents, scale = random_latents(model, 96, seed=6)[0], model.facts.samples_per_frame
    loop = decode.decode_circular(model.decoder(), latents, 0)
    assert loop.shape == (1, 96 * scale)
    around = np.concatenate([loop[:, -scale:], loop[:, :scale]], axis=1)[0]
    jump = np.abs(np.diff(around))[scale - 1]
    assert jump <= 3 * np.abs(np.diff(loop[0])).max()


def test_the_grid_of_windows_is_heard_no_more_than_by_halves(model: SpectrogramModel) -> None:
    """A long sound in windows is the sound in one piece, but for what far frames do through attention and norms."""
    latents = random_latents(model, 160, seed=7)[0]
    decoder = model.decoder()
    one = MelDecoder(model.shape, decoder.vae, decoder.vocoder, model.computing, Grid(0, 160, 0, 0))
    whole, windows = decode.decode_whole(one, latents, 0), decode.decode_whole(decoder, latents, 0)
    error = np.sqrt(np.mean((whole - windows) ** 2)) / whole.std()
    assert error < 0.5


def test_facts(model: SpectrogramModel, checkpoint: Path) -> None:
    facts = model.facts
    assert (facts.sample_rate, facts.channels, facts.takes_context) == (16000, 1, False)
    assert facts.licence == "cc-by-nc-sa-4.0"
    assert facts.name == checkpoint.name and facts.view_frames % facts.frame_alignment == 0
    assert load(str(checkpoint)).facts.version == facts.version


def test_half_precision_stays_near(model: SpectrogramModel, checkpoint: Path) -> None:
    half = load(str(checkpoint), "torch:bf16")
    told, x = model.encode(parse_prompts("rain"), (), 0), model.from_numpy(random_latents(model, 16))
    arguments = (x, torch.tensor([500.0]), told.conditioning, told.negative, torch.tensor([2.0]))
    exact, near = model.denoise(*arguments), half.denoise(*arguments)
    assert near.dtype == torch.float32
    assert 1e-6 < float((near - exact).abs().max() / exact.abs().max()) < 0.1


def test_what_is_steered_away_from_is_not_cut(model: SpectrogramModel) -> None:
    short, long = (model.encode(parse_prompts("rain"), parse_prompts(text), 0) for text in ("wind", "wind soft sea"))
    for name, tensor in long.negative.tensors.items():
        assert not torch.equal(tensor, short.negative.tensors[name]), name


def test_texts_of_audioldm2_are_of_one_length(tmp_path: Path) -> None:
    model = open_pretrained(write(tmp_path, "audioldm2"), "torch")
    for text in ("rain", "rain " * 200):
        told = model.encode([WeightedPrompt(text)], (), 0).conditioning.tensors
        assert told["text"].shape[1] == told["text_mask"].shape[1] == TOKENS
