"""What all pretrained models of pictures share: prompts, guidance, precision, heights, and how latents become pixels.

A family's file says which components it has (KINDS, TEXTS), what its texts become (`rows`), and what one call of its
denoiser is (`predict`). The rest is here.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from safa_stream.errors import LayoutError, ModelError
from safa_stream.models.images.autoencoder import PictureDecoder, halo_of
from safa_stream.models.images.interface import Decoded, ImageFacts, Pixels
from safa_stream.models.images.memory import remembering
from safa_stream.models.images.texts import texts
from safa_stream.models.interface import BY_NETWORK, Conditioning, Encoded
from safa_stream.models.likeness import Likeness
from safa_stream.models.merging import Grid, MergedAttention, Place, require_eager
from safa_stream.models.perceptual import Perceptual
from safa_stream.models.pretrained.base import Row as Told
from safa_stream.models.pretrained.base import weighted
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing, to_numpy
from safa_stream.models.pretrained.guidance import guided
from safa_stream.scene import MAD, WeightedPrompt
from safa_stream.schedulers import from_scheduler_config
from safa_stream.solvers import SolverTable
from safa_stream.types import Array, FloatArray

#: Share of a view that it has in common with the next, as in the paper.
OVERLAP = 0.2


class PretrainedImages(ABC):
    """A checkpoint's components on a device, each loaded when it is needed first; text encoders do not stay."""

    #: Modules that are held against their weights before any is loaded; the denoiser is the first.
    KINDS: ClassVar[tuple[Kind, ...]]
    #: Folders of text models and tokenizers.
    TEXTS: ClassVar[tuple[str, ...]]
    #: None: the checkpoint has a scheduler's configuration of its own.
    SCHEDULER: ClassVar[None] = None
    STEPS: ClassVar[int]
    GUIDANCE: ClassVar[float]

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        self.checkpoint, self.computing = checkpoint, computing
        config, vae = self.denoiser_config, checkpoint.components["vae"].config
        columns = int(config["sample_size"])
        self.facts = ImageFacts(
            name=checkpoint.name,
            licence=checkpoint.licence,
            latent_channels=int(config["in_channels"]),
            latent_bins=columns,
            view_frames=columns,
            alignment=self.alignment(),
            largest=self.largest(),
            scale=2 ** (len(vae["block_out_channels"]) - 1),
            default_steps=self.STEPS,
            default_guidance=self.GUIDANCE,
            default_overlap=OVERLAP,
            decoder_halo=halo_of(vae),
        )
        if vae["latent_channels"] != self.facts.latent_channels:
            raise ModelError(
                f"{checkpoint.folder}: the denoiser takes {self.facts.latent_channels} latent channels and the "
                f"autoencoder has {vae['latent_channels']}; models that edit pictures cannot make panoramas"
            )

    # What a family says.

    @abstractmethod
    def alignment(self) -> int:
        """Widths and heights of views are multiples of so many latents."""

    @abstractmethod
    def largest(self) -> int | None:
        """Latents that a view is wide or high at most, None where any number is taken."""

    @abstractmethod
    def rows(self, texts: Sequence[str]) -> list[Told]:
        """Each text's encoding, in single precision on the device; called without gradients."""

    @abstractmethod
    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words of a text that the model is not told."""

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """One call of the denoiser: latents [N, C, H, W] and what it is told [N, ...], in the denoiser's precision."""

    @abstractmethod
    def grid(self, tokens: int, rows: int, columns: int) -> Grid:
        """How so many queries of an attention layer lie in a view of `rows` x `columns` latents."""

    @abstractmethod
    def scheduler(self) -> Mapping[str, Any]:
        """The configuration of the scheduler that is sampled with."""

    # What all have.

    @property
    def denoiser_config(self) -> Mapping[str, Any]:
        """The denoiser's configuration."""
        return self.checkpoint.components[self.KINDS[0].name].config

    @cached_property
    def denoiser(self) -> Any:
        """The denoiser on the device in the backend's precision."""
        with remembering():
            return self.computing.denoiser(self.checkpoint.components[self.KINDS[0].name].load())

    @cached_property
    def pictures(self) -> PictureDecoder:
        """The autoencoder as a decoder, in single precision."""
        with remembering():
            return PictureDecoder(self.computing.exact(self.checkpoint.components["vae"].load()))

    def at_height(self, pixels: int) -> PretrainedImages:
        """The same model for pictures of that height. Raises LayoutError where it cannot make them."""
        facts = self.facts
        unit = facts.alignment * facts.scale
        rows, rest = divmod(pixels, facts.scale)
        if pixels < unit or rest or rows % facts.alignment:
            raise LayoutError(f"{facts.name} makes pictures whose height is a multiple of {unit} pixels, not {pixels}")
        if facts.largest is not None and rows > facts.largest:
            most = facts.largest // facts.alignment * unit
            raise LayoutError(f"{facts.name} makes pictures of at most {most} pixels of height, not {pixels}")
        out = copy.copy(self)
        out.facts = replace(facts, latent_bins=rows)
        return out

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt]) -> Encoded:
        """Prompts as the weighted mean of their encodings; so the negative ones, for which there may be none.

        Parts of the same weight are one text, as they were written: "a lake, at dusk" is not a mixture of two.
        """
        parts, away = texts(prompts), texts(negative) or {"": 1.0}
        with remembering(), self.computing.running():
            rows = self.rows([*parts, *away])
            told = weighted(rows[: len(parts)], list(parts.values()))
            opposed = weighted(rows[len(parts) :], list(away.values()))
        unknown = [word for text in (*parts, *away) for word in self.not_understood(text)]
        return Encoded(Conditioning(told), Conditioning(opposed), tuple(dict.fromkeys(unknown)))

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
        """The output with classifier-free guidance (arXiv 2207.12598) [B, C, T, F]; rows with guidance 1 cost one pass.

        Raises ModelError where memory does not suffice.
        """
        with remembering(), self.computing.running(latents):
            return guided(self._call, latents, timesteps, conditioning.tensors, negative.tensors, guidance)

    def require_open(self, method: str) -> None:
        """Raise UsageError for a compiled network with MAD."""
        if method == MAD:
            require_eager(self.computing.backend)

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        """While it lasts, all views of a canvas, told in one batch, attend to each other (MAD); see merging.py.

        Starts, view and width, in latent columns, are multiples of the facts' alignment.
        """
        self.require_open(MAD)
        rows = self.facts.latent_bins
        return MergedAttention(
            Place(tuple(starts), view, width), lambda tokens: self.grid(tokens, rows, view), merge_self
        )

    def likeness(self, network: Path | None) -> Likeness:
        """LPIPS by a VGG16's weights. Raises ModelError without them, and see `Perceptual.read`."""
        if network is None:
            raise ModelError("pictures are compared by a network: there is no other distance between them")
        with self.memory():
            judge = Perceptual.read(network, self.computing.device)
        return Likeness(f"{BY_NETWORK}{network.name}", lambda latents: self.pictures.view(latents), judge.distance)

    @contextmanager
    def memory(self) -> Iterator[None]:
        """While it lasts, running out of memory raises ModelError that says what to lower."""
        with remembering(), self.computing.memory():
            yield

    def solver(self, steps: int) -> SolverTable:
        """The checkpoint's sampler over `steps` network evaluations, see `scheduler`."""
        return from_scheduler_config(self.scheduler(), steps)

    def decode(self, latents: Array, circular: bool, report: Decoded | None = None) -> Pixels:
        """The picture [F * scale, T * scale, 3] of latents [C, T, F], window by window."""
        decoder = self.pictures
        with remembering(), self.computing.running():
            return decoder.decode(latents, circular, report)

    def from_numpy(self, array: Array) -> Tensor:
        """A numpy array as a tensor on the device, single precision."""
        return self.computing.tensor(array)

    def to_numpy(self, array: Array) -> FloatArray:
        """A tensor as numpy, single precision."""
        return to_numpy(array)

    def _call(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """`predict` for latents [N, C, T, F], whose width is T."""
        dtype = self.computing.dtype
        narrow = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in told.items()}
        upright = latents.to(dtype).permute(0, 1, 3, 2).contiguous()
        return self.predict(upright, timesteps, narrow).float().permute(0, 1, 3, 2).contiguous()
