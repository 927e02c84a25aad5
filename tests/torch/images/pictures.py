"""What tests of picture models share: small pipelines of the real classes, random weights, tokenizers made here.

They are saved as diffusers saves its pipelines, so tests open them by path as a user would.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers
    import transformers

library: Any = diffusers
models: Any = transformers
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()

WORDS = ("lake", "hills", "dusk", "fog")
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 32,
}


def stable_diffusion(folder: Path, prediction: str = "epsilon", scheduler: Any = None) -> Any:
    """Write a Stable Diffusion 2 whose view is 16 x 16 latents (32 x 32 pixels), and give its pipeline."""
    torch.manual_seed(1)
    offsets = SCHEDULER | {"prediction_type": prediction, "set_alpha_to_one": False, "steps_offset": 1}
    pipeline = library.StableDiffusionPipeline(
        vae=library.AutoencoderKL(latent_channels=4, scaling_factor=0.5, **VAE),
        text_encoder=models.CLIPTextModel(clip_config()),
        tokenizer=clip_tokenizer(),
        unet=library.UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            cross_attention_dim=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        scheduler=scheduler or library.DDIMScheduler(**offsets),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return saved(pipeline, folder)


def stable_diffusion3(folder: Path, t5: bool = True) -> Any:
    """Write a Stable Diffusion 3 whose view is 16 x 16 latents (32 x 32 pixels), and give its pipeline."""
    torch.manual_seed(2)
    pipeline = library.StableDiffusion3Pipeline(
        vae=library.AutoencoderKL(
            latent_channels=8,
            scaling_factor=1.5,
            shift_factor=0.06,
            use_quant_conv=False,
            use_post_quant_conv=False,
            **VAE,
        ),
        transformer=library.SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=8,
            out_channels=8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=24,
            pos_embed_max_size=16,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        text_encoder=models.CLIPTextModelWithProjection(clip_config(projection=8)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=models.CLIPTextModelWithProjection(clip_config(width=12, projection=16)),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=models.T5EncoderModel(t5_config()) if t5 else None,
        tokenizer_3=t5_tokenizer() if t5 else None,
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    return saved(pipeline, folder)


def saved(pipeline: Any, folder: Path) -> Any:
    """Written as pipelines are, with the model card of a licence; silent when it runs."""
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: openrail++\n---\n# A model\n")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clip_config(width: int = 16, projection: int = 16) -> Any:
    """A CLIP text encoder of three layers for `clip_tokenizer`."""
    vocabulary = len(clip_tokenizer())
    return models.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=20,
        projection_dim=projection,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def clip_tokenizer() -> Any:
    """Letters, and some words as one token each."""
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = []
    pieces = letters + [letter + "</w>" for letter in letters]
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts[:2] = [parts[0] + parts[1]]
            pieces.append(parts[0])
    for piece in pieces:
        vocabulary.setdefault(piece, len(vocabulary))
    return models.CLIPTokenizer(vocab=vocabulary, merges=[tuple(m.split()) for m in merges], model_max_length=20)


def t5_config() -> Any:
    """A T5 encoder of one layer for `t5_tokenizer`."""
    return models.T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=32,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )


def t5_tokenizer() -> Any:
    """Words and letters, as a Unigram model."""
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    scores += [(f"▁{word}", -1.0) for word in WORDS] + [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz,"]
    return models.T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=256)
