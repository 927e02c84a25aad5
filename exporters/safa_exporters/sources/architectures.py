"""Known architectures by configuration, full-size and tiny, and checkpoint directories of them with random weights.

For whoever has no weights at hand: a graph's speed, size and correctness do not depend on what the weights are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from safa_exporters.sources.audioldm import AudioLDM
from safa_exporters.sources.audioldm2 import AudioLDM2
from safa_exporters.sources.stable_audio import StableAudio
from safa_exporters.sources.stable_audio3 import StableAudio3
from safa_stream.models.pretrained.checkpoint import Kind, build

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A pipeline: its class, its components' configurations by folder, its scheduler's configuration."""

    pipeline: str
    kinds: tuple[Kind, ...]
    configs: Mapping[str, Config]
    scheduler: Config

    def with_configs(self, **configs: Config) -> Architecture:
        """The same with other configurations for some folders."""
        return replace(self, configs={**self.configs, **configs})


# The AudioLDM family: what huggingface/diffusers scripts/convert_original_audioldm_to_diffusers.py, and those for
# musicldm and audioldm2, make of their DEFAULT_CONFIG (AudioLDM-s-full-v2, MusicLDM, AudioLDM2 base). They set no
# attention_head_dim, so it is the class's 8. The VAE's scaling factor is learnt and lies in each checkpoint; here it is
# the scripts' 0.18215 for a model without one.
UNET: Config = {
    "sample_size": 256,
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [128, 256, 384, 640],
    "layers_per_block": 2,
}
CLASS_UNET: Config = UNET | {
    "cross_attention_dim": [128, 256, 384, 640],
    "class_embed_type": "simple_projection",
    "projection_class_embeddings_input_dim": 512,
    "class_embeddings_concat": True,
}
PAIR_UNET: Config = UNET | {"cross_attention_dim": [[None, 768, 1024]] * 4, "transformer_layers_per_block": 1}
KL: Config = {
    "sample_size": 1024,
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [128, 256, 512],
    "latent_channels": 8,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
HIFIGAN: Config = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "normalize_before": False,
}
DDIM: Config = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}

# Stable Audio Open 1.0: the defaults of diffusers' classes are its configuration (1.06 G parameters; scripts/
# convert_stable_audio.py fills in the same names). Noise levels: the same script, sigma 0.3 to 500.
DIT: Config = {"sample_size": 1024, "num_layers": 24, "attention_head_dim": 64, "num_attention_heads": 24}
OOBLECK: Config = {"sampling_rate": 44100, "audio_channels": 2, "decoder_input_channels": 64}
COSINE: Config = {
    "_class_name": "CosineDPMSolverMultistepScheduler",
    "sigma_min": 0.3,
    "sigma_max": 500,
    "sigma_data": 1.0,
    "sigma_schedule": "exponential",
    "solver_order": 2,
    "prediction_type": "v_prediction",
}

# Stable Audio 3 Medium: the defaults of StableAudio3DiTModel, and SAME-L as the docstring of AutoencoderSAME gives it.
FLOW_DIT: Config = {"embed_dim": 1536, "depth": 24, "num_heads": 24}
SAME: Config = {"encoder_channels": 256, "encoder_transformer_depths": [12], "decoder_sinusoidal_blocks": [8]}
FLOW: Config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1, "stochastic_sampling": True}

SPECTROGRAM: Mapping[str, Config] = {"vae": KL, "vocoder": HIFIGAN}
AUDIOLDM = Architecture("AudioLDMPipeline", AudioLDM.KINDS, {"unet": CLASS_UNET, **SPECTROGRAM}, DDIM)
FULL: Mapping[str, Architecture] = {
    "audioldm": AUDIOLDM,
    "musicldm": replace(AUDIOLDM, pipeline="MusicLDMPipeline"),
    "audioldm2": Architecture("AudioLDM2Pipeline", AudioLDM2.KINDS, {"unet": PAIR_UNET, **SPECTROGRAM}, DDIM),
    "stable-audio": Architecture(
        "StableAudioPipeline", StableAudio.KINDS, {"transformer": DIT, "vae": OOBLECK}, COSINE
    ),
    "stable-audio-3": Architecture(
        "StableAudio3Pipeline", StableAudio3.KINDS, {"transformer": FLOW_DIT, "vae": SAME}, FLOW
    ),
}

#: The same classes with fewer levels and layers, and widths that run in milliseconds. Only the U-Nets' middle attends.
SMALL_UNET: Config = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}
SMALL_CLASS: Config = (
    CLASS_UNET | SMALL_UNET | {"cross_attention_dim": [8, 16], "projection_class_embeddings_input_dim": 12}
)
SMALL_PAIR: Config = PAIR_UNET | SMALL_UNET | {"cross_attention_dim": [[None, 12, 20]] * 2}
SMALL_KL: Config = KL | {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 16],
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
SMALL_HIFIGAN: Config = HIFIGAN | {
    "model_in_dim": 8,
    "upsample_initial_channel": 32,
    "upsample_rates": [5, 4],
    "upsample_kernel_sizes": [16, 8],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}
SMALL_DIT: Config = {
    "sample_size": 64,
    "in_channels": 6,
    "out_channels": 6,
    "num_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "num_key_value_attention_heads": 2,
    "cross_attention_dim": 16,
    "cross_attention_input_dim": 16,
    "global_states_input_dim": 24,
    "time_proj_dim": 16,
}
SMALL_OOBLECK: Config = {
    "encoder_hidden_size": 8,
    "decoder_channels": 8,
    "decoder_input_channels": 6,
    "downsampling_ratios": [2, 4],
    "channel_multiples": [1, 2],
    "sampling_rate": 44100,
}
SMALL_FLOW_DIT: Config = {
    "io_channels": 6,
    "embed_dim": 32,
    "depth": 1,
    "num_heads": 4,
    "cond_token_dim": 16,
    "global_cond_dim": 16,
    "local_add_cond_dim": 7,
    "timestep_features_dim": 16,
    "num_memory_tokens": 4,
}
SMALL_SAME: Config = {
    "patch_size": 8,
    "encoder_channels": 8,
    "encoder_c_mults": [4],
    "encoder_strides": [4],
    "encoder_transformer_depths": [2],
    "decoder_sinusoidal_blocks": [2],
    "latent_dim": 6,
    "dim_heads": 8,
}
SMALL_SPECTROGRAM: Mapping[str, Config] = {"vae": SMALL_KL, "vocoder": SMALL_HIFIGAN}
TINY: Mapping[str, Architecture] = {
    "audioldm": FULL["audioldm"].with_configs(unet=SMALL_CLASS, **SMALL_SPECTROGRAM),
    "musicldm": FULL["musicldm"].with_configs(unet=SMALL_CLASS, **SMALL_SPECTROGRAM),
    "audioldm2": FULL["audioldm2"].with_configs(unet=SMALL_PAIR, **SMALL_SPECTROGRAM),
    "stable-audio": FULL["stable-audio"].with_configs(transformer=SMALL_DIT, vae=SMALL_OOBLECK),
    "stable-audio-3": FULL["stable-audio-3"].with_configs(transformer=SMALL_FLOW_DIT, vae=SMALL_SAME),
}


def write_checkpoint(folder: Path, architecture: Architecture, seed: int = 0) -> Path:
    """Write a checkpoint directory with random weights of `seed`; one module is in memory at a time."""
    index: dict[str, Any] = {"_class_name": architecture.pipeline}
    for kind in architecture.kinds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = build(kind, architecture.configs[kind.name])
            enliven(module)
        module.save_pretrained(folder / kind.name, safe_serialization=True)
        index[kind.name] = [kind.library, kind.class_name]
        del module
    scheduler = dict(architecture.scheduler)
    name = scheduler.pop("_class_name")
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    content = {"_class_name": name, **scheduler}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    index["scheduler"] = ["diffusers", name]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder


def enliven(module: nn.Module) -> None:
    """Random weights under which every input is heard: none is left at zero, and convolutions keep their input's size.

    (transformers' vocoder starts at a hundredth of that, and what is left of its input is lost in rounding.)
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and not hasattr(layer, "weight_g"):
                layer.reset_parameters()
        for value in module.parameters():
            if not value.any():
                value.normal_(std=0.02)
