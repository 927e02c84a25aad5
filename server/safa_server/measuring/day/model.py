"""A model that costs next to nothing, so that a day of sessions is a matter of minutes: what is measured with it is
where every sample goes, not how it sounds.

Latents are independent Gaussian numbers around what the prompts say, so the best clean estimate is a formula, without
a network; frames become samples by fixed waves. Everything else about a session is as with any model: views, joins,
mixing, snapshots. At 2 kHz a block of 960 samples lasts 480 ms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from safa_stream.errors import ModelError
from safa_stream.models.backends.spec import Backend
from safa_stream.models.interface import Conditioning, Encoded, ModelFacts
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import SolverTable, builtin_table
from safa_stream.types import Array, FloatArray

FACTS = ModelFacts(
    name="formula",
    version="1",
    sample_rate=2_000,
    channels=2,
    samples_per_frame=80,
    view_frames=1000,
    frame_alignment=1,
    latent_channels=2,
    latent_bins=4,
    default_steps=2,
    default_guidance=1.5,
    default_overlap=0.2,
    decoder_halo=1,
    takes_context=False,
    sounds=("rain", "wind", "birds", "traffic"),
    licence="CC0-1.0",
)
#: Of a latent's waves in samples, so that the loudest scene stays below full scale.
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class NoState:
    """Of a decoder that remembers nothing."""


class Waves:
    """Frame t's samples: its latents, and half of its neighbours', each times a wave of its own."""

    halo = FACTS.decoder_halo
    samples_per_frame = FACTS.samples_per_frame

    def __init__(self) -> None:
        shape = (FACTS.channels, FACTS.latent_channels, FACTS.latent_bins, FACTS.samples_per_frame)
        self._waves = LEVEL * np.random.default_rng(5).standard_normal(shape)

    def start(self, seed: int) -> NoState:
        """The state before frame 0."""
        return NoState()

    def decode(
        self, window: FloatArray, before: int, after: int, first_frame: int, seed: int, state: NoState
    ) -> tuple[NoState, FloatArray]:
        """Sound [2, n * 80] of the n frames of a window [2, before + n + after, 4] that are not its edges."""
        padded = np.pad(window, ((0, 0), (self.halo - before, self.halo - after), (0, 0)))
        mixed = padded[:, 1:-1] + 0.5 * (padded[:, :-2] + padded[:, 2:])
        # Summed in one order whatever the window: the same frames give the same bits.
        sound = np.einsum("ctf,dcfs->dts", mixed, self._waves, optimize=False)
        return state, sound.reshape(FACTS.channels, -1).astype(np.float32)


class FormulaModel:
    """See the module. before_step: called before every step, by whoever holds up the thread that makes sound."""

    facts = FACTS
    backend = Backend()

    def __init__(self, before_step: Callable[[], None] = lambda: None) -> None:
        self._before_step, self._waves = before_step, Waves()

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt], seed: int) -> Encoded:
        """Every text has a mean of its own; there are no unknown words."""
        return Encoded(_mean(prompts), _mean(negative))

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
        """E[clean | x = (1 - t) clean + t noise] of clean latents [B, C, T, F] of unit variance around the mean."""
        self._before_step()
        opposed = negative.tensors["mean"]
        scale, t = guidance[:, None, None, None], timesteps[:, None, None, None]
        mean = opposed + scale * (conditioning.tensors["mean"] - opposed)
        gain = (1 - t) / ((1 - t) ** 2 + t**2)
        return np.asarray(mean + gain * (latents - (1 - t) * mean), np.float32)

    def solver(self, steps: int) -> SolverTable:
        """The built-in model's."""
        return builtin_table(steps, 1.0)

    def decoder(self) -> Waves:
        """One for all: it remembers nothing."""
        return self._waves

    def from_numpy(self, array: Array) -> Array:
        """Its arrays are numpy's."""
        return np.ascontiguousarray(array, np.float32)

    def to_numpy(self, array: Array) -> FloatArray:
        """Its arrays are numpy's."""
        return np.asarray(array, np.float32)

    def require_open(self, method: str) -> NoReturn:
        """There is no network to reach into. Raises ModelError."""
        raise ModelError(f"method {method} has nothing to reach into: the model is a formula")

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        """See require_open."""
        self.require_open("mad")

    def likeness(self, network: Path | None) -> Any:
        """See require_open."""
        self.require_open("syncdiffusion")

    def memory(self) -> AbstractContextManager[None]:
        """See require_open."""
        self.require_open("syncdiffusion")


def _mean(prompts: Sequence[WeightedPrompt]) -> Conditioning:
    mean = np.zeros((1, FACTS.latent_channels, 1, FACTS.latent_bins), np.float32)
    total = sum(prompt.weight for prompt in prompts)
    for prompt in prompts:
        number = int.from_bytes(hashlib.sha256(prompt.text.encode()).digest()[:4], "big")
        drawn = np.random.default_rng(number).standard_normal(mean.shape)
        mean += np.asarray(prompt.weight / total * drawn, np.float32)
    return Conditioning({"mean": mean})
