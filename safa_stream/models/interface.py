"""What a model is to everything above it: facts, words to conditioning, a guided denoiser, a sampler, a decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import array_api_compat

from safa_stream.errors import ModelError
from safa_stream.models.backends.spec import Backend
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import SolverTable
from safa_stream.types import Array, FloatArray

#: A decoder's memory between windows: a frozen dataclass whose fields are numpy arrays or numbers, so that a snapshot
#: can hold it; one without fields if the decoder needs none.
DecoderState = Any
#: What a distance between views is called that a network judges, before the name of the network's file.
BY_NETWORK = "LPIPS by "


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model fixes. A frame is one latent time column of `latent_channels` x `latent_bins` numbers.

    groups: how many sounds of its network lie side by side in those channels, see `models.grouped`.
    """

    name: str
    version: str
    sample_rate: int
    channels: int
    samples_per_frame: int
    view_frames: int
    frame_alignment: int
    latent_channels: int
    latent_bins: int
    default_steps: int
    default_guidance: float
    default_overlap: float
    decoder_halo: int
    takes_context: bool
    sounds: tuple[str, ...]
    licence: str
    groups: int = 1

    @property
    def frames_per_second(self) -> float:
        """Latent frames in a second of sound."""
        return self.sample_rate / self.samples_per_frame


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What the denoiser is told besides the latents: named arrays [B, ...], one row a batch row."""

    tensors: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Prompts as one conditioning row and one to steer away from, and the words that meant nothing to the model."""

    conditioning: Conditioning
    negative: Conditioning
    unknown_words: tuple[str, ...] = ()


class Decoder(Protocol):
    """Latent frames to sound. All randomness is keyed by (seed, absolute frame), so any window can be decoded again."""

    @property
    def halo(self) -> int:
        """Frames of context wanted on each side of those to be decoded."""
        ...

    @property
    def samples_per_frame(self) -> int: ...

    def start(self, seed: int) -> DecoderState:
        """The state before frame 0."""
        ...

    def decode(
        self,
        window: FloatArray,
        before: int,
        after: int,
        first_frame: int,
        seed: int,
        state: DecoderState,
    ) -> tuple[DecoderState, FloatArray]:
        """Sound [channels, n * samples_per_frame] of n frames, given in `window` [C, before + n + after, F].

        `first_frame` is the absolute index of the first of those n. `before` and `after` are at most `halo`, and less
        only where the sound begins or ends.
        """
        ...


class LatentShape(Protocol):
    """What of a model's facts says how large its latents [B, C, T, F] are; T is as long as a view."""

    @property
    def latent_channels(self) -> int: ...

    @property
    def latent_bins(self) -> int: ...


class Denoiser(Protocol):
    """What joins views needs of a model, of sounds or of pictures: the guided network and its array world."""

    @property
    def facts(self) -> LatentShape: ...

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
        """The guided network output m [B, C, T, F] for latents of that shape, timesteps [B] and guidance [B].

        A model with `facts.takes_context` is told finished frames: `context` [B, C, T, F] where `known` [B, T] is 1.
        """
        ...

    def from_numpy(self, array: Array) -> Array:
        """A numpy array in the model's own array world and precision."""
        ...

    def to_numpy(self, array: Array) -> FloatArray:
        """An array of the model's world as numpy, single precision."""
        ...


class OpenDenoiser(Denoiser, Protocol):
    """A denoiser into which MAD and SyncDiffusion reach, or which says in one line that they cannot.

    On torch, where latents carry a gradient, what `denoise` makes of them carries it on.
    """

    def require_open(self, method: str) -> None:
        """Raise ModelError, or UsageError for an option of the backend, where `method` cannot reach into this one."""
        ...

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        """While it lasts, all views of a canvas, told in one batch at `timestep`, attend to each other (MAD).

        Starts, view and width, in latent frames, are multiples of the model's alignment. merge_self: False for the
        steps that merge the queries of cross-attention only.
        """
        ...

    def likeness(self, network: Path | None) -> Any:
        """The `likeness.Likeness` of views, by a network's file or, of sounds, without. Raises ModelError."""
        ...

    def memory(self) -> AbstractContextManager[None]:
        """While it lasts, running out of memory raises ModelError that says what to lower."""
        ...


class Model(OpenDenoiser, Protocol):
    """A model that can be rendered and streamed. It remembers nothing between calls."""

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def backend(self) -> Backend:
        """What its networks run on."""
        ...

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt], seed: int) -> Encoded:
        """Words to one conditioning row and its negative."""
        ...

    def solver(self, steps: int) -> SolverTable:
        """The model's sampler with so many network evaluations."""
        ...

    def decoder(self) -> Decoder: ...


def stack(rows: Sequence[Conditioning]) -> Conditioning:
    """All rows of several conditionings in one batch. Raises ModelError where they hold different tensors."""
    first = rows[0].tensors
    _check_alike(rows)
    joined = {}
    for name, tensor in first.items():
        joined[name] = array_api_compat.array_namespace(tensor).concat([row.tensors[name] for row in rows])
    return Conditioning(joined)


def repeat(row: Conditioning, times: int) -> Conditioning:
    """One row, `times` times."""
    return row if times == 1 else stack([row] * times)


def take(rows: Conditioning, start: int, stop: int) -> Conditioning:
    """Rows start .. stop - 1."""
    return Conditioning({name: tensor[start:stop] for name, tensor in rows.tensors.items()})


def interpolate(a: Conditioning, b: Conditioning, share: float) -> Conditioning:
    """(1 - share) a + share b, the share 0..1."""
    return mix([(a, 1 - share), (b, share)])


def mix(parts: Sequence[tuple[Conditioning, float]]) -> Conditioning:
    """The weighted sum of conditionings of one shape; tensors that are not floats (masks) come from the heaviest part.

    Raises ModelError where the parts hold different tensors or shapes.
    """
    if len(parts) == 1:
        return parts[0][0]
    _check_alike([part for part, _ in parts])
    heaviest = max(parts, key=lambda part: part[1])[0].tensors
    mixed = {}
    for name, tensor in heaviest.items():
        xp = array_api_compat.array_namespace(tensor)
        whole = not xp.isdtype(tensor.dtype, "real floating")
        mixed[name] = tensor if whole else sum(part.tensors[name] * weight for part, weight in parts)
    return Conditioning(mixed)


def mix_encoded(parts: Sequence[tuple[Encoded, float]]) -> Encoded:
    """`mix` of the prompts' and of the negatives' rows."""
    return Encoded(
        mix([(part.conditioning, weight) for part, weight in parts]),
        mix([(part.negative, weight) for part, weight in parts]),
        tuple(dict.fromkeys(word for part, _ in parts for word in part.unknown_words)),
    )


def _check_alike(rows: Sequence[Conditioning]) -> None:
    shapes = [{name: tuple(tensor.shape[1:]) for name, tensor in row.tensors.items()} for row in rows]
    if any(shape != shapes[0] for shape in shapes):
        raise ModelError(f"conditionings of different shapes cannot be joined: {shapes}; the model must pad them alike")
