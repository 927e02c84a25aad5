"""Models over waveform latents by path: decoded in pieces as whole, rendered to files, streamed, and played live."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from safa_stream import decode, engine
from safa_stream.errors import ModelError
from safa_stream.models import load
from safa_stream.models.interface import Model
from safa_stream.models.pretrained.computing import open_computing
from safa_stream.models.pretrained.waveform_decoder import TOLERANCE, oobleck_halo, same_halo, waveform_decoder
from safa_stream.rendering.render import render
from safa_stream.scene import Scene
from safa_stream.types import FloatArray
from tests.session.stage import begun, hear
from tests.torch.waveform_models import OOBLECK, SMALL, Shelf, made

NAMES = ("stable-audio", "stable-audio-3", "ace-step-turbo", "longcat")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Small pipelines by name."""
    return Shelf(tmp_path_factory.mktemp("checkpoints"))


def latents(channels: int, frames: int) -> FloatArray:
    """[C, T, 1]."""
    return np.random.default_rng(3).standard_normal((channels, frames, 1)).astype(np.float32)


def in_pieces(model: Model, canvas: FloatArray, cuts: list[int]) -> FloatArray:
    """Decoded as a stream that comes in pieces of these lengths."""
    decoder = model.decoder()
    state, at, out = decode.start(decoder, 0, canvas.shape[0], 1), 0, []
    for size in cuts:
        state, pcm = decode.push(decoder, state, canvas[:, at : at + size], final=at + size >= canvas.shape[1])
        out += [] if pcm is None else [pcm]
        at += size
    return np.concatenate(out, axis=1)


class TestDecoding:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_whole_is_what_the_pipeline_decodes(self, models: Shelf, name: str) -> None:
        model, vae = models(name).model, models(name).pipeline.vae
        canvas = latents(model.facts.latent_channels, 40)
        with torch.no_grad():
            theirs = vae.decode(torch.from_numpy(canvas[None, :, :, 0])).sample[0].numpy()
        ours = decode.decode_whole(model.decoder(), canvas, 0)
        assert ours.shape == (model.facts.channels, 40 * model.facts.samples_per_frame)
        assert np.allclose(ours, theirs, atol=1e-6)

    @pytest.mark.parametrize("cuts", [[70, 70], [1] * 20 + [3, 7, 40, 70], [130, 10]], ids=["halves", "many", "end"])
    @pytest.mark.parametrize("name", NAMES)
    def test_pieces_are_the_whole(self, models: Shelf, name: str, cuts: list[int]) -> None:
        model, vae = models(name).model, models(name).pipeline.vae
        canvas = latents(model.facts.latent_channels, 140)
        with torch.no_grad():
            whole = vae.decode(torch.from_numpy(canvas[None, :, :, 0])).sample[0].numpy()
        assert np.abs(in_pieces(model, canvas, cuts) - whole).max() <= TOLERANCE * np.abs(whole).max()

    @pytest.mark.parametrize(
        "strides", [[8, 8, 4, 4, 2], [10, 6, 4, 4, 2], [4, 2]], ids=["stable-audio", "ace-step", "two"]
    )
    def test_the_halo_is_how_far_a_decoder_hears(self, strides: list[int]) -> None:
        config = OOBLECK | {"downsampling_ratios": strides[::-1], "channel_multiples": [1] * len(strides)}
        decoder = made("AutoencoderOobleck", **config).double().decoder
        assert hearing(decoder, 8, math.prod(strides)) == oobleck_halo(strides)

    @pytest.mark.parametrize("strides, depths, window", [([16], [6], 1), ([2, 4], [1, 2], 1), ([4], [2], 2)])
    def test_attention_hears_no_farther_than_its_windows(
        self, strides: list[int], depths: list[int], window: int
    ) -> None:
        vae = made(
            "AutoencoderSAME",
            patch_size=4,
            encoder_channels=8,
            encoder_c_mults=[2] * len(strides),
            encoder_strides=strides[::-1],
            encoder_transformer_depths=depths[::-1],
            latent_dim=8,
            dim_heads=8,
            sliding_window=window,
        ).double()
        decoder = torch.nn.Sequential(vae.decoder)
        assert hearing(decoder, 8, math.prod(strides)) <= same_halo(strides, depths, window)

    def test_published_decoders(self) -> None:
        """Stable Audio Open's, ACE-Step's, SAME-S's and SAME-L's: about half a second on each side."""
        assert (oobleck_halo([8, 8, 4, 4, 2]), oobleck_halo([10, 6, 4, 4, 2])) == (10, 9)
        assert (same_halo([16], [6], 1), same_halo([16], [12], 1)) == (6, 12)

    def test_odd_strides_are_refused(self) -> None:
        with pytest.raises(ModelError, match="even"):
            oobleck_halo([5, 4])

    def test_a_long_window_is_decoded_in_pieces(self) -> None:
        sizes: list[int] = []

        def network(x: torch.Tensor) -> torch.Tensor:
            sizes.append(x.shape[2])
            return x[:, :1].repeat_interleave(4, dim=2)

        decoder = waveform_decoder(network, 3, 4, open_computing("torch"))
        canvas = latents(2, 300)
        _, sound = decoder.decode(canvas, 0, 0, 0, 0, decoder.start(0))
        assert max(sizes) <= 128 + 2 * 3 and np.array_equal(sound[0], np.repeat(canvas[0, :, 0], 4))


def hearing(decoder: torch.nn.Module, channels: int, scale: int) -> int:
    """Frames on either side that change when one frame's latents do."""
    frames = 61
    x = torch.randn(1, channels, frames, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, :, frames // 2] += 1
    with torch.no_grad():
        changed = (decoder(x) - decoder(other)).abs().amax(dim=1)[0].reshape(frames, scale).amax(dim=1) > 0
    return max(abs(int(at) - frames // 2) for at in changed.nonzero()[:, 0])


class TestSound:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_file_by_path(self, models: Shelf, tmp_path: Path, name: str) -> None:
        folder = models(name).folder
        scene = Scene.from_prompt("rain, wind:0.5", steps=2, model=str(folder))
        result = render(scene, 40.0, tmp_path / "a.flac")
        info = soundfile.info(tmp_path / "a.flac")
        facts = models(name).model.facts
        assert (info.samplerate, info.channels, info.frames) == (facts.sample_rate, facts.channels, 640_000)
        assert result.loudness_lufs == pytest.approx(-23, abs=0.5)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_stream_goes_on_from_a_snapshot(self, models: Shelf, name: str) -> None:
        model = models(name).model
        scene = Scene.from_prompt("rain", steps=2, guidance=2.0)
        stream = engine.chunks(model, scene)
        made = [next(stream) for _ in range(2)]
        saved = stream.snapshot()
        after = next(stream)
        again = next(engine.resume(load(str(models(name).folder), "torch"), saved))
        assert made[1].start == made[0].samples.shape[1] and np.isfinite(after.samples).all()
        assert np.abs(after.samples).max() > 0
        assert again.start == after.start and np.array_equal(again.samples, after.samples)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_live_session(self, models: Shelf, name: str) -> None:
        session = begun(models(name).model, steps=1)
        sound = hear(session, 3.0)
        assert sound.shape[0] == 2 and np.isfinite(sound).all() and np.abs(sound).max() > 1e-3

    def test_parts_that_do_not_fit_are_refused(self, models: Shelf, tmp_path: Path) -> None:
        folder = shutil.copytree(models("stable-audio").folder, tmp_path / "other")
        made("AutoencoderOobleck", **OOBLECK | {"decoder_input_channels": 4}).save_pretrained(folder / "vae")
        with pytest.raises(ModelError, match="other: transformer and vae do not fit each other: 8 and 4 latent"):
            load(str(folder))

    def test_a_clock_that_runs_backwards_is_refused(self, models: Shelf, tmp_path: Path) -> None:
        folder = shutil.copytree(models("longcat").folder, tmp_path / "other")
        (folder / "scheduler").mkdir()
        scheduler = folder / "scheduler" / "scheduler_config.json"
        scheduler.write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": true}')
        assert load(str(folder)).solver(4) == models("longcat").model.solver(4)
        scheduler.write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler"}')
        with pytest.raises(ModelError, match="invert_sigmas"):
            load(str(folder))

    @pytest.mark.parametrize("name", SMALL)
    def test_facts(self, models: Shelf, name: str) -> None:
        facts = models(name).model.facts
        assert (facts.name, facts.licence) == (name, "a-made-up-licence")
        assert facts.latent_bins == 1 and facts.view_frames % facts.frame_alignment == 0
        assert replace(facts) == load(str(models(name).folder), "torch").facts
