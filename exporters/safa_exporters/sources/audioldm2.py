"""AudioLDM2 (arXiv 2308.05734): AudioLDM's latents, with a U-Net that attends to two sequences.

The first is what a language model makes of the text (8 vectors), the second the text itself by T5, with a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from safa_exporters.graph import Axis, Graph, Part, Sampling
from safa_exporters.sources.audioldm import SpectrogramLatents
from safa_exporters.sources.latent_decoders import BATCH
from safa_exporters.sources.sampling import normal
from safa_stream.models.pretrained.audioldm2 import sequence_sizes
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.types import FloatArray

#: Vectors that the language model makes (max_new_tokens of the published checkpoints).
GENERATED = 8
#: T5's longest text in the diffusers pipeline, and the length of the example's.
LONGEST_TEXT, EXAMPLE_TEXT = 128, 12


class PairDenoiser(nn.Module):
    """AudioLDM2UNet2DConditionModel: latents, timestep [B], two sequences and the second's mask to its prediction."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_1: Tensor,
        encoder_attention_mask_1: Tensor,
    ) -> Tensor:
        """The prediction, of the latents' shape. The mask is 1 where the text is and 0 in its padding."""
        out: Tensor = self.unet(
            latents,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            encoder_hidden_states_1=encoder_hidden_states_1,
            encoder_attention_mask_1=encoder_attention_mask_1,
            return_dict=False,
        )[0]
        return out


class AudioLDM2(SpectrogramLatents):
    """AudioLDM2; the length of the text is a free axis, "tokens"."""

    KINDS = (Kind("unet", "AudioLDM2UNet2DConditionModel"), *SpectrogramLatents.SOUNDING)

    def __init__(self, checkpoint: Checkpoint, kind: str = "audioldm2") -> None:
        super().__init__(checkpoint, kind)
        self.sizes = sequence_sizes(self.unet)

    def graphs(self) -> Sequence[Graph]:
        """Denoiser, decoder and vocoder."""
        inputs, axes = self.latent_inputs(8 * self.multiple)
        tokens = Axis("tokens", least=2, most=LONGEST_TEXT)
        denoiser = Graph(
            name="denoiser",
            module=lambda: PairDenoiser(self.unet.load()).eval(),
            inputs=inputs | self.sequences(np.random.default_rng(1), 2),
            output="prediction",
            axes=axes
            | {
                "encoder_hidden_states": {0: BATCH},
                "encoder_hidden_states_1": {0: BATCH, 1: tokens},
                "encoder_attention_mask_1": {0: BATCH, 1: tokens},
            },
        )
        return (denoiser, *self.sounding_graphs())

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, 1, N]; random sequences stand for what the text models make of a text and of none."""
        draw = np.random.default_rng((sampling.seed, 1))
        told, without = (self.sequences(draw, sampling.rows) for _ in range(2))
        return self.sound(parts, sampling, told, without)

    def sequences(self, draw: np.random.Generator, rows: int) -> dict[str, npt.NDArray[Any]]:
        """Random conditioning of `rows` rows; a third of every other text is padding."""
        mask = np.ones((rows, EXAMPLE_TEXT), np.int64)
        mask[1::2, EXAMPLE_TEXT * 2 // 3 :] = 0
        return {
            "encoder_hidden_states": normal(draw, rows, GENERATED, self.sizes[0]),
            "encoder_hidden_states_1": normal(draw, rows, EXAMPLE_TEXT, self.sizes[1]),
            "encoder_attention_mask_1": mask,
        }
