"""AudioLDM2 (arXiv 2308.05734): AudioLDM's latents, with a U-Net that attends to two sequences.

The first is what a language model makes of the text (8 vectors), the second the text itself by T5, with a mask. Both
are made by the pipeline class of diffusers, which is kept up; only that part of it is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from safa_stream.errors import ModelError
from safa_stream.models.pretrained import mel_decoder
from safa_stream.models.pretrained.audioldm import SpectrogramModel
from safa_stream.models.pretrained.base import Row, padded
from safa_stream.models.pretrained.checkpoint import CONFIG_NAME, Checkpoint, Component, Kind, library_class
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.texts import load_text_model, load_tokenizer, not_understood
from safa_stream.models.pretrained.weights import read_json

#: Tokens of T5 that a text may have, about ninety words. All texts are padded to it, so that any two can be told at
#: once; padding is masked.
TOKENS = 128
#: Vectors that the language model makes, where its configuration does not say.
GENERATED = 8


class AudioLDM2(SpectrogramModel):
    """AudioLDM2 for sounds and for music. The variants that speak (with VITS in place of T5) are refused."""

    KINDS = (
        Kind("unet", "AudioLDM2UNet2DConditionModel"),
        Kind("projection_model", "AudioLDM2ProjectionModel"),
        *mel_decoder.KINDS,
    )
    TEXTS = ("text_encoder", "text_encoder_2", "language_model", "tokenizer", "tokenizer_2")
    GUIDANCE = 3.5

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        first, second = sequence_sizes(checkpoint.components["unet"])
        self.texts = text_pipeline(checkpoint, computing)
        made = self.texts.language_model.config.n_embd, self.texts.text_encoder_2.config.d_model
        if made != (first, second):
            raise ModelError(
                f"{checkpoint.folder}: the unet attends to vectors of {first} and {second}, but language_model and "
                f"text_encoder_2 make vectors of {made[0]} and {made[1]}"
            )
        stored = read_json(checkpoint.folder / "language_model" / CONFIG_NAME, "a language model's configuration")
        self.generated = int(stored.get("max_new_tokens") or GENERATED)
        super().__init__(checkpoint, computing)

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """The language model's vectors [1, 8, D], T5's [1, TOKENS, E] and their mask.

        What is steered away from is padded to the longest prompt's length before the language model sees it, as in the
        pipeline: it counts padding as places, so that length is heard in what it makes. A longer one is not cut, as it
        would be there.
        """
        found = []
        for text in texts:
            longest = max((text, *beside), key=self._tokens)
            with quiet():
                told, mask, generated = self.texts.encode_prompt(
                    longest,
                    self.computing.device,
                    num_waveforms_per_prompt=1,
                    do_classifier_free_guidance=longest != text,
                    negative_prompt=text,
                    max_new_tokens=self.generated,
                )
            row = {"generated": generated[:1], "text": told[:1], "text_mask": mask[:1].long()}
            found.append(padded(row, "text", TOKENS))
        return found

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past T5's length, and those that it has no token for."""
        return not_understood(self.texts.tokenizer_2, text, TOKENS)

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """One call of the U-Net."""
        out: Tensor = self.unet(
            latents,
            timesteps,
            encoder_hidden_states=told["generated"],
            encoder_hidden_states_1=told["text"],
            encoder_attention_mask_1=told["text_mask"],
            return_dict=False,
        )[0]
        return out

    def _tokens(self, text: str) -> int:
        return len(self.texts.tokenizer_2(text).input_ids)


def text_pipeline(checkpoint: Checkpoint, computing: Computing) -> Any:
    """AudioLDM2Pipeline with what it needs for texts.

    The language model is loaded with its head, as checkpoints that name the class without it (GPT2Model) lack what the
    pipeline calls; the tokenizers are loaded by their classes, as the pipeline gives others no prompt.
    """
    folder = checkpoint.folder
    stored = read_json(folder / "text_encoder_2" / CONFIG_NAME, "the configuration of a T5EncoderModel")
    if stored.get("model_type") == "vits":
        raise ModelError(f"{folder} is an AudioLDM2 that speaks (its text_encoder_2 is VITS), which is not supported")
    tokenizer = load_tokenizer(folder / "tokenizer", "RobertaTokenizer")
    tokenizer_2 = load_tokenizer(folder / "tokenizer_2", "T5Tokenizer")
    tokenizer_2.model_max_length = min(tokenizer_2.model_max_length, TOKENS)
    models = (
        load_text_model(folder / "text_encoder", "ClapModel"),
        load_text_model(folder / "text_encoder_2", "T5EncoderModel"),
        load_text_model(folder / "language_model", "GPT2LMHeadModel"),
        checkpoint.components["projection_model"].load(),
    )
    clap, t5, language, projection = (computing.exact(model) for model in models)
    tokenizer.model_max_length = min(tokenizer.model_max_length, clap.config.text_config.max_position_embeddings - 2)
    with quiet():
        return library_class("diffusers", "AudioLDM2Pipeline")(
            vae=None,
            text_encoder=clap,
            text_encoder_2=t5,
            projection_model=projection,
            language_model=language,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            feature_extractor=None,
            unet=None,
            scheduler=None,
            vocoder=None,
        )


def sequence_sizes(unet: Component) -> tuple[int, int]:
    """Values in a vector of the first and of the second sequence.

    In a block's list of attention layers the first two attend to the first sequence and the others to the second;
    those without a size attend to the latents. Raises ModelError where one of the sequences is not attended to.
    """
    listed = unet.config["cross_attention_dim"]
    layers = listed[0] if isinstance(listed, list | tuple) else listed
    if isinstance(layers, list | tuple):
        first, second = [size for size in layers[:2] if size], [size for size in layers[2:] if size]
        if first and second:
            return int(first[0]), int(second[0])
    raise ModelError(
        f"{unet.folder}: AudioLDM2 attends to two sequences in every block, such as [null, 768, 1024], but "
        f"cross_attention_dim is {listed!r}"
    )
