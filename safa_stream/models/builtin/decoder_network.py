"""What of the decoder carries no state, in torch: latents and white noise to shaped noise and candidates for partials.

    latents -> tokens -> log-mel + hints -+-> candidates for partials
                                          +-> what is left: noise and pulses, shaped

`safa_exporters.decoder_graph` exports it. Shapes: T tokens, J = 4 T mel frames, N = 480 J samples, B = 96 bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safa_stream.errors import ModelError
from safa_stream.models.builtin.decoder import HALO, INPUTS
from safa_stream.models.builtin.features import (
    BANDS,
    FLOOR,
    FOLD,
    HOP,
    SIDE_MAX,
    SIDE_MIN,
    Array,
    band_edges,
)
from safa_stream.models.builtin.hints import HintNetwork, hints, in_bands
from safa_stream.models.builtin.picking import PartialPicker
from safa_stream.models.builtin.shaping import HIGHEST, LOWEST, NoiseShaper
from safa_stream.models.builtin.short_time import single
from safa_stream.models.builtin.weights import Weights

#: Unevenness inside a frame (nats) that pulses make whose heights have a spread of 0, 0.25, 0.5 and so on (measured).
UNEVENNESS = (0.0, 0.08, 0.30, 0.57, 0.88, 1.12, 1.34, 1.53, 1.67)
SPREAD_STEP = 0.25
#: Bands that count for pulses (from 500 Hz), their widths as log-power, and the power of energy that they count with.
PULSED_BANDS = slice(int(np.searchsorted(band_edges()[1:-1], 500.0)), None)
LOUDNESS = np.log(np.diff(band_edges())[1:])[PULSED_BANDS]
WEIGHT = 0.5
#: Added to the side's log-power (nats): its noise is drawn from a mean of logarithms, its ratio is one of means.
SIDE_BIAS = 0.15


class DecoderNetwork(nn.Module):
    """Everything between `decoder.INPUTS` and the oscillators, with the weights of a model directory."""

    loudness: Tensor
    uneven: Tensor

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        learned = {name: torch.from_numpy(value) for name, value in weights.under("decoder.").items()}
        mean, backward = (torch.from_numpy(weights.tensors[f"latent.{name}"]) for name in ("mean", "backward"))
        self.mean, self.backward_map = nn.Parameter(mean), nn.Parameter(backward)
        self.detail = nn.Parameter(learned.pop("detail"))
        self.hints = HintNetwork()
        self.hints.load_state_dict(learned)
        self.picker, self.shaper = PartialPicker(), NoiseShaper()
        self.register_buffer("loudness", single(LOUDNESS), persistent=False)
        self.register_buffer("uneven", single(np.array(UNEVENNESS)), persistent=False)
        self.requires_grad_(False)

    def forward(self, latents: Tensor, steady: Tensor, heights: Tensor, detail: Tensor) -> Tensor:
        """Latents [T, K] and the noise of an `Excitation` to mel frames of what `decoder.OUTPUTS` lists; no halo."""
        token = latents @ self.backward_map + self.mean
        told = hints(self.hints(token[None]))
        mel = token[:, : FOLD * BANDS].reshape(-1, BANDS).clamp(LOWEST, HIGHEST)
        ratio = in_bands(token[:, FOLD * BANDS :].clamp(SIDE_MIN, SIDE_MAX))[:, None].expand(-1, FOLD, -1).flatten(0, 1)
        power = torch.exp(mel)
        partial, place = self.picker(power, told.share[0], told.offset[0])
        open_gate = (power / FLOOR - 1.5).clamp(1e-3, 1.0)
        left_over = mel + told.noise[0] + torch.log(open_gate)
        spread = self.pulse_spread(told.pulse[0], left_over)
        target, side = left_over + self.detail * detail, left_over + ratio + SIDE_BIAS
        noise = self.shaper(steady, heights, spread, target, side).reshape(2, -1, HOP)
        inner = slice(HALO * FOLD, -HALO * FOLD)
        levels = (partial[inner], place[inner], torch.exp(0.5 * ratio[inner]))
        return torch.cat([*noise[:, inner], *levels], dim=1)

    def pulse_spread(self, unevenness: Tensor, log_power: Tensor) -> Tensor:
        """Spread [J] of pulses' heights that brings the unevenness [J, B] of the bands, the loud ones counting most."""
        weight = torch.exp(WEIGHT * (log_power[:, PULSED_BANDS] + self.loudness))
        mean = (weight * unevenness[:, PULSED_BANDS]).sum(1) / weight.sum(1)
        steps = (mean[:, None] - self.uneven[:-1]) / (self.uneven[1:] - self.uneven[:-1])
        return SPREAD_STEP * steps.clamp(0.0, 1.0).sum(1)


class TorchDecoder:
    """The network on a device of torch, run like a graph: numpy arrays by name in, its output back."""

    def __init__(self, weights: Weights, device: str) -> None:
        """Raises ModelError where the device cannot be used."""
        try:
            self._network: Any = DecoderNetwork(weights).to(device).eval()
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"cannot use device {device}: {str(error).splitlines()[0]}") from error
        self._device = torch.device(device)

    def __call__(self, inputs: Mapping[str, Any]) -> Array:
        with torch.inference_mode():
            found: Tensor = self._network(*(torch.from_numpy(inputs[name]).to(self._device) for name in INPUTS))
        return found.cpu().numpy()
