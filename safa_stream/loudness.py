"""Loudness as ITU-R BS.1770-4 defines it: K-weighting, 400 ms blocks, both gates.

Everything works on steps of 100 ms. Their energies come one by one in constant memory (`step_energy`), or at once for a
whole recording (`step_energies`); what a recording measures does not depend on how its samples were handed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safa_stream.types import DoubleArray, FloatArray

STEP_SECONDS = 0.1
STEPS_IN_BLOCK = 4
ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
#: What silence counts as where a logarithm is taken.
LEAST_ENERGY = 1e-12


@dataclass(frozen=True, slots=True)
class KWeighting:
    """The K filter of one sample rate as an FFT filter: `step` new samples after `history` old ones.

    weights: what the energy of every channel counts, None: all of them 1.
    """

    step: int
    history: int
    spectrum: NDArray[np.complex64]
    weights: FloatArray | None = None


def k_weighting(rate: int, weights: Sequence[float] | None = None) -> KWeighting:
    """BS.1770-4 annex 1: a high shelf of +4 dB above 1.7 kHz, then a high pass at 38 Hz, for any rate in Hz.

    The filter's response is cut after about 70 ms, where it has fallen below -140 dB. weights: by channel, as
    `channels.ChannelMap` has them for its outputs.
    """
    step = step_length(rate)
    size = 1 << int(np.ceil(np.log2(1.6 * step)))
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = _shelf(rate, z) * _high_pass(rate, z)
    history = size - step
    impulse = np.fft.irfft(response, size)[: history + 1]
    counted = None if weights is None else np.array(weights, np.float32)
    return KWeighting(step, history, np.fft.rfft(impulse, size).astype(np.complex64), counted)


def step_length(rate: int) -> int:
    """Samples in one step of 100 ms."""
    return max(1, round(rate * STEP_SECONDS))


def step_energy(weighting: KWeighting, history: FloatArray, step: FloatArray) -> tuple[FloatArray, float]:
    """Energy of one step [channels, step]: mean squares after K-weighting, summed over channels as they weigh.

    Hand the returned history [channels, history] to the next call; begin with zeros.
    """
    window = np.concatenate([history, step], axis=1)
    weighted = np.fft.irfft(np.fft.rfft(window) * weighting.spectrum, window.shape[1])[:, weighting.history :]
    squares = (
        np.einsum("ct,ct->", weighted, weighted)
        if weighting.weights is None
        else weighting.weights @ np.einsum("ct,ct->c", weighted, weighted)
    )
    energy = float(squares) / weighting.step
    return window[:, weighting.step :], energy


def gated_loudness(energies: DoubleArray) -> float:
    """Integrated loudness in LUFS of step energies [n] in order; -inf where all is below the absolute gate."""
    if len(energies) == 0:
        return -np.inf
    blocks = _blocks(energies)
    loud = blocks[blocks > energy_of(ABSOLUTE_GATE)]
    if len(loud) == 0:
        return -np.inf
    return loudness_of(float(loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)].mean()))


def step_energies(samples: FloatArray, rate: int) -> DoubleArray:
    """Energies of all whole steps of a recording [channels, N] or [N], with silence before it."""
    weighting, samples = k_weighting(rate), np.atleast_2d(samples)
    history = np.zeros((len(samples), weighting.history), np.float32)
    energies = []
    for start in range(0, samples.shape[1] - weighting.step + 1, weighting.step):
        history, energy = step_energy(weighting, history, samples[:, start : start + weighting.step])
        energies.append(energy)
    return np.array(energies)


def integrated(samples: FloatArray, rate: int) -> float:
    """Loudness of a recording [channels, N] or [N] in LUFS; that of the absolute gate where all is below it."""
    return max(ABSOLUTE_GATE, gated_loudness(step_energies(samples, rate)))


def momentary(samples: FloatArray, rate: int) -> DoubleArray:
    """Loudness in LUFS of every 400 ms block, a block every 100 ms; one for a shorter recording; -120 at least."""
    return np.asarray(-0.691 + 10 * np.log10(np.maximum(_blocks(step_energies(samples, rate)), LEAST_ENERGY)))


def spread(samples: FloatArray, rate: int) -> float:
    """How much loudness moves: 95th minus 10th percentile of the momentary loudness above the absolute gate, LU."""
    blocks = momentary(samples, rate)
    heard = blocks[blocks > ABSOLUTE_GATE]
    return float(np.percentile(heard, 95) - np.percentile(heard, 10)) if len(heard) else 0.0


def energy_of(loudness: float) -> float:
    """Energy of a block with that loudness in LUFS."""
    return float(10 ** ((loudness + 0.691) / 10))


def loudness_of(energy: float) -> float:
    """Loudness in LUFS of a block with that energy."""
    return float(-0.691 + 10 * np.log10(energy)) if energy > 0 else -np.inf


def _blocks(energies: DoubleArray) -> DoubleArray:
    """Mean energy of every block of STEPS_IN_BLOCK steps; of all steps where they are fewer."""
    width = min(STEPS_IN_BLOCK, len(energies))
    sums = np.concatenate([[0.0], np.cumsum(energies)])
    return np.asarray(np.maximum(sums[width:] - sums[:-width], 0.0) / width)


def _shelf(rate: int, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    # Analogue prototype values that give the standard's 48 kHz coefficients back to their last digit.
    gain, quality, frequency = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = np.tan(np.pi * frequency / rate)
    high = 10 ** (gain / 20)
    band = high**0.4996667741545416
    top = (high + band * k / quality + k * k) + 2 * (k * k - high) * z + (high - band * k / quality + k * k) * z**2
    return np.asarray(top / _denominator(k, quality, z))


def _high_pass(rate: int, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    quality, frequency = 0.5003270373238773, 38.13547087602444
    k = np.tan(np.pi * frequency / rate)
    # The standard's numerator is 1, -2, 1 without the usual normalisation.
    return np.asarray((1 - 2 * z + z**2) / (_denominator(k, quality, z) / (1 + k / quality + k * k)))


def _denominator(k: float, quality: float, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return np.asarray((1 + k / quality + k * k) + 2 * (k * k - 1) * z + (1 - k / quality + k * k) * z**2)
