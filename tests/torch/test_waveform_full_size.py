"""Models over waveform latents at their full size with random weights: saved, loaded by path, one call, some sound.

Configurations are the classes' defaults, which are the published ones where no others are named. Each prints its
figures: parameters, processor seconds of one guided call on SECONDS of sound and of decoding them.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from safa_stream.models import load
from safa_stream.models.pretrained.computing import parameters
from safa_stream.scene import parse_prompts
from tests.torch.waveform_models import (
    gemma_tokenizer,
    library,
    made,
    qwen_tokenizer,
    text_model,
    unigram_tokenizer,
)

pytestmark = pytest.mark.slow
SECONDS = 2.5
Parts = Mapping[str, Callable[[], Any]]

#: T5 base, UMT5 base, T5Gemma b-b and Qwen3 Embedding 0.6B.
T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
UMT5_BASE = {**T5_BASE, "d_ff": 2048, "vocab_size": 256384, "feed_forward_proj": "gated-gelu"}
GEMMA = {
    "vocab_size": 256000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
}
QWEN = {
    "vocab_size": 151669,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
FULL: Mapping[str, tuple[str, Parts]] = {
    "stable-audio": (
        "StableAudioPipeline",
        {
            "transformer": lambda: made("StableAudioDiTModel"),
            "vae": lambda: made("AutoencoderOobleck"),
            "projection_model": lambda: made(
                "StableAudioProjectionModel", text_encoder_dim=768, conditioning_dim=768, min_value=0, max_value=512
            ),
            "text_encoder": lambda: text_model("T5EncoderModel", "T5Config", **T5_BASE),
            "tokenizer": lambda: unigram_tokenizer(128),
            "scheduler": lambda: library("EDMDPMSolverMultistepScheduler")(),
        },
    ),
    "stable-audio-3": (
        "StableAudio3Pipeline",
        {
            "transformer": lambda: made("StableAudio3DiTModel"),
            "vae": lambda: made(
                "AutoencoderSAME",
                encoder_channels=256,
                encoder_transformer_depths=[12],
                decoder_sinusoidal_blocks=[8],
            ),
            "duration_embedder": lambda: made("StableAudio3DurationEmbedder"),
            "text_encoder": lambda: text_model(
                "T5GemmaEncoderModel", "T5GemmaConfig", encoder=GEMMA, decoder=GEMMA, is_encoder_decoder=False
            ),
            "tokenizer": gemma_tokenizer,
            "scheduler": lambda: library("FlowMatchEulerDiscreteScheduler")(
                num_train_timesteps=1, stochastic_sampling=True
            ),
        },
    ),
    "ace-step": (
        "AceStepPipeline",
        {
            "transformer": lambda: made("AceStepTransformer1DModel"),
            "vae": lambda: made("AutoencoderOobleck", downsampling_ratios=[2, 4, 4, 6, 10], sampling_rate=48000),
            "condition_encoder": lambda: made("AceStepConditionEncoder"),
            "text_encoder": lambda: text_model("Qwen3Model", "Qwen3Config", **QWEN),
            "tokenizer": qwen_tokenizer,
            "scheduler": lambda: library("FlowMatchEulerDiscreteScheduler")(num_train_timesteps=1, shift=1.0),
        },
    ),
    "longcat": (
        "LongCatAudioDiTPipeline",
        {
            "transformer": lambda: made("LongCatAudioDiTTransformer"),
            "vae": lambda: made("LongCatAudioDiTVae", strides=[2, 4, 4, 8, 8]),
            "text_encoder": lambda: text_model("UMT5EncoderModel", "UMT5Config", **UMT5_BASE),
            "tokenizer": lambda: unigram_tokenizer(512),
        },
    ),
}


def written(folder: Path, pipeline: str, parts: Parts) -> Path:
    """A checkpoint, one part in memory at a time, weights in half precision."""
    folder.mkdir()
    for name, make in parts.items():
        part = make()
        if isinstance(part, torch.nn.Module):
            part = part.half()
        part.save_pretrained(folder / name)
        del part
        gc.collect()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FULL)
def test_full_size(tmp_path: Path, name: str) -> None:
    model: Any = load(str(written(tmp_path / name, *FULL[name])), "torch")
    facts = model.facts
    frames = round(SECONDS * facts.frames_per_second / facts.frame_alignment) * facts.frame_alignment
    told = model.encode(parse_prompts("rain on a tent"), (), 0)
    x = torch.randn(1, facts.latent_channels, frames, 1, generator=torch.Generator().manual_seed(0))
    times = [time.process_time()]
    out = model.denoise(x, torch.tensor([0.9]), told.conditioning, told.negative, torch.tensor([2.0]))
    times.append(time.process_time())
    _, sound = model.decoder().decode(x[0].numpy(), 0, 0, 0, 0, model.decoder().start(0))
    times.append(time.process_time())
    calling, decoding = (after - before for before, after in zip(times, times[1:], strict=False))
    print(
        f"\n{name}: denoiser {parameters(model.transformer) / 1e6:.0f} M, {facts.channels} x {facts.sample_rate} Hz, "
        f"{facts.frames_per_second:.2f} frames/s, halo {facts.decoder_halo}; {SECONDS} s of sound: guided call "
        f"{calling:.1f} s, decoding {decoding:.1f} s"
    )
    assert out.shape == x.shape and torch.isfinite(out).all() and out.abs().max() > 0
    assert sound.shape == (facts.channels, frames * facts.samples_per_frame)
