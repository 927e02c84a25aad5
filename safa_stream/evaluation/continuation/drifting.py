"""Long sounds by every live method: loudness, liveliness and colour by minute against minute 1, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from safa_stream import decode, loudness
from safa_stream.evaluation import spectra
from safa_stream.evaluation.continuation import making, measures
from safa_stream.evaluation.continuation.ground import Ground
from safa_stream.evaluation.continuation.methods import Method
from safa_stream.evaluation.drift import high_frequency_variance, minutes_of
from safa_stream.evaluation.generate import Settings, encode
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.builtin.features import SAMPLE_RATE, Array
from safa_stream.models.interface import Encoded, Model
from safa_stream.types import DoubleArray


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """By minute: loudness (LUFS), variance of the frame-to-frame change, mean log-mel [minutes, B]; most bytes held."""

    loudness: DoubleArray
    hf_variance: DoubleArray
    colours: DoubleArray
    held: int

    @property
    def minutes(self) -> int:
        return len(self.loudness)

    @property
    def loudness_drift(self) -> float:
        """The largest difference from minute 1, LU, with its sign."""
        return _largest(self.loudness - self.loudness[0])

    @property
    def hf_drift(self) -> float:
        """The largest relative difference from minute 1, with its sign."""
        return _largest(self.hf_variance / self.hf_variance[0] - 1.0)

    @property
    def colour_drift(self) -> float:
        """The largest mean |difference| of the mean log-mel from minute 1's, nats."""
        return float(np.abs(self.colours - self.colours[0]).mean(1).max())


def minutes_for(method: Method, minutes: int) -> int:
    """Methods that cost more are followed for a shorter time, at least two minutes."""
    return max(2, min(minutes, math.floor(minutes / method.cost)))


def measure(
    model: Model,
    methods: Sequence[Method],
    prompt: str,
    minutes: int,
    seed: int = 0,
    settings: Settings | None = None,
    report: Report = quiet,
    so_far: Callable[[dict[str, Drift]], object] | None = None,
) -> dict[str, Drift]:
    """Every live method but independent views, which have nothing to drift along; so_far: told after every one."""
    ground = making.ground_of(model, settings or Settings(), seed)
    told = encode(model, prompt, seed)
    out: dict[str, Drift] = {}
    for method in methods:
        if not method.live or method.apart:
            continue
        count, held = minutes_for(method, minutes), [0]
        loud, lively, colours = [], [], []
        for number, minute in enumerate(minutes_of(_sound(ground, method, told, held), count), 1):
            mel = spectra.log_mel(minute)
            loud.append(loudness.integrated(minute, SAMPLE_RATE))
            lively.append(high_frequency_variance(mel))
            colours.append(measures.colour(mel))
            report(f"{method.name}: minute {number} of {count}, {loud[-1]:.1f} LUFS")
            if number == count:
                break
        out[method.name] = Drift(np.array(loud), np.array(lively), np.stack(colours), held[0])
        if so_far is not None:
            so_far(out)
    return out


def _sound(ground: Ground, method: Method, told: Encoded, held: list[int]) -> Iterator[Array]:
    """Sound [channels, N] piece by piece, endless; the most bytes that were held are kept in `held`."""
    facts, decoder = ground.model.facts, ground.model.decoder()
    state = decode.start(decoder, ground.seed, facts.latent_channels, facts.latent_bins)
    for latents, cost, _ in making.pieces(ground, method, making.always(told)):
        held[0] = max(held[0], cost.held)
        state, samples = decode.push(decoder, state, latents)
        if samples is not None:
            yield samples


def _largest(values: DoubleArray) -> float:
    return float(values[np.abs(values).argmax()])
