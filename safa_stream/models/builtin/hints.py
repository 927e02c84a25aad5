"""Hints for the decoder: what is tonal, where in its band, what is left as noise, how uneven that is inside a frame.

A small convolutional network over tokens and bands gives them, in plain numpy (made by training/vocoder.py); without
its tensors they are guessed from the shape of the log-mel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from safa_stream.models.builtin.features import BANDS, FOLD, SIDE_BANDS, Array

#: What the network says of each frame and band.
OUTPUTS = ("share", "place", "left", "pulse")
#: Its convolutions: kernel (tokens, bands), channels, and the dilation over tokens of each layer.
KERNEL = (3, 5)
WIDTH = 32
DILATIONS = (1, 1, 3)
#: Tokens on each side that an output depends on.
REACH = sum(DILATIONS)


@dataclass(frozen=True, slots=True)
class Hints:
    """Per mel frame and band [J, B].

    share: tonal part of the energy, 0..1; offset: of the partial from the band's centre, -0.6..0.6 bands; noise: what
    turns the log-power into that of all but the partial, nats; pulse: unevenness inside the frame beyond noise's, nats.
    """

    share: Array
    offset: Array
    noise: Array
    pulse: Array


def network_input(token: Array) -> Array:
    """Tokens [T, D] as an image [7, T, B]: four frames of log-mel less their level, the side's ratio, level, band."""
    mel = token[:, : FOLD * BANDS].reshape(-1, FOLD, BANDS)
    level = mel.mean((1, 2), keepdims=True)
    side = np.repeat(token[:, None, FOLD * BANDS :], BANDS // SIDE_BANDS, axis=2)
    band = np.broadcast_to(np.linspace(-1, 1, BANDS, dtype=np.float32), (len(token), 1, BANDS))
    height = np.broadcast_to(level + 10, (len(token), 1, BANDS))
    image = np.concatenate([(mel - level) / 2, side / 3, height / 4, band], axis=1)
    return np.ascontiguousarray(image.transpose(1, 0, 2), np.float32)


def predict(tensors: Mapping[str, Array], token: Array) -> Hints:
    """Hints from tokens [T, D]."""
    hidden = np.ascontiguousarray(network_input(token).transpose(1, 2, 0))
    for index, dilation in enumerate(DILATIONS):
        found = _convolve(hidden, tensors[f"layers.{index}.weight"], tensors[f"layers.{index}.bias"], dilation)
        if index == 0:
            hidden = np.maximum(found + tensors["bands"][:, 0].T, 0)
        else:
            hidden = hidden + np.maximum(found, 0)
    out = hidden @ tensors["head.weight"][:, :, 0, 0].T + (tensors["head.bias"] + tensors["last"][:, 0].T)
    shaped = out.reshape(len(token), BANDS, len(OUTPUTS), FOLD).transpose(2, 0, 3, 1).reshape(len(OUTPUTS), -1, BANDS)
    share, place, left, pulse = shaped
    return Hints(np.clip(share, 0, 1), 0.6 * np.tanh(place), np.clip(left, -5, 2), pulse)


def _convolve(image: Array, weight: Array, bias: Array, dilation: int) -> Array:
    """[T, B, in] to [T, B, out], zeros beyond the edges; weight [out, in, KERNEL]."""
    tall, wide = KERNEL
    reach = dilation * (tall // 2)
    length, bands, _ = image.shape
    padded = np.pad(image, ((reach, reach), (wide // 2, wide // 2), (0, 0)))
    columns = np.concatenate([padded[:, j : j + bands] for j in range(wide)], axis=2)
    columns = columns.reshape(len(padded) * bands, -1)
    out = np.broadcast_to(bias, (length * bands, len(bias))).copy()
    for i in range(tall):
        rows = columns[i * dilation * bands : (i * dilation + length) * bands]
        out += rows @ weight[:, :, i].transpose(2, 1, 0).reshape(-1, len(bias))
    return out.reshape(length, bands, -1)


def guess(token: Array) -> Hints:
    """Hints from tokens [T, D] without anything learned."""
    mel = token[:, : FOLD * BANDS].reshape(-1, BANDS)
    smooth = _over_time(mel, 3)
    padded = np.pad(smooth, ((0, 0), (3, 3)), mode="edge")
    around = 0.25 * (padded[:, 0:BANDS] + padded[:, 1 : BANDS + 1] + padded[:, 5 : BANDS + 5] + padded[:, 6:])
    low, high = padded[:, 2 : BANDS + 2], padded[:, 4 : BANDS + 4]
    top = (smooth >= low) & (smooth > high)
    share = np.where(top, 1 / (1 + np.exp(-(smooth - around - 2.2) / 0.35)), 0)
    bend = np.minimum(low - 2 * smooth + high, -0.3)
    offset = np.where(top, np.clip(0.5 * (low - high) / bend, -0.5, 0.5), 0)
    near = np.maximum(share, np.maximum(np.roll(share, 1, 1), np.roll(share, -1, 1)))
    noise = np.log(1 - 0.97 * near)
    pulse = 0.3 / (1 + np.exp(-(mel - _over_time(mel, 8) - 1.0) / 0.3))
    return Hints(
        share.astype(np.float32), offset.astype(np.float32), noise.astype(np.float32), pulse.astype(np.float32)
    )


def _over_time(mel: Array, reach: int) -> Array:
    padded = np.pad(mel, ((reach, reach), (0, 0)), mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0).mean(-1))
