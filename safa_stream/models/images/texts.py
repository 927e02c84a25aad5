"""Texts as models of pictures read them: weighted prompts as texts, encoders of a fixed length, CLIP's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from safa_stream.models.pretrained.checkpoint import CONFIG_NAME, STEMS
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.texts import load_text_model, load_tokenizer, not_understood
from safa_stream.models.pretrained.weights import find_weights, read_json
from safa_stream.scene import WeightedPrompt


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoder:
    """A tokenizer, and the folder of the model that is loaded when a text is to be encoded. longest: in tokens."""

    folder: Path
    class_name: str
    tokenizer: Any
    longest: int

    @classmethod
    def read(
        cls, checkpoint: Path, model: str, class_name: str, tokenizer: str, tokenizer_class: str, longest: int | None
    ) -> TextEncoder:
        """Tokenizer and configuration; longest: None for what they say themselves.

        Raises ModelError where a folder, the configuration or the weights are missing, or the tokenizer is damaged.
        """
        words = load_tokenizer(checkpoint / tokenizer, tokenizer_class)
        folder = checkpoint / model
        config = read_json(folder / CONFIG_NAME, f"the configuration of a {class_name}")
        find_weights(folder, STEMS["transformers"])
        limit = min(int(words.model_max_length), int(config.get("max_position_embeddings", 77)))
        return cls(folder, class_name, words, limit if longest is None else longest)

    def load(self, computing: Computing) -> Any:
        """The model on the device, in single precision."""
        return computing.exact(load_text_model(self.folder, self.class_name))

    def tokens(self, text: str, computing: Computing) -> Any:
        """Tokens and mask of a text, filled up to the fixed length, on the device."""
        with quiet():
            told = self.tokenizer(
                text, padding="max_length", max_length=self.longest, truncation=True, return_tensors="pt"
            )
        return told.to(computing.device)

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words of a text past the fixed length, or without a token."""
        return not_understood(self.tokenizer, text, self.longest)


def joint_embedding(model: Any, tokens: Any) -> tuple[Tensor, Tensor]:
    """(states [1, L, D] of the last layer but one, the projected embedding [1, P]) of a text."""
    out = model(tokens.input_ids, output_hidden_states=True)
    return out.hidden_states[-2], out.text_embeds


def texts(prompts: Sequence[WeightedPrompt]) -> dict[str, float]:
    """Texts and their weights: parts of the same weight joined by commas again, weighing what they weigh together."""
    groups: dict[float, list[str]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.weight, []).append(prompt.text)
    return {", ".join(words): weight * len(words) for weight, words in groups.items()}
