"""Models of pictures against diffusers' own pipelines, schedulers and autoencoders, with small random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from safa_stream import joint
from safa_stream.errors import LayoutError, ModelError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models.images.autoencoder import PictureDecoder, halo_of
from safa_stream.models.images.families import image_class, open_images
from safa_stream.models.interface import stack
from safa_stream.models.pretrained.hub import Hub
from safa_stream.scene import parse_prompts
from safa_stream.solvers import step
from safa_stream.views import first_state
from tests.torch.images import pictures

Pipelines = dict[str, tuple[Path, Any]]
KINDS = ("epsilon", "velocity", "flow", "flow without T5")
PROMPT, NEGATIVE = "lake, hills at dusk", "fog"


@pytest.mark.parametrize("kind", KINDS)
def test_one_view_is_what_the_pipeline_makes_of_the_same_noise(made_pipelines: Pipelines, kind: str) -> None:
    folder, pipeline = made_pipelines[kind]
    model = open_images(folder, "torch")
    encoded = model.encode(parse_prompts(PROMPT), parse_prompts(NEGATIVE))
    plan = joint.JointPlan(ViewLayout(16, 3), model.solver(5), "safa-self", seed=3)
    latents = joint.generate(model, plan, 1, encoded, 6.0)
    noise = first_state(model, 3, "view", 0, 16, 1.0).permute(0, 1, 3, 2).contiguous()

    def theirs(output: str) -> Any:
        return pipeline(
            PROMPT, negative_prompt=NEGATIVE, height=32, width=32, latents=noise.clone(), num_inference_steps=5,
            guidance_scale=6.0, output_type=output,
        ).images[0]  # fmt: skip

    expected = theirs("latent").permute(0, 2, 1)
    # Random weights reach some ten standard deviations: single precision leaves a few 1e-6 of the largest.
    assert torch.allclose(latents, expected, atol=3e-6 * float(expected.abs().max()), rtol=0)
    # Rounded alike, but for values that lie between two levels.
    assert np.abs(model.decode(latents, False) - theirs("np") * 255).max() < 0.51


def test_without_a_negative_prompt_the_pipeline_is_met_too(made_pipelines: Pipelines) -> None:
    folder, pipeline = made_pipelines["flow"]
    encoded = open_images(folder, "torch").encode(parse_prompts("lake"), ())
    told, away, pooled, pooled_away = pipeline.encode_prompt("lake", None, None)
    assert torch.allclose(encoded.conditioning.tensors["text"], told, atol=1e-5)
    assert torch.allclose(encoded.negative.tensors["text"], away, atol=1e-5)
    assert torch.allclose(encoded.conditioning.tensors["pooled"], pooled, atol=1e-5)
    assert torch.allclose(encoded.negative.tensors["pooled"], pooled_away, atol=1e-5)


def test_parts_of_one_weight_are_one_text_and_others_are_mixed(made_pipelines: Pipelines) -> None:
    model = open_images(made_pipelines["epsilon"][0], "torch")

    def told(prompt: str) -> torch.Tensor:
        return model.encode(parse_prompts(prompt), ()).conditioning.tensors["text"]

    whole = made_pipelines["epsilon"][1].encode_prompt("lake, fog", "cpu", 1, False)[0]
    assert torch.allclose(told("lake, fog"), whole, atol=1e-5)
    mixed = 0.75 * told("lake") + 0.25 * told("fog")
    assert torch.allclose(told("lake:3, fog:1"), mixed, atol=1e-5)
    assert not torch.allclose(told("lake, fog"), mixed, atol=1e-2)


@pytest.mark.parametrize("kind", ["epsilon", "flow without T5"])
def test_words_beyond_the_encoder_are_told(made_pipelines: Pipelines, kind: str) -> None:
    model = open_images(made_pipelines[kind][0], "torch")
    assert model.encode(parse_prompts("lake hills"), ()).unknown_words == ()
    found = model.encode(parse_prompts(" ".join(["lake"] * 18 + ["hills", "dusk"])), ()).unknown_words
    assert found == ("hills", "dusk")


def test_a_longer_encoder_reads_what_the_others_do_not(made_pipelines: Pipelines) -> None:
    model = open_images(made_pipelines["flow"][0], "torch")
    assert model.encode(parse_prompts(" ".join(["lake"] * 18 + ["hills"])), ()).unknown_words == ()


@pytest.mark.parametrize("kind", ["velocity", "flow"])
def test_rows_of_a_batch_stand_at_steps_and_guidances_of_their_own(made_pipelines: Pipelines, kind: str) -> None:
    model = open_images(made_pipelines[kind][0], "torch")
    rows = [model.encode(parse_prompts(words), ()) for words in ("lake", "hills", "fog")]
    x = torch.randn(3, model.facts.latent_channels, 16, 16, generator=torch.Generator().manual_seed(1))
    times, guidance = torch.tensor([900.0, 500.0, 20.0]), torch.tensor([4.0, 1.0, 7.5])
    told, away = stack([row.conditioning for row in rows]), stack([row.negative for row in rows])
    together = model.denoise(x, times, told, away, guidance)
    for row, encoded in enumerate(rows):
        one = slice(row, row + 1)
        alone = model.denoise(x[one], times[one], encoded.conditioning, encoded.negative, guidance[one])
        assert torch.allclose(together[one], alone, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers' own use of numpy
@pytest.mark.parametrize(
    ("scheduler", "standing_for"),
    [
        ("PNDMScheduler", "DDIMScheduler"),
        ("EulerDiscreteScheduler", "DDIMScheduler"),
        ("EulerAncestralDiscreteScheduler", "DDIMScheduler"),
        ("DDIMScheduler", "DDIMScheduler"),
        ("DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler"),
    ],
)
def test_the_sampler_makes_the_steps_of_the_checkpoints_scheduler(
    tmp_path: Path, made_pipelines: Pipelines, scheduler: str, standing_for: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(made_pipelines["epsilon"][0], folder)
    schedule = {key: value for key, value in pictures.SCHEDULER.items() if key != "clip_sample"} | {"steps_offset": 1}
    made = getattr(pictures.library, scheduler)(**schedule)
    made.save_pretrained(folder / "scheduler")
    table = open_images(folder, "torch").solver(7)
    changed = {"clip_sample": False} if standing_for == "DDIMScheduler" else {}
    own = getattr(pictures.library, standing_for).from_pretrained(folder, subfolder="scheduler", **changed)
    own.set_timesteps(7)
    x = theirs = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    h: Any = x * 0
    for index, timestep in enumerate(own.timesteps):
        assert table.timesteps[index] == float(timestep)
        x, h = step(table.row(index), x, torch.tanh(x), h)
        theirs = own.step(torch.tanh(theirs), timestep, theirs).prev_sample
        assert torch.allclose(x, theirs, atol=2e-5)


def test_text_encoders_under_their_published_names_are_read(tmp_path: Path, made_pipelines: Pipelines) -> None:
    folder = tmp_path / "model"
    shutil.copytree(made_pipelines["epsilon"][0], folder)
    weights = folder / "text_encoder" / "model.safetensors"
    published = {f"text_model.{name}": tensor for name, tensor in load_file(weights).items()}
    published["text_model.embeddings.position_ids"] = torch.arange(20)[None]
    save_file(published, weights, metadata={"format": "pt"})
    told, expected = (
        open_images(place, "torch").encode(parse_prompts("lake"), ()).conditioning.tensors["text"]
        for place in (folder, made_pipelines["epsilon"][0])
    )
    assert torch.equal(told, expected)


@pytest.mark.parametrize("kind", ["epsilon", "flow"])
def test_decoding_in_windows_is_near_decoding_whole(made_pipelines: Pipelines, kind: str) -> None:
    folder, pipeline = made_pipelines[kind]
    model = open_images(folder, "torch")
    latents = torch.randn(model.facts.latent_channels, 220, 16, generator=torch.Generator().manual_seed(4))
    seen: list[tuple[int, int]] = []
    made = model.decode(latents, False, lambda done, total: seen.append((done, total)))
    config = pipeline.vae.config
    with torch.no_grad():
        scaled = latents.permute(0, 2, 1)[None] / config.scaling_factor + (config.shift_factor or 0.0)
        whole = pipeline.vae.decode(scaled).sample[0].permute(1, 2, 0)
    expected = ((whole / 2 + 0.5).clamp(0, 1) * 255).numpy()
    # Of 256 levels, for white noise and random weights: attention and normalisation see one window.
    difference = float(np.abs(made - expected).mean())
    assert difference < 3
    assert made.shape == (32, 440, 3) and seen == [(1, 3), (2, 3), (3, 3)]


def unnormalised(width: int) -> tuple[PictureDecoder, torch.Tensor]:
    """A decoder of convolutions alone, whose reach is exactly the halo, and latents."""
    torch.manual_seed(6)
    vae = pictures.library.AutoencoderKL(
        latent_channels=4, scaling_factor=0.5, mid_block_add_attention=False, **pictures.VAE
    ).eval()
    for module in list(vae.decoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())
    return PictureDecoder(vae.requires_grad_(False)), torch.randn(4, width, 8)


def test_the_halo_is_as_wide_as_the_convolutions_reach() -> None:
    decoder, latents = unnormalised(200)
    whole = decoder._decoded(latents.permute(0, 2, 1)[None] / decoder.gain, _all(200))
    expected = ((whole.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).numpy()
    assert expected.std() > 5
    assert np.abs(decoder.decode(latents, False) - expected).max() < 0.51
    decoder.halo = 2
    assert np.abs(decoder.decode(latents, False) - expected).max() > 0.51


def test_on_a_circle_no_place_is_special() -> None:
    decoder, latents = unnormalised(150)
    made = decoder.decode(latents, True).astype(int)
    turned = decoder.decode(latents.roll(37, dims=1), True).astype(int)
    assert np.abs(np.roll(made, 37 * decoder.scale, axis=1) - turned).max() <= 1
    twice = decoder.decode(torch.cat([latents, latents], dim=1), False).astype(int)
    middle = slice(75 * decoder.scale, 225 * decoder.scale)
    assert np.abs(np.concatenate([made, made], axis=1)[:, middle] - twice[:, middle]).max() <= 1


def test_a_full_size_autoencoder_declares_its_halo() -> None:
    assert halo_of({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}) == 18


def test_pictures_have_heights_that_the_denoiser_takes(made_pipelines: Pipelines) -> None:
    unet, dit = (open_images(made_pipelines[kind][0], "torch") for kind in ("epsilon", "flow"))
    assert unet.at_height(64).facts.latent_bins == 32 and unet.facts.height == 32
    with pytest.raises(LayoutError, match="multiple of 4 pixels, not 30"):
        unet.at_height(30)
    assert dit.at_height(64).facts.height == 64
    with pytest.raises(LayoutError, match="at most 64 pixels"):
        dit.at_height(68)


def broken(folder: Path, what: str) -> None:
    """Spoil a checkpoint."""
    if what == "no such folder":
        shutil.rmtree(folder)
    elif what == "another pipeline":
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "AudioLDM2Pipeline"}))
    elif what == "no text encoder":
        shutil.rmtree(folder / "text_encoder")
    elif what == "no tokenizer":
        shutil.rmtree(folder / "tokenizer")
    elif what == "pickled":
        (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
            folder / "unet" / "diffusion_pytorch_model.bin"
        )
    elif what == "cut off":
        weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == "half a text encoder":
        weights = folder / "text_encoder" / "model.safetensors"
        save_file(dict(list(load_file(weights).items())[:3]), weights, metadata={"format": "pt"})
    elif what == "another scheduler":
        (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    elif what == "for editing":
        config = folder / "unet" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 9}))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no such folder", "no such checkpoint directory"),
        ("another pipeline", "AudioLDM2Pipeline, which makes no panoramas"),
        ("no text encoder", "text_encoder"),
        ("no tokenizer", "the folder tokenizer is missing"),
        ("pickled", "only pickled weights"),
        ("cut off", "damaged"),
        ("half a text encoder", "no CLIPTextModel"),
        ("another scheduler", "_class_name"),
        ("for editing", "do not fit"),
    ],
)
def test_checkpoints_that_cannot_be_used_are_refused_in_one_line(
    tmp_path: Path, made_pipelines: Pipelines, what: str, said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(made_pipelines["epsilon"][0], folder)
    broken(folder, what)
    with pytest.raises(ModelError, match=said) as error:
        open_images(folder, "torch").encode(parse_prompts("lake"), ())
    assert "\n" not in str(error.value)


def test_half_precision_is_near_single(made_pipelines: Pipelines) -> None:
    for kind in ("epsilon", "flow"):
        made = []
        for backend in ("torch", "torch:bf16"):
            model = open_images(made_pipelines[kind][0], backend)
            encoded = model.encode(parse_prompts("lake"), ())
            x = first_state(model, 0, "view", 0, 16, 1.0)
            told = encoded.conditioning, encoded.negative
            made.append(model.denoise(x, torch.tensor([500.0]), *told, torch.tensor([4.0])))
        assert made[1].dtype == torch.float32
        assert 0 < float((made[0] - made[1]).norm() / made[0].norm()) < 0.1


def test_a_model_of_the_hubs_cache_is_found_by_its_id(tmp_path: Path, made_pipelines: Pipelines) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--someone--pictures"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(made_pipelines["flow"][0], place / "snapshots" / commit)
    hub = Hub("http://127.0.0.1:9", tmp_path, image_class)
    folder = hub.fetched("someone/pictures")
    assert open_images(folder, "torch").facts.name == "someone/pictures"
    shutil.rmtree(folder / "text_encoder_3")
    with pytest.raises(ModelError, match="only in part") as error:
        hub.fetched("someone/pictures")
    assert "\n" not in str(error.value)


def test_a_backend_that_is_not_torch_is_refused(made_pipelines: Pipelines) -> None:
    with pytest.raises(ModelError, match="not on onnx"):
        open_images(made_pipelines["epsilon"][0], "onnx")
    with pytest.raises(UsageError, match="no backend"):
        open_images(made_pipelines["epsilon"][0], "abacus")


def _all(width: int) -> Any:
    from safa_stream.models.images.autoencoder import Window

    return Window(0, width, 0, 0, 0)
