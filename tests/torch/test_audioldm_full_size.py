"""The AudioLDM family at full size with random weights: saved, loaded by path, one guided call, some sound.

Each prints its figures: parameters, processor seconds of a guided call on SECONDS of sound and of decoding them.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from safa_stream import decode
from safa_stream.models.pretrained.audioldm import SpectrogramModel
from safa_stream.models.pretrained.computing import parameters
from safa_stream.models.pretrained.families import open_pretrained
from safa_stream.models.pretrained.mel_decoder import Grid, MelDecoder
from safa_stream.scene import parse_prompts
from tests.torch.checkpoints import write

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SECONDS = 2.56
#: As the model cards have them, but for GPT-2's head and what makes texts of sounds; millions.
PARAMETERS = {"audioldm": (185.0, 186.0), "musicldm": (185.0, 186.0), "audioldm2": (346.0, 348.0)}


@pytest.mark.parametrize("family", list(PARAMETERS))
def test_full_size(family: str, tmp_path: Path) -> None:
    model = open_pretrained(write(tmp_path, family, full=True), "torch")
    assert isinstance(model, SpectrogramModel)
    facts = model.facts
    low, high = PARAMETERS[family]
    millions = parameters(model.unet) / 1e6
    assert low < millions < high
    assert (facts.sample_rate, facts.samples_per_frame, facts.frame_alignment) == (16000, 640, 8)
    assert (facts.latent_channels, facts.latent_bins, facts.view_frames) == (8, 16, 256)
    frames = round(SECONDS * facts.frames_per_second)
    told = model.encode(parse_prompts("rain on a tent"), (), 0)
    latents = np.random.default_rng(0).standard_normal((1, 8, frames, 16)).astype(np.float32)
    began = time.process_time()
    out = model.denoise(
        model.from_numpy(latents), torch.tensor([500.0]), told.conditioning, told.negative, torch.tensor([2.5])
    )
    called = time.process_time() - began
    assert out.shape == latents.shape and bool(torch.isfinite(out).all())
    began = time.process_time()
    sound = decode.decode_whole(model.decoder(), latents[0], 0)
    decoded = time.process_time() - began
    assert sound.shape == (1, frames * 640) and np.isfinite(sound).all()
    print(f"{family}: U-Net of {millions:.1f} M, {SECONDS} s: call {called:.1f} s, decoding {decoded:.1f} s")


def test_windows_at_full_size(tmp_path: Path) -> None:
    """Chunks equal the whole at the widths of published models, also where the sound grows louder."""
    model = open_pretrained(write(tmp_path, "audioldm", full=True), "torch")
    assert isinstance(model, SpectrogramModel)
    decoder = model.sounding
    small = MelDecoder(model.shape, decoder.vae, decoder.vocoder, model.computing, Grid(8, 8, 4, 2))
    latents = np.random.default_rng(1).standard_normal((8, 40, 16)).astype(np.float32)
    latents *= np.linspace(0.3, 1.5, 40, dtype=np.float32)[None, :, None]
    whole = decode.decode_whole(small, latents, 0)
    state, parts = decode.start(small, 0, 8, 16), []
    for at in (0, 24):
        state, pcm = decode.push(small, state, latents[:, at : at + 24], final=at > 0)
        parts += [] if pcm is None else [pcm]
    assert whole.std() > 1e-4
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)
