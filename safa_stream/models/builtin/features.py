"""Log-mel features of the built-in model: analysis, folding into tokens, and the linear map to latents.

One *token* is one latent frame: 1920 samples (25 a second at 48 kHz), that is four mel frames of the mid signal
and one coarse side-to-mid ratio. The map from tokens to latents is linear and partly whitened (principal components
divided by the square root of their standard deviation), hence invertible up to the components left out.

Shapes: C channels, N samples, J mel frames (100/s), T tokens (25/s), B = 96 bands, D = 416 features a token, K latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

SAMPLE_RATE = 48_000
HOP = 480
FOLD = 4
SAMPLES_PER_TOKEN = HOP * FOLD
BANDS = 96
SIDE_BANDS = 32
TOKEN_FEATURES = FOLD * BANDS + SIDE_BANDS
LOW_HZ, HIGH_HZ = 30.0, 20_000.0
FLOOR = 1e-8
#: The side signal is described as log(side power / mid power), nats, held between these limits.
SIDE_MIN, SIDE_MAX = -6.0, 2.0
#: Analysis windows (upper limit of band centre in Hz, window): long where pitch matters, short where attacks matter.
WINDOWS = ((500.0, 4096), (1500.0, 2048), (np.inf, 1024))
FFT_SIZE = 4096


def hz_to_mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Mel scale, 2595 log10(1 + f/700) (O'Shaughnessy 1987)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz, dtype=np.float64) / 700.0))


def mel_to_hz(mel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Inverse of :func:`hz_to_mel`."""
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel, dtype=np.float64) / 2595.0) - 1.0))


@lru_cache(maxsize=1)
def band_edges() -> npt.NDArray[np.float64]:
    """Edges and centres of the triangular bands in Hz: band b rises from [b] to [b+1] and falls to [b+2]."""
    return mel_to_hz(np.linspace(hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ), BANDS + 2))


@lru_cache(maxsize=4)
def mel_weights(fft_size: int = FFT_SIZE) -> Array:
    """Triangular filters [bins, B], each summing to one, so that a band is a mean power density."""
    hz = np.arange(fft_size // 2 + 1) * (SAMPLE_RATE / fft_size)
    edges = band_edges()
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (hz[:, None] - low) / (centre - low)
    falling = (high - hz[:, None]) / (high - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(weights / weights.sum(0), np.float32)


def frames(signal: Array, size: int, count: int, hop: int = HOP) -> Array:
    """View `signal` [..., N] as `count` frames [..., count, size] centred in hops; zeros beyond both ends."""
    before = (size - hop) // 2
    after = max(0, (count - 1) * hop + size - before - signal.shape[-1])
    padded = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(before, after)])
    windows: Array = np.lib.stride_tricks.sliding_window_view(padded, size, axis=-1)
    chosen: Array = windows[..., : (count - 1) * hop + 1 : hop, :]
    return chosen


def log_mel(signal: Array) -> Array:
    """Natural log of mean power density per band: [..., N] samples in -1..1 to [..., J, B], J = N // 480."""
    count = signal.shape[-1] // HOP
    centres = band_edges()[1:-1]
    out = np.empty((*signal.shape[:-1], count, BANDS), np.float32)
    below = 0.0
    for limit, size in WINDOWS:
        chosen = (centres >= below) & (centres < limit)
        below = limit
        window = np.hanning(size + 1)[:-1].astype(np.float32)
        weights = mel_weights()[:, chosen]
        for start in range(0, count, 2048):
            stop = min(count, start + 2048)
            lead = max(0, start - size // HOP - 1)
            part = signal[..., lead * HOP : (stop + size // HOP + 1) * HOP]
            spectrum = np.fft.rfft(frames(part, size, stop - lead)[..., start - lead :, :] * window, FFT_SIZE)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) / np.float32((window**2).sum())
            out[..., start:stop, chosen] = np.log(power @ weights + FLOOR)
    return out


def mid_side(stereo: Array) -> Array:
    """[2, N] left and right to mid and side, (L+R)/2 and (L-R)/2; its own inverse up to a factor: L = M+S, R = M-S."""
    return np.stack([stereo[0] + stereo[1], stereo[0] - stereo[1]]) * np.float32(0.5)


def tokens(stereo: Array) -> Array:
    """Analyse [2, N] samples into tokens [T, D], T = N // 1920."""
    count = stereo.shape[-1] // SAMPLES_PER_TOKEN
    mel = log_mel(mid_side(stereo)[:, : count * SAMPLES_PER_TOKEN])
    power = np.exp(mel).reshape(2, count, FOLD, SIDE_BANDS, BANDS // SIDE_BANDS).mean((2, 4))
    ratio = np.clip(np.log(power[1] / power[0]), SIDE_MIN, SIDE_MAX)
    return np.concatenate([mel[0].reshape(count, FOLD * BANDS), ratio], axis=1).astype(np.float32)


def split_tokens(token: Array) -> tuple[Array, Array]:
    """[..., T, D] tokens to the mid's log-mel [..., 4T, B] and the side's [..., 4T, B]."""
    lead, count = token.shape[:-2], token.shape[-2]
    mid = token[..., : FOLD * BANDS].reshape(*lead, count * FOLD, BANDS)
    ratio = np.clip(token[..., FOLD * BANDS :], SIDE_MIN, SIDE_MAX)
    ratio = np.repeat(np.repeat(ratio, BANDS // SIDE_BANDS, axis=-1), FOLD, axis=-2)
    return mid, mid + ratio


@dataclass(frozen=True, slots=True)
class LatentMap:
    """The linear, partly whitened map between tokens and latents: latent = (token - mean) @ forward."""

    mean: Array
    forward: Array
    backward: Array

    def encode(self, token: Array) -> Array:
        """[..., D] tokens to [..., K] latents with about unit mean variance."""
        return np.asarray((token - self.mean) @ self.forward, np.float32)

    def decode(self, latent: Array) -> Array:
        """[..., K] latents to [..., D] tokens."""
        return np.asarray(latent @ self.backward + self.mean, np.float32)


def fit_latent_map(mean: npt.NDArray[np.floating], covariance: npt.NDArray[np.float64], size: int) -> LatentMap:
    """Principal components of the tokens' covariance [D, D], each divided by the root of its standard deviation.

    Full whitening would spend the denoiser's effort on detail that nobody hears, none would bury the detail; the root
    keeps the order of importance and lifts the last component to within a factor of about five of the first.
    """
    variance, vectors = np.linalg.eigh(covariance)
    order = np.argsort(variance)[::-1][:size]
    variance, vectors = variance[order], vectors[:, order]
    scale = variance**-0.25
    scale /= np.sqrt(np.mean(variance * scale**2))
    # Contiguous, because safetensors writes an array's buffer as it lies.
    forward, backward = (np.ascontiguousarray(a, np.float32) for a in (vectors * scale, (vectors / scale).T))
    return LatentMap(mean.astype(np.float32), forward, backward)
