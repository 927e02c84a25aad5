"""A small Stable Audio with random weights, made for sounds by name, in diffusers' layout: what is then trained.

Everything is of the published pipeline's classes. Its text encoder and its projection stay random: they give every
sound's name a sequence of its own, and nothing beyond; other words mean nothing to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from safa_stream.models.pretrained.checkpoint import Kind, build, library_class
from safa_stream.models.pretrained.quiet import quiet

#: Samples a second, mono; samples of a latent frame are the product of STRIDES: 64 ms (Stable Audio Open: 46 ms).
#: 32 samples become one number (Stable Audio Open: 64).
RATE, STRIDES, CHANNELS = 8_000, (8, 8, 8), 16
FRAME = STRIDES[0] * STRIDES[1] * STRIDES[2]
#: Latent frames of a view: 4.1 s.
VIEW = 64
WIDTH, TOKENS = 64, 12

VAE: dict[str, Any] = {
    # Twice the latent channels, as the encoder's last layer gives means and deviations in as many as its first has.
    "encoder_hidden_size": 2 * CHANNELS,
    "decoder_channels": 16,
    "decoder_input_channels": CHANNELS,
    "downsampling_ratios": list(STRIDES),
    "channel_multiples": [2, 4, 8],
    "audio_channels": 1,
    "sampling_rate": RATE,
}
TRANSFORMER: dict[str, Any] = {
    "sample_size": VIEW,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "num_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 6,
    "num_key_value_attention_heads": 3,
    "cross_attention_dim": 96,
    "cross_attention_input_dim": WIDTH,
    "global_states_input_dim": 2 * WIDTH,
    "time_proj_dim": 64,
}
PROJECTION = {"text_encoder_dim": WIDTH, "conditioning_dim": WIDTH, "min_value": 0, "max_value": 512}
TEXT = {"d_model": WIDTH, "d_kv": 16, "d_ff": 128, "num_layers": 1, "num_heads": 4}
SCHEDULER = {
    "_class_name": "CosineDPMSolverMultistepScheduler",
    "sigma_min": 0.03,
    "sigma_max": 100,
    "sigma_data": 1.0,
    "sigma_schedule": "exponential",
    "solver_order": 2,
    "prediction_type": "v_prediction",
}


def write_untrained(folder: Path, labels: Sequence[str], licence: str, seed: int) -> None:
    """Write the checkpoint; `labels` are the sounds whose names it is to know."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        modules = {
            "vae": build(Kind("vae", "AutoencoderOobleck"), VAE),
            "transformer": build(Kind("transformer", "StableAudioDiTModel"), TRANSFORMER),
            "projection_model": build(Kind("projection_model", "StableAudioProjectionModel"), PROJECTION),
            "tokenizer": _tokenizer(labels),
        }
        sizes = library_class("transformers", "T5Config")(**TEXT, vocab_size=len(modules["tokenizer"]))
        modules["text_encoder"] = library_class("transformers", "T5EncoderModel")(sizes)
        for name, module in modules.items():
            module.save_pretrained(folder / name)
    index: dict[str, Any] = {"_class_name": "StableAudioPipeline", "scheduler": ["diffusers", SCHEDULER["_class_name"]]}
    for name, module in modules.items():
        index[name] = [type(module).__module__.split(".")[0], type(module).__name__]
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=2), encoding="utf-8")
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n{', '.join(labels)}\n", encoding="utf-8")
    # Last, so that a folder with an index is a whole checkpoint.
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _tokenizer(labels: Sequence[str]) -> Any:
    """T5's tokenizer class over the words of the labels."""
    words = sorted({word for label in labels for word in re.split(r"[\s_]+", label) if word})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0), *((f"▁{word}", -2.0) for word in words)]
    return library_class("transformers", "T5Tokenizer")(vocab=pieces, extra_ids=0, model_max_length=TOKENS)
