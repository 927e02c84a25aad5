"""Whole checkpoints of the AudioLDM family, small and full-size: real classes, random weights, tokenizers made here."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from safa_exporters.sources.architectures import FULL, SMALL_PAIR, TINY, write_checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers
    import transformers

classes: Any = transformers
pipelines: Any = diffusers

#: Words that the tokenizers made here know as a whole; RoBERTa spells all others by bytes, T5 has no token for them.
WORDS = "rain on a tent distant thunder wind in the trees sea birds soft low long night music noise of and far".split()
MODEL_CARD = "---\nlicense: cc-by-nc-sa-4.0\ntags:\n- audio\n---\nA model with random weights.\n"
#: Widths of small and full-size text models: CLAP's embedding, language model, T5.
SMALL_SIZES, FULL_SIZES = (12, 12, 20), (512, 768, 1024)


def write(folder: Path, family: str, full: bool = False, seed: int = 0) -> Path:
    """A checkpoint of "audioldm", "musicldm" or "audioldm2" as its pipeline class would save it."""
    architecture = (FULL if full else TINY)[family]
    if family == "audioldm2" and not full:
        architecture = architecture.with_configs(unet=SMALL_PAIR)
    write_checkpoint(folder, architecture, seed)
    embedding, generated, text = FULL_SIZES if full else SMALL_SIZES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        components = {"tokenizer": roberta_tokenizer(folder / "tokenizer")}
        if family == "audioldm":
            config = classes.ClapTextConfig(**clap_sizes(full), projection_dim=embedding)
            components["text_encoder"] = saved(classes.ClapTextModelWithProjection(config), folder / "text_encoder")
        else:
            components["text_encoder"] = saved(clap_model(full, embedding), folder / "text_encoder")
            components["feature_extractor"] = classes.ClapFeatureExtractor()
            components["feature_extractor"].save_pretrained(folder / "feature_extractor")
        if family == "audioldm2":
            components["tokenizer_2"] = t5_tokenizer(folder / "tokenizer_2")
            components["text_encoder_2"] = saved(t5_encoder(full, text), folder / "text_encoder_2")
            components["language_model"] = saved(language_model(full, generated), folder / "language_model")
            components["projection_model"] = saved(
                pipelines.AudioLDM2ProjectionModel(embedding, text, generated), folder / "projection_model"
            )
    index = json.loads((folder / "model_index.json").read_text())
    for name, component in components.items():
        library = "diffusers" if name == "projection_model" else "transformers"
        index[name] = [library, type(component).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text(MODEL_CARD)
    return folder


def saved(module: Any, folder: Path) -> Any:
    """A module, written to the folder."""
    module.eval().save_pretrained(folder, safe_serialization=True)
    return module


def roberta_tokenizer(folder: Path) -> Any:
    """CLAP's tokenizer class over single bytes, 512 tokens at most; written to the folder."""
    from tokenizers.pre_tokenizers import ByteLevel

    symbols = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = classes.RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=512)
    tokenizer.save_pretrained(folder)
    return tokenizer


def t5_tokenizer(folder: Path, longest: int = 512) -> Any:
    """T5's tokenizer class over WORDS; written to the folder."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0), *((f"▁{word}", -2.0) for word in WORDS)]
    tokenizer = classes.T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return tokenizer


def clap_sizes(full: bool) -> dict[str, Any]:
    """What both kinds of CLAP's text encoder are configured with; in full, the class's defaults."""
    if full:
        return {}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    # Enough places for 510 bytes of text.
    return sizes | {"vocab_size": 300, "max_position_embeddings": 514}


def clap_model(full: bool, embedding: int) -> Any:
    """CLAP with its encoders for text and for sounds."""
    sounds: dict[str, Any] = {"projection_dim": embedding}
    if not full:
        sounds |= {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16}
        sounds |= {"spec_size": 64, "window_size": 4, "num_mel_bins": 16, "num_hidden_layers": 2}
    text = {**clap_sizes(full), "projection_dim": embedding}
    return classes.ClapModel(classes.ClapConfig(text_config=text, audio_config=sounds, projection_dim=embedding))


def t5_encoder(full: bool, width: int) -> Any:
    """T5's encoder: flan-t5-large, as AudioLDM2 has it, or a small one."""
    if full:
        sizes: dict[str, Any] = {"d_ff": 2816, "num_layers": 24, "num_heads": 16, "d_kv": 64, "vocab_size": 32128}
    else:
        sizes = {"d_ff": 24, "num_layers": 2, "num_heads": 2, "d_kv": 8, "vocab_size": 64}
    return classes.T5EncoderModel(classes.T5Config(d_model=width, feed_forward_proj="gated-gelu", **sizes))


def language_model(full: bool, width: int) -> Any:
    """GPT-2 without a head, as published checkpoints name it."""
    sizes = {} if full else {"n_layer": 2, "n_head": 2, "n_positions": 600, "vocab_size": 50}
    return classes.GPT2Model(classes.GPT2Config(n_embd=width, max_new_tokens=8, **sizes))
