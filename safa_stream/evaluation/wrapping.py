"""Models that are watched at work: a wrapper that hands everything on, and one that counts time and calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safa_stream.models.backends.spec import Backend
from safa_stream.models.interface import Conditioning, Decoder, DecoderState, Encoded, Model, ModelFacts
from safa_stream.solvers import SolverTable
from safa_stream.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class WrappedModel:
    """A model that answers as `inner` does. What is to be seen of its calls is in `around`."""

    inner: Model

    def around(self, latents: Array, timesteps: Array, call: Callable[[], Array]) -> Array:
        """One call of `denoise`: returns what `call` gives."""
        return call()

    @property
    def facts(self) -> ModelFacts:
        return self.inner.facts

    def encode(self, prompts: Any, negative: Any, seed: int) -> Encoded:
        return self.inner.encode(prompts, negative, seed)

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
        def call() -> Array:
            return self.inner.denoise(latents, timesteps, conditioning, negative, guidance, context, known)

        return self.around(latents, timesteps, call)

    @property
    def backend(self) -> Backend:
        return self.inner.backend

    def require_open(self, method: str) -> None:
        self.inner.require_open(method)

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        return self.inner.merging(starts, view, width, timestep, merge_self)

    def likeness(self, network: Path | None) -> Any:
        return self.inner.likeness(network)

    def memory(self) -> AbstractContextManager[None]:
        return self.inner.memory()

    def solver(self, steps: int) -> SolverTable:
        return self.inner.solver(steps)

    def decoder(self) -> Decoder:
        return self.inner.decoder()

    def from_numpy(self, array: Array) -> Array:
        return self.inner.from_numpy(array)

    def to_numpy(self, array: Array) -> FloatArray:
        return self.inner.to_numpy(array)


@dataclass(slots=True)
class Clock:
    """Seconds and calls spent in the network and in the decoder; `rows` counts views denoised one step."""

    denoise: float = 0.0
    decode: float = 0.0
    calls: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class TimedModel(WrappedModel):
    """A model whose network's and decoder's time is counted."""

    clock: Clock = field(default_factory=Clock)

    def around(self, latents: Array, timesteps: Array, call: Callable[[], Array]) -> Array:
        begun = time.perf_counter()
        result = call()
        self.clock.denoise += time.perf_counter() - begun
        self.clock.calls += 1
        self.clock.rows += int(latents.shape[0])
        return result

    def decoder(self) -> Decoder:
        return TimedDecoder(self.inner.decoder(), self.clock)


@dataclass(frozen=True, slots=True)
class TimedDecoder:
    """A decoder whose time is counted."""

    inner: Decoder
    clock: Clock

    @property
    def halo(self) -> int:
        return self.inner.halo

    @property
    def samples_per_frame(self) -> int:
        return self.inner.samples_per_frame

    def start(self, seed: int) -> DecoderState:
        return self.inner.start(seed)

    def decode(
        self, window: FloatArray, before: int, after: int, first_frame: int, seed: int, state: DecoderState
    ) -> tuple[DecoderState, FloatArray]:
        begun = time.perf_counter()
        result = self.inner.decode(window, before, after, first_frame, seed, state)
        self.clock.decode += time.perf_counter() - begun
        return result
