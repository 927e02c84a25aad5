"""What all pretrained models share behind `models.interface.Model`: prompts, guidance, sampler, view lengths.

A family's file says which components it has (KINDS, TEXTS), what its texts become (`rows`), and what one call of its
denoiser is (`predict`). The rest is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from safa_stream.errors import ModelError, UsageError
from safa_stream.models.backends.spec import Backend
from safa_stream.models.interface import Conditioning, Decoder, Encoded, ModelFacts
from safa_stream.models.likeness import Likeness, of_sounds
from safa_stream.models.merging import Grid, MergedAttention, Place, require_eager
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing, to_numpy
from safa_stream.models.pretrained.guidance import combined, guided
from safa_stream.scene import MAD, WeightedPrompt
from safa_stream.schedulers import Sigmas, deterministic, from_scheduler_config
from safa_stream.solvers import SolverTable
from safa_stream.types import Array, FloatArray

#: One text's encoding: named tensors [1, ...], of the same shapes for every text.
Row = Mapping[str, Tensor]
#: A tensor called NAME + MASK is the mask [1, L] of the tensor NAME [1, L, D]: whole numbers, 1 where the text is.
MASK = "_mask"
#: A view overlaps the next by one step of the model's alignment at least, and by a quarter at most of the shortest.
SHORTEST_STEPS = 4


class PretrainedModel(ABC):
    """A checkpoint's components on a device. It remembers nothing between calls."""

    #: Modules that are held against their weights before any is loaded.
    KINDS: ClassVar[tuple[Kind, ...]]
    #: Folders of text models and tokenizers.
    TEXTS: ClassVar[tuple[str, ...]]
    #: Whether the unconditional rows are a call of their own instead of half of a doubled batch.
    TWO_CALLS: ClassVar[bool] = False
    #: The scheduler's configuration where the checkpoint has none; None for pipelines that are never saved without.
    SCHEDULER: ClassVar[Mapping[str, Any] | None] = None

    facts: ModelFacts

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        self.checkpoint, self.computing = checkpoint, computing

    # What a family says.

    @abstractmethod
    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """Each text's encoding, in single precision on the device.

        Called without gradients. beside: for texts to steer away from, the prompts they stand against, as some models
        pad them alike.
        """

    def without(self, beside: Sequence[str]) -> Row:
        """What the denoiser is told where there is nothing to steer away from: the encoding of no text."""
        return self.rows([""], beside)[0]

    @abstractmethod
    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words of a text that the model is not told."""

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """One call of the denoiser: latents [N, C, T, F] and what it is told [N, ...], in the denoiser's precision.

        timesteps: [N], single precision. Returns its output of the latents' shape.
        """

    @abstractmethod
    def decoder(self) -> Decoder:
        """Latents to sound."""

    @abstractmethod
    def grid(self, tokens: int, frames: int) -> Grid:
        """How so many queries of an attention layer lie in a view of `frames` latent frames."""

    @abstractmethod
    def spectrum(self, latents: Tensor) -> Tensor:
        """Clean latents [B, C, T, F] as log-mel [B, J, bands], gradients handed on."""

    def combined(self, told: Tensor, without: Tensor, guidance: Tensor) -> Tensor:
        """Classifier-free guidance; guidance [N, 1, 1, 1]."""
        return combined(told, without, guidance)

    # What all have.

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt], seed: int) -> Encoded:
        """Prompts as the weighted mean of their encodings; so the negative ones. The seed is not used."""
        texts = [prompt.text for prompt in prompts]
        with self.computing.running():
            told = weighted(self.rows(texts), [prompt.weight for prompt in prompts])
            if negative:
                opposed = self.rows([prompt.text for prompt in negative], texts)
                away = weighted(opposed, [prompt.weight for prompt in negative])
            else:
                away = self.without(texts)
        unknown = [word for prompt in (*prompts, *negative) for word in self.not_understood(prompt.text)]
        return Encoded(Conditioning(told), Conditioning(away), tuple(dict.fromkeys(unknown)))

    def denoise(
        self,
        latents: Array,
        timesteps: Array,
        conditioning: Conditioning,
        negative: Conditioning,
        guidance: Array,
        context: Array | None = None,
        known: Array | None = None,
    ) -> Array:
        """The guided output [B, C, T, F], single precision; rows with guidance 1 cost one pass.

        Raises UsageError for a number of frames that the model does not take, ModelError where memory does not suffice.
        """
        self.check_frames(int(latents.shape[2]))
        with self.computing.running(latents):
            return guided(
                self._call,
                latents,
                timesteps,
                conditioning.tensors,
                negative.tensors,
                guidance,
                self.combined,
                self.TWO_CALLS,
            )

    @property
    def backend(self) -> Backend:
        """What it computes on."""
        return self.computing.backend

    def require_open(self, method: str) -> None:
        """Raise UsageError for a compiled network with MAD."""
        if method == MAD:
            require_eager(self.backend)

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        """While it lasts, all views of a canvas, told in one batch, attend to each other (MAD); see merging.py."""
        self.require_open(MAD)
        return MergedAttention(Place(tuple(starts), view, width), lambda tokens: self.grid(tokens, view), merge_self)

    def likeness(self, network: Path | None) -> Likeness:
        """How unlike views sound; see likeness.py."""
        with self.memory():
            return of_sounds(self.spectrum, network, self.computing.device)

    def memory(self) -> AbstractContextManager[None]:
        """While it lasts, running out of memory raises ModelError that says what to lower."""
        return self.computing.memory()

    def solver(self, steps: int) -> SolverTable:
        """The checkpoint's sampler over `steps` network evaluations, or the deterministic one that stands for it."""
        return self.sampled(steps)

    def sampled(self, steps: int, sigmas: Sigmas | None = None) -> SolverTable:
        """The same; sigmas: the noise levels that the pipeline names itself, where it does not leave them to it."""
        return from_scheduler_config(deterministic(self.checkpoint.scheduler), steps, sigmas)

    def check_frames(self, frames: int) -> None:
        """Raise UsageError for a view length that the denoiser does not take."""
        multiple = self.facts.frame_alignment
        if frames < multiple or frames % multiple:
            raise UsageError(f"{self.facts.name} takes views of a multiple of {multiple} frames, not of {frames}")

    def from_numpy(self, array: Array) -> Tensor:
        """A numpy array as a tensor on the device, single precision."""
        return self.computing.tensor(array)

    def to_numpy(self, array: Array) -> FloatArray:
        """A tensor as numpy, single precision."""
        return to_numpy(array)

    def _call(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        dtype = self.computing.dtype
        narrow = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in told.items()}
        return self.predict(latents.to(dtype), timesteps, narrow).float()


def viewed(facts: ModelFacts, seconds: float) -> ModelFacts:
    """The facts with a view of so many seconds, to the nearest length that the model takes; another version.

    Raises UsageError for views too short to overlap.
    """
    step = facts.frame_alignment
    frames = round(seconds * facts.frames_per_second / step) * step
    if frames < SHORTEST_STEPS * step:
        least, unit = (count * step / facts.frames_per_second for count in (SHORTEST_STEPS, 1))
        raise UsageError(f"{facts.name} takes views of {least:g} s or more, in steps of {unit:g} s, not {seconds:g} s")
    return replace(facts, view_frames=frames, version=f"{facts.version}@{frames}")


def weighted(rows: Sequence[Row], weights: Sequence[float]) -> Row:
    """The weighted mean of encodings.

    Where a tensor has a mask, the mean at each place is over the texts that reach it, and the mask is their union.
    """
    if len(rows) == 1:
        return rows[0]
    total, out = sum(weights), {}
    for name, tensor in rows[0].items():
        if name.endswith(MASK):
            out[name] = torch.stack([row[name] for row in rows]).amax(dim=0)
        elif name + MASK in rows[0]:
            shares = [w * row[name + MASK][..., None].to(tensor.dtype) for row, w in zip(rows, weights, strict=True)]
            mean = sum((share * row[name] for row, share in zip(rows, shares, strict=True)), torch.zeros_like(tensor))
            out[name] = mean / sum(shares, torch.zeros_like(shares[0])).clamp(min=1e-12)
        else:
            mean = sum((w * row[name] for row, w in zip(rows, weights, strict=True)), torch.zeros_like(tensor))
            out[name] = mean / total
    return out


def padded(row: Row, name: str, length: int) -> Row:
    """A row whose tensor `name` [1, L, D] and its mask are filled with zeros up to `length`.

    Raises ModelError where they are longer, which a family's own truncation must prevent.
    """
    tensor, mask = row[name], row[name + MASK]
    missing = length - int(tensor.shape[1])
    if missing < 0:
        raise ModelError(f"a text of {tensor.shape[1]} tokens does not fit into {length}")
    out = dict(row)
    out[name] = torch.nn.functional.pad(tensor, (0, 0, 0, missing))
    out[name + MASK] = torch.nn.functional.pad(mask, (0, missing))
    return out
