"""The built-in model's decoder: latents to 48 kHz stereo as noise, pulses and partials, numpy only.

    latents -> tokens -> log-mel + hints -+-> partials (followed over time) --------------+-> mid, side -> left, right
                                          +-> what is left: noise and pulses, shaped -----+

All randomness is keyed by (seed, absolute frame), the oscillators' phases are the carried state; hence a stream that is
decoded in chunks equals the stream decoded whole. T tokens, C x F latents a token, J = 4 T mel frames, B = 96 bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from safa_stream.models.builtin.features import (
    FLOOR,
    FOLD,
    SAMPLES_PER_TOKEN,
    Array,
    LatentMap,
    band_edges,
    split_tokens,
)
from safa_stream.models.builtin.hints import Hints, guess, predict
from safa_stream.models.builtin.synthesis import HIGHEST, LOWEST, excitation, pulsed, shape_noise
from safa_stream.models.builtin.tonal import OscillatorState, Partials, follow, pick, play, silent_oscillators

#: Latents beyond this are pulled to it (training data stays within about +-10).
LATENT_LIMIT = 20.0
#: Standard deviation of what the latents leave out of a band's log-power, nats.
DETAIL = 0.5
#: Unevenness inside a frame, and the spread of pulses' heights that makes it (measured).
UNEVENNESS = (0.0, 0.08, 0.30, 0.57, 0.88, 1.12, 1.34, 1.53, 1.67)
SPREAD = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
#: Bands that count for pulses (from 500 Hz), their widths as log-power, and the power of energy that they count with.
PULSED_BANDS = slice(int(np.searchsorted(band_edges()[1:-1], 500.0)), None)
LOUDNESS = np.log(np.diff(band_edges())[1:]).astype(np.float32)[PULSED_BANDS]
WEIGHT = 0.5
#: Added to the side's log-power (nats): its noise is drawn from a mean of logarithms, its ratio is one of means.
SIDE_BIAS = 0.15
#: Samples are held below this by a soft limiter.
CEILING = 8.0


@dataclass(frozen=True, slots=True)
class TextureDecoder:
    """Decodes windows of latents. halo: tokens of context wanted on each side of what is decoded."""

    latent_map: LatentMap
    tensors: Mapping[str, Array]
    halo: int = 8
    samples_per_frame: int = SAMPLES_PER_TOKEN

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], latent_map: LatentMap) -> TextureDecoder:
        """A decoder with its learned tensors; without any it guesses its hints."""
        return cls(latent_map, {k: np.asarray(v, np.float32) for k, v in tensors.items()})

    def start(self, seed: int) -> OscillatorState:
        """The state before the first frame."""
        return silent_oscillators()

    def decode(
        self, window: Array, before: int, after: int, first_frame: int, seed: int, state: OscillatorState
    ) -> tuple[OscillatorState, Array]:
        """Decode the middle of `window` [C, before + n + after, F] to PCM [2, n * 1920].

        first_frame: absolute index of the first frame that is decoded (not of the window). Give `halo` frames on both
        sides, fewer only at the ends of the sound.
        """
        channels, length, bins = window.shape
        latents = np.moveaxis(window, 1, 0).reshape(length, channels * bins)
        latents = latents[max(0, before - self.halo) : length - max(0, after - self.halo)]
        left, right = self.halo - min(before, self.halo), self.halo - min(after, self.halo)
        latents = np.pad(np.nan_to_num(latents), ((left, right), (0, 0)), mode="edge")
        token = self.latent_map.decode(np.clip(latents, -LATENT_LIMIT, LATENT_LIMIT))
        return self.decode_tokens(token, first_frame, seed, state)

    def decode_tokens(
        self, token: Array, first_frame: int, seed: int, state: OscillatorState
    ) -> tuple[OscillatorState, Array]:
        """Decode tokens [halo + n + halo, D]: the part of :meth:`decode` after the latents."""
        count = len(token) - 2 * self.halo
        noise = excitation(seed, first_frame - self.halo, len(token))
        mel, side_mel = split_tokens(token)
        mel, ratio = np.clip(mel, LOWEST, HIGHEST), side_mel - mel
        hints = self.hints(token)
        inner = slice(self.halo * FOLD, (self.halo + count) * FOLD)
        partials = pick(np.exp(mel), hints.share, hints.offset)
        here = Partials(partials.power[inner], partials.place[inner])
        segments, state = follow(here, np.exp(0.5 * ratio[inner]), state)
        tonal = play(segments, count * FOLD)
        left_over = mel + hints.noise
        open_gate = np.clip(np.exp(mel) / FLOOR - 1.5, 1e-3, 1.0)
        left_over = np.asarray(left_over + np.log(open_gate), np.float32)
        spread = pulse_spread(hints.pulse, left_over)
        sharp = pulsed(noise, spread)
        detailed = np.asarray(left_over + self.tensors.get("detail", np.float32(DETAIL)) * noise.detail, np.float32)
        mid, correction = shape_noise(noise.steady[0], sharp[0], detailed)
        # Pulses are the same in the side, and so is what their chance heights made too loud or too quiet.
        sided = np.asarray(left_over + ratio + np.float32(SIDE_BIAS), np.float32)
        shared = correction * np.minimum(spread, 1.0)[:, None]
        side, _ = shape_noise(noise.steady[1], sharp[1], sided, shared)
        cut = slice(self.halo * SAMPLES_PER_TOKEN, (self.halo + count) * SAMPLES_PER_TOKEN)
        mid, side = mid[cut] + tonal[0], side[cut] + tonal[1]
        stereo = np.stack([mid + side, mid - side])
        return state, np.clip(stereo, -CEILING, CEILING)

    def hints(self, token: Array) -> Hints:
        """What is tonal and what is a pulse in tokens [T, D]."""
        return predict(self.tensors, token) if self.tensors else guess(token)


def pulse_spread(unevenness: Array, log_power: Array) -> Array:
    """Spread [J] of pulses' heights that brings the unevenness [J, B] of the bands, the loud ones counting most."""
    weight = np.exp(WEIGHT * (log_power[:, PULSED_BANDS] + LOUDNESS))
    mean = (weight * unevenness[:, PULSED_BANDS]).sum(1) / weight.sum(1)
    return np.asarray(np.interp(mean, UNEVENNESS, SPREAD), np.float32)
