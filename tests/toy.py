"""A model whose denoiser is exact: latents are a Gaussian process over time, so the best clean estimate is a formula.

Each of C x F latents is, independently, mean + AR(1) noise of unit variance with correlation `smoothness` from frame to
frame; the mean is the prompt's. Told finished frames, the denoiser gives the exact conditional expectation. So any
error in a test is the engine's. The decoder is a short FIR over latents: its halo is real, its result is deterministic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from safa_stream.errors import ModelError
from safa_stream.models.backends.spec import Backend
from safa_stream.models.interface import Conditioning, Encoded, ModelFacts
from safa_stream.noise import noise
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import SolverTable, builtin_table

Array = Any

FACTS = ModelFacts(
    name="toy",
    version="1",
    sample_rate=400,
    channels=2,
    samples_per_frame=16,
    view_frames=40,
    frame_alignment=1,
    latent_channels=2,
    latent_bins=3,
    default_steps=8,
    default_guidance=2.0,
    default_overlap=0.2,
    decoder_halo=3,
    takes_context=False,
    sounds=("low", "high"),
    licence="CC0-1.0",
)


@dataclass(frozen=True)
class World:
    """An array library: its name, and how arrays come into it and out of it."""

    name: str
    from_numpy: Callable[[Array], Array]
    to_numpy: Callable[[Array], Array]


NUMPY = World(
    "numpy", lambda values: np.ascontiguousarray(values, np.float32), lambda values: np.asarray(values, np.float32)
)


@dataclass(frozen=True)
class NoState:
    """Of a decoder that remembers nothing."""


@dataclass(frozen=True)
class CountState:
    """Of a decoder that remembers: what it has decoded so far, and the last frame's first latent."""

    frames: int
    last: Array


@dataclass(frozen=True)
class ToyDecoder:
    """Frame t's samples are a weighted sum of frames t - halo .. t + halo, plus optional noise keyed by frame."""

    halo: int = FACTS.decoder_halo
    samples_per_frame: int = FACTS.samples_per_frame
    hiss: float = 0.0
    remembers: bool = False

    def start(self, seed: int) -> Any:
        return CountState(0, np.zeros(1, np.float32)) if self.remembers else NoState()

    def decode(
        self, window: Array, before: int, after: int, first_frame: int, seed: int, state: Any
    ) -> tuple[Any, Array]:
        channels, length, bins = window.shape
        count = length - before - after
        assert 0 <= before <= self.halo and 0 <= after <= self.halo and count > 0
        padded = np.pad(window, ((0, 0), (self.halo - before, self.halo - after), (0, 0)))
        taps = np.random.default_rng(5).standard_normal((2 * self.halo + 1, 2, channels, bins, self.samples_per_frame))
        out = np.zeros((2, count, self.samples_per_frame))
        for tap in range(2 * self.halo + 1):
            out += np.einsum("ctf,dcfs->dts", padded[:, tap : tap + count], taps[tap])
        if self.hiss:
            drawn = noise(seed, "hiss", first_frame, count, 2, self.samples_per_frame)
            out += self.hiss * drawn
        if self.remembers:
            out[0, :, 0] += (state.frames + np.arange(count)) % 7
            out[1, 0, 0] += state.last[0]
            out[1, 1:, 0] += window[0, before : before + count - 1, 0]
            state = CountState(state.frames + count, window[0, before + count - 1, :1].copy())
        return state, out.reshape(2, -1).astype(np.float32)


@dataclass
class ToyModel:
    """See the module. `calls` holds the batch sizes that were denoised, for tests that count them."""

    world: World = NUMPY
    facts: ModelFacts = FACTS
    smoothness: float = 0.9
    shift: float = 1.0
    sampled_decoder: ToyDecoder = field(default_factory=ToyDecoder)
    calls: list[int] = field(default_factory=list)
    contexts: list[Array] = field(default_factory=list)
    backend: Backend = Backend()

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt], seed: int) -> Encoded:
        unknown = tuple(p.text for p in (*prompts, *negative) if p.text.startswith("?"))
        return Encoded(self._conditioning(prompts), self._conditioning(negative), unknown)

    def _conditioning(self, prompts: Sequence[WeightedPrompt]) -> Conditioning:
        mean = np.zeros((1, self.facts.latent_channels, 1, self.facts.latent_bins), np.float32)
        for prompt in prompts:
            number = int.from_bytes(hashlib.sha256(prompt.text.encode()).digest()[:4], "big")
            drawn = np.random.default_rng(number).standard_normal(mean.shape)
            mean += prompt.weight / sum(p.weight for p in prompts) * drawn.astype(np.float32)
        return Conditioning({"mean": self.world.from_numpy(mean)})

    def covariance(self, frames: int) -> Array:
        """[T, T] of one latent over time."""
        distance = np.abs(np.subtract.outer(np.arange(frames), np.arange(frames)))
        return self.smoothness**distance

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
        x = self.world.to_numpy(latents).astype(np.float64)
        self.calls.append(len(x))
        self.contexts.append(None if known is None else self.world.to_numpy(known))
        told, opposed = (self.world.to_numpy(rows.tensors["mean"]) for rows in (conditioning, negative))
        scale = self.world.to_numpy(guidance)[:, None, None, None]
        mean = opposed + scale * (told - opposed)
        out = np.empty(x.shape)
        for row, t in enumerate(self.world.to_numpy(timesteps)):
            given = None if known is None else self.world.to_numpy(known)[row] > 0.5
            finished = None if context is None else self.world.to_numpy(context)[row]
            out[row] = self._expected(x[row], float(t), mean[row], finished, given)
        return self.world.from_numpy(out.astype(np.float32))

    def _expected(self, x: Array, t: float, mean: Array, finished: Array | None, given: Array | None) -> Array:
        """E[clean | x = (1 - t) clean + t noise, finished frames], [C, T, F]."""
        frames = x.shape[1]
        full = self.covariance(frames)
        prior, out = np.broadcast_to(mean, x.shape).astype(np.float64), np.empty(x.shape)
        free = np.ones(frames, bool) if given is None else ~given
        covariance = full[np.ix_(free, free)]
        if given is not None and given.any():
            assert finished is not None
            gain = full[np.ix_(free, given)] @ np.linalg.inv(full[np.ix_(given, given)])
            covariance = covariance - gain @ full[np.ix_(given, free)]
            shift = np.einsum("uk,ckf->cuf", gain, finished[:, given] - prior[:, given])
            prior = prior.copy()
            prior[:, free] += shift
            out[:, given] = finished[:, given]
        alpha, sigma = 1 - t, t
        filtered = alpha * covariance @ np.linalg.inv(alpha**2 * covariance + sigma**2 * np.eye(int(free.sum())))
        out[:, free] = prior[:, free] + np.einsum("uv,cvf->cuf", filtered, x[:, free] - alpha * prior[:, free])
        return out

    def require_open(self, method: str) -> None:
        raise ModelError(f"method {method} has nothing to reach into: the toy model is a formula")

    def solver(self, steps: int) -> SolverTable:
        return builtin_table(steps, self.shift)

    def decoder(self) -> ToyDecoder:
        return self.sampled_decoder

    def from_numpy(self, array: Array) -> Array:
        return self.world.from_numpy(array)

    def to_numpy(self, array: Array) -> Array:
        return self.world.to_numpy(array)


def toy(world: World = NUMPY, **facts: Any) -> ToyModel:
    """A toy model some of whose facts differ."""
    return ToyModel(world, replace(FACTS, **facts))
