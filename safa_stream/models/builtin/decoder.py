"""The built-in model's decoder: latents to 48 kHz stereo as noise, pulses and partials.

    latents, keyed noise -> graph -+-> shaped noise ---------------------------------+-> mid, side -> left, right
                                   +-> candidates -> partials, followed over time ---+

The graph (decoder_network.py) carries no state. All randomness is keyed by (seed, absolute frame), the oscillators'
phases are the carried state; hence a stream that is decoded in chunks equals the stream decoded whole. So a window can
be decoded in two parts at the same time, too: two threads gain more with a graph for each than within one.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from safa_stream.models.backends.graphs import OpenGraph, usable_cores
from safa_stream.models.backends.spec import Backend
from safa_stream.models.builtin.excitation import excitation
from safa_stream.models.builtin.features import BANDS, HOP, SAMPLES_PER_TOKEN, Array
from safa_stream.models.builtin.network import open_part
from safa_stream.models.builtin.tonal import OscillatorState, Partials, follow, play, silent_oscillators
from safa_stream.models.builtin.weights import Weights

#: Tokens of context on each side of what is decoded.
HALO = 8
#: What the graph takes: latents [T, K], and the `Excitation` of as many tokens.
INPUTS = ("latents", "steady", "heights", "detail")
#: What it gives of each mel frame inside the halo, side by side: samples of mid and side, and by band a candidate's
#: power and place and the side's amplitude over the mid's.
OUTPUTS = (HOP, HOP, BANDS, BANDS, BANDS)
#: Latents beyond this are pulled to it (training data stays within about +-10).
LATENT_LIMIT = 20.0
#: Samples are held below this by a soft limiter.
CEILING = 8.0
#: A window is decoded in parts where each has so many tokens at least, as each has a halo of its own to decode; and in
#: so many, by a processor.
LEAST_PART, PARTS = 32, 2
#: Engines that open the decoder's graph themselves, or what opens it for them. All others leave it to the processor.
ENGINES = {"openvino": "openvino", "onnx-cuda": "onnx-cuda", "onnx-tensorrt": "onnx-cuda"}


@dataclass(frozen=True, slots=True)
class TextureDecoder:
    """Decodes windows of latents, in as many parts as there are graphs. pool: has threads for all parts but one, None
    for one part after the other; halo: tokens of context wanted on each side of what is decoded."""

    graphs: tuple[OpenGraph, ...]
    pool: Executor | None = None
    halo: int = HALO
    samples_per_frame: int = SAMPLES_PER_TOKEN

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
        latents = np.clip(latents, -LATENT_LIMIT, LATENT_LIMIT)
        found = self._frames(latents, seed, first_frame - self.halo)
        mid, side, power, place, ratio = np.split(found, np.cumsum(OUTPUTS[:-1]), axis=1)
        segments, state = follow(Partials(power, place), ratio, state)
        mid_tone, side_tone = play(segments, len(found)).reshape(2, -1, HOP)
        # Added in place, these two become left and right.
        mid_tone += mid
        side_tone += side
        stereo = np.stack([mid_tone + side_tone, mid_tone - side_tone]).reshape(2, -1)
        return state, np.clip(stereo, -CEILING, CEILING, out=stereo)

    def _frames(self, latents: Array, seed: int, first_token: int) -> Array:
        """What the graph makes of latents [T, K], [4 (T - 2 halo), sum(OUTPUTS)]."""
        count = len(latents) - 2 * self.halo
        parts = len(self.graphs) if count >= LEAST_PART * len(self.graphs) else 1
        edges = [count * part // parts for part in range(parts + 1)]

        def made(part: int) -> Array:
            first, stop = edges[part], edges[part + 1] + 2 * self.halo
            noise = excitation(seed, first_token + first, stop - first)
            values = (latents[first:stop], noise.steady, noise.heights, noise.detail)
            return self.graphs[part](dict(zip(INPUTS, values, strict=True)))

        if parts == 1:
            return made(0)
        if self.pool is None:
            return np.concatenate([made(part) for part in range(parts)])
        others = [self.pool.submit(made, part) for part in range(1, parts)]
        return np.concatenate([made(0), *(other.result() for other in others)])


def open_decoder(weights: Weights, backend: Backend) -> TextureDecoder:
    """The decoder of a model directory beside a denoiser on `backend`. Raises ModelError where that cannot be.

    It always computes in single precision.
    """
    if backend.engine.startswith("torch"):
        from safa_stream.models.builtin.decoder_network import TorchDecoder

        return TextureDecoder((TorchDecoder(weights, backend.facts.device),))
    engine = ENGINES.get(backend.engine, "onnx")
    if engine != "onnx":
        return TextureDecoder((open_part(weights, "decoder", Backend(engine, threads=backend.threads)),))
    # However many threads there are, the parts are the same, and so is the sound to the bit.
    graphs = tuple(open_part(weights, "decoder", Backend(engine, threads=1)) for _ in range(PARTS))
    alone = (backend.threads or usable_cores()) == 1
    return TextureDecoder(graphs, None if alone else ThreadPoolExecutor(PARTS - 1, "decoder"))
