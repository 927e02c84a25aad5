"""Pipelines over waveform latents, built small of their real classes with random weights, and saved as they save."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from safa_exporters.sources.architectures import enliven
from safa_stream.models.pretrained.base import PretrainedModel
from safa_stream.models.pretrained.checkpoint import library_class
from safa_stream.models.pretrained.families import open_pretrained

WORDS = "rain on a tent distant thunder wind soft waves birds at dawn fill the audio semantic mask".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
CARD = "---\nlicense: other\nlicense_name: a-made-up-licence\n---\n"
#: Of all models: 16 kHz, and about 2048 samples a frame (Stable Audio 3: 1024).
RATE = 16_000
#: What text encoders are told of themselves; the sizes of all.
WIDTH, TOKENS = 16, 300
T5 = {"d_model": WIDTH, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": TOKENS}
ATTENTION = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
OOBLECK = {
    "encoder_hidden_size": 8,
    "decoder_channels": 8,
    "decoder_input_channels": 8,
    "downsampling_ratios": [8, 16, 16],
    "channel_multiples": [1, 2, 2],
    "audio_channels": 2,
}


def library(name: str) -> Any:
    """A class of diffusers or transformers."""
    return library_class("diffusers" if hasattr(library_module(), name) else "transformers", name)


def library_module() -> Any:
    """diffusers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers

    return diffusers


def made(name: str, **config: Any) -> Any:
    """A module of diffusers with random weights, all of which are heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = library(name)(**config)
    enliven(module)
    return module.eval()


def text_model(name: str, config: str, **values: Any) -> Any:
    """A module of transformers with random weights."""
    return library_class("transformers", name)(library_class("transformers", config)(**values)).eval()


def unigram_tokenizer(length: int) -> Any:
    """T5's, which knows WORDS and single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in WORDS] + [(letter, -6.0) for letter in LETTERS]
    return library_class("transformers", "T5Tokenizer")(vocab=pieces, extra_ids=0, model_max_length=length)


def gemma_tokenizer() -> Any:
    """Gemma's, which knows letters."""
    vocab = {token: at for at, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS])}
    return library_class("transformers", "GemmaTokenizer")(vocab=vocab, merges=[], model_max_length=32)


def qwen_tokenizer() -> Any:
    """Qwen's, which knows bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocab = {letter: at for at, letter in enumerate(sorted(ByteLevel.alphabet()))}
    vocab["<|endoftext|>"] = len(vocab)
    return library_class("transformers", "Qwen2Tokenizer")(vocab=vocab, merges=[])


def stable_audio() -> dict[str, Any]:
    """Stable Audio Open: views of 4 s."""
    return {
        "vae": made("AutoencoderOobleck", **OOBLECK, sampling_rate=RATE),
        "text_encoder": text_model("T5EncoderModel", "T5Config", **T5),
        "projection_model": made(
            "StableAudioProjectionModel", text_encoder_dim=WIDTH, conditioning_dim=12, min_value=0, max_value=512
        ),
        "tokenizer": unigram_tokenizer(12),
        "transformer": made(
            "StableAudioDiTModel",
            sample_size=32,
            in_channels=8,
            out_channels=8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            cross_attention_dim=16,
            cross_attention_input_dim=12,
            global_states_input_dim=24,
            time_proj_dim=16,
        ),
        "scheduler": library("EDMDPMSolverMultistepScheduler")(sigma_min=0.3, sigma_max=500.0, sigma_data=1.0),
    }


def stable_audio3(stochastic: bool = True) -> dict[str, Any]:
    """Stable Audio 3, distilled or not; views of 16 s."""
    gemma = {
        **ATTENTION,
        "vocab_size": TOKENS,
        "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 8,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 8,
    }
    return {
        "vae": made(
            "AutoencoderSAME",
            patch_size=64,
            encoder_channels=8,
            encoder_c_mults=[4],
            encoder_strides=[16],
            encoder_transformer_depths=[2],
            decoder_sinusoidal_blocks=[2],
            latent_dim=6,
            dim_heads=8,
            sampling_rate=RATE,
        ),
        "text_encoder": text_model(
            "T5GemmaEncoderModel", "T5GemmaConfig", encoder=gemma, decoder=gemma, is_encoder_decoder=False
        ),
        "tokenizer": gemma_tokenizer(),
        "duration_embedder": made("StableAudio3DurationEmbedder", output_dim=WIDTH, fourier_dim=16),
        "transformer": made(
            "StableAudio3DiTModel",
            io_channels=6,
            embed_dim=32,
            depth=2,
            num_heads=4,
            cond_token_dim=WIDTH,
            global_cond_dim=WIDTH,
            local_add_cond_dim=7,
            timestep_features_dim=16,
            num_memory_tokens=4,
        ),
        "scheduler": library("FlowMatchEulerDiscreteScheduler")(num_train_timesteps=1, stochastic_sampling=stochastic),
    }


def ace_step(turbo: bool = False) -> dict[str, Any]:
    """ACE-Step 1.5; 8 frames a second, views of 30 s."""
    layers = {"num_lyric_encoder_hidden_layers": 2, "num_timbre_encoder_hidden_layers": 2, "sliding_window": 16}
    encoder = made("AceStepConditionEncoder", **ATTENTION, **layers, text_hidden_dim=WIDTH, timbre_hidden_dim=8)
    return {
        "vae": made("AutoencoderOobleck", **OOBLECK | {"downsampling_ratios": [10, 10, 20]}, sampling_rate=RATE),
        "text_encoder": text_model("Qwen3Model", "Qwen3Config", **ATTENTION, vocab_size=TOKENS, num_hidden_layers=2),
        "tokenizer": qwen_tokenizer(),
        "transformer": made(
            "AceStepTransformer1DModel",
            **ATTENTION,
            num_hidden_layers=2,
            in_channels=24,
            audio_acoustic_hidden_dim=8,
            sliding_window=16,
            is_turbo=turbo,
        ),
        "condition_encoder": encoder,
        "scheduler": library("FlowMatchEulerDiscreteScheduler")(num_train_timesteps=1, shift=1.0),
    }


def longcat() -> dict[str, Any]:
    """LongCat-AudioDiT: mono, views of 15 s."""
    return {
        "vae": made(
            "LongCatAudioDiTVae",
            channels=8,
            c_mults=[1, 2, 2],
            strides=[8, 16, 16],
            latent_dim=8,
            encoder_latent_dim=16,
            downsampling_ratio=2048,
            sample_rate=RATE,
        ),
        "text_encoder": text_model("UMT5EncoderModel", "UMT5Config", **T5),
        "tokenizer": unigram_tokenizer(40),
        "transformer": made(
            "LongCatAudioDiTTransformer", dit_dim=32, dit_depth=2, dit_heads=4, dit_text_dim=WIDTH, latent_dim=8
        ),
        "scheduler": library("FlowMatchEulerDiscreteScheduler")(shift=1.0, invert_sigmas=True),
    }


SMALL: Mapping[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "stable-audio": ("StableAudioPipeline", stable_audio),
    "stable-audio-3": ("StableAudio3Pipeline", stable_audio3),
    "stable-audio-3-base": ("StableAudio3Pipeline", lambda: stable_audio3(stochastic=False)),
    "ace-step": ("AceStepPipeline", ace_step),
    "ace-step-turbo": ("AceStepPipeline", lambda: ace_step(turbo=True)),
    "longcat": ("LongCatAudioDiTPipeline", longcat),
}


def saved(name: str, folder: Path) -> Any:
    """The pipeline of that name, built small, saved to the folder with a model card."""
    pipeline, parts = SMALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = library(pipeline)(**parts())
    built.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built.save_pretrained(folder)
    if name == "stable-audio":
        # What the published checkpoint names adds noise and needs torchsde; the levels are the same.
        config = {"_class_name": "CosineDPMSolverMultistepScheduler", "sigma_min": 0.3, "sigma_max": 500}
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return built


@dataclass(frozen=True)
class Loaded:
    """A small pipeline of diffusers, the folder that it was saved to, and our model of that."""

    folder: Path
    pipeline: Any
    model: PretrainedModel


@dataclass(frozen=True)
class Shelf:
    """Small pipelines by their names in SMALL, each built and loaded when it is first asked for."""

    folder: Path
    made: dict[str, Loaded] = field(default_factory=dict)

    def __call__(self, name: str) -> Loaded:
        if name not in self.made:
            folder = self.folder / name
            self.made[name] = Loaded(folder, saved(name, folder), open_pretrained(folder, "torch"))
        return self.made[name]
