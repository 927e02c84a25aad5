"""AudioLDM (arXiv 2301.12503) and MusicLDM (arXiv 2308.01546): a U-Net that is told one CLAP embedding.

Latents are [B, 8, T, 16]: T time frames of 1/25 s, 16 frequency bins. The autoencoder makes log-mel spectrograms of
them and the vocoder makes sound of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from safa_exporters.graph import About, Axis, Graph, Part, Sampling
from safa_exporters.sources.latent_decoders import BATCH, MelDecoder, decoder_graph, vocoder_graph
from safa_exporters.sources.sampling import denoise, frame_count, guided, normal, table
from safa_stream.models.backends.graphs import Arrays
from safa_stream.models.pretrained.audioldm import embedding_size
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.mel_decoder import KINDS, SpectrogramShape
from safa_stream.types import FloatArray

#: Of a trajectory whose length is not told: 5.12 s, as the diffusers pipelines make.
USUAL_FRAMES = 128
#: The longest time, in what the U-Net's levels halve down to one: 512 x 8 frames are 164 s.
LONGEST = 512


class ClassDenoiser(nn.Module):
    """UNet2DConditionModel with class embeddings: latents, timestep [B] and class_labels [B, D] to its prediction."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latents: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        """The prediction, of the latents' shape."""
        out: Tensor = self.unet(
            latents, timestep, encoder_hidden_states=None, class_labels=class_labels, return_dict=False
        )[0]
        return out


class SpectrogramLatents:
    """What the AudioLDM family shares: shapes of latents, decoder and vocoder, and how a trajectory becomes sound."""

    #: Its components beside the U-Net.
    SOUNDING = KINDS

    def __init__(self, checkpoint: Checkpoint, kind: str) -> None:
        self.checkpoint, self.kind = checkpoint, kind
        self.unet, self.vae = checkpoint.components["unet"], checkpoint.components["vae"]
        self.vocoder = checkpoint.components["vocoder"]
        shape = SpectrogramShape.of(checkpoint)
        self.upscale, self.multiple = shape.upscale, shape.multiple
        self.channels, self.bins = shape.channels, shape.bins

    @cached_property
    def about(self) -> About:
        """Where the graphs come from; reads every weight file."""
        return About.of(self.checkpoint, self.kind, int(self.vocoder.config["sampling_rate"]))

    def latent_inputs(self, frames: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, dict[int, Axis]]]:
        """Examples of the inputs that all U-Nets of the family have, and their free axes."""
        draw = np.random.default_rng(0)
        inputs = {
            "latents": normal(draw, 2, self.channels, frames, self.bins),
            "timestep": np.array([901, 21], np.float32),
        }
        time = Axis("time", least=2, most=LONGEST, multiple=self.multiple)
        return inputs, {"latents": {0: BATCH, 2: time}, "timestep": {0: BATCH}}

    def sounding_graphs(self) -> tuple[Graph, Graph]:
        """The decoder's and the vocoder's graph."""
        longest = LONGEST * self.multiple
        return (
            decoder_graph(self.vae, MelDecoder, (2, self.channels, 16, self.bins), "mel", longest),
            vocoder_graph(self.vocoder, 16 * self.upscale, longest * self.upscale),
        )

    def sound(
        self, parts: Mapping[str, Part], sampling: Sampling, conditional: Arrays, unconditional: Arrays
    ) -> FloatArray:
        """Sound [rows, 1, N] of a trajectory from the seed's noise."""
        frames = frame_count(sampling, USUAL_FRAMES, self.multiple)
        noise = normal(np.random.default_rng(sampling.seed), sampling.rows, self.channels, frames, self.bins)
        solver = table(self.checkpoint.scheduler, sampling.steps)
        predict = guided(parts["denoiser"], conditional, unconditional, sampling.guidance)
        mel = parts["decoder"]({"latents": denoise(solver, noise, predict)})
        return parts["vocoder"]({"mel": mel})


class AudioLDM(SpectrogramLatents):
    """AudioLDM and MusicLDM, whose U-Nets are of one class and take the same inputs."""

    KINDS = (Kind("unet", "UNet2DConditionModel"), *SpectrogramLatents.SOUNDING)

    def __init__(self, checkpoint: Checkpoint, kind: str = "audioldm") -> None:
        super().__init__(checkpoint, kind)
        self.embedding = embedding_size(self.unet)

    def graphs(self) -> Sequence[Graph]:
        """Denoiser, decoder and vocoder."""
        inputs, axes = self.latent_inputs(8 * self.multiple)
        labels = unit_rows(np.random.default_rng(1), 2, self.embedding)
        denoiser = Graph(
            name="denoiser",
            module=lambda: ClassDenoiser(self.unet.load()).eval(),
            inputs=inputs | {"class_labels": labels},
            output="prediction",
            axes=axes | {"class_labels": {0: BATCH}},
        )
        return (denoiser, *self.sounding_graphs())

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, 1, N]; random unit vectors stand for CLAP's embeddings of a text and of none."""
        draw = np.random.default_rng((sampling.seed, 1))
        told, without = (unit_rows(draw, sampling.rows, self.embedding) for _ in range(2))
        return self.sound(parts, sampling, {"class_labels": told}, {"class_labels": without})


def unit_rows(draw: np.random.Generator, rows: int, size: int) -> FloatArray:
    """Random rows of length 1, as CLAP's embeddings are."""
    values = normal(draw, rows, size)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)
