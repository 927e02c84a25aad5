"""From latents of spectrograms to sound: AutoencoderKL's decoder, then the vocoder SpeechT5HifiGan.

latents [C, T, F]  -- autoencoder -->  log-mel [4T, 4F]  -- vocoder -->  sound [1, 640 T]        (AudioLDM's sizes)

The vocoder's reach is finite. The autoencoder's is not: it attends to all frames that it is given, and its norms are
taken over them, so what it makes of a frame depends on how much is decoded at once. Therefore it always decodes the
same windows, on a grid of absolute frames, however the sound is cut into chunks:

    window k     |<----- before ----->|<-- block k -->|<- after ->|
    window k+1                   |<----- before ----->|<- block k+1 ->|<- after ->|
                                                      |<>| faded from window k's context to window k+1

So chunks equal the whole, and levels do not jump where one window follows another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing, to_numpy
from safa_stream.types import FloatArray

KINDS = (Kind("vae", "AutoencoderKL"), Kind("vocoder", "SpeechT5HifiGan", "transformers"))


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows in latent frames: 3.84 s of AudioLDM's, which was trained on 10.24 s. fade: not longer than after."""

    before: int = 48
    block: int = 32
    after: int = 16
    fade: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class MelState:
    """Between calls: spectrograms that later frames need.

    origin: the first frame that there is; block: the next to be decoded; mel: spectrogram [M, mels] of all frames from
    `first` up to it; tail: what the last window makes of the frames after its block. None of it holds before `begun`.
    """

    begun: bool
    origin: int
    block: int
    first: int
    mel: FloatArray
    tail: FloatArray


@dataclass(frozen=True, slots=True)
class SpectrogramShape:
    """Sizes that U-Net, autoencoder and vocoder agree on. multiple: of frames, which the U-Net's levels halve."""

    channels: int
    bins: int
    upscale: int
    multiple: int
    mels: int
    sample_rate: int
    hop: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> SpectrogramShape:
        """Of the components "unet", "vae" and "vocoder". Raises ModelError where they do not fit each other."""
        unet, vae, vocoder = (checkpoint.components[name].config for name in ("unet", "vae", "vocoder"))
        upscale, multiple = (2 ** (len(config["block_out_channels"]) - 1) for config in (vae, unet))
        channels, mels = int(unet["in_channels"]), int(vocoder["model_in_dim"])
        bins = mels // upscale
        if mels % upscale or bins % multiple or vae["latent_channels"] != channels:
            raise ModelError(
                f"{checkpoint.folder}: unet, vae and vocoder do not fit each other: {channels} and "
                f"{vae['latent_channels']} latent channels, {mels} mel bins in steps of {upscale}"
            )
        hop = math.prod(vocoder["upsample_rates"])
        return cls(channels, bins, upscale, multiple, mels, int(vocoder["sampling_rate"]), hop)


class MelDecoder:
    """The decoder of the AudioLDM family: both networks in single precision. It uses no chance."""

    def __init__(
        self, shape: SpectrogramShape, vae: Any, vocoder: Any, computing: Computing, grid: Grid | None = None
    ) -> None:
        self.shape, self.vae, self.vocoder, self.computing = shape, vae, vocoder, computing
        self.grid = grid or Grid()
        self.reach = -(-vocoder_reach(vocoder.config) // shape.upscale)
        self.halo = max(self.reach + self.grid.block - 1 + self.grid.after, self.grid.before)
        self.samples_per_frame = shape.hop * shape.upscale

    def start(self, seed: int) -> MelState:
        """The state before the first frame."""
        nothing = np.zeros((0, self.shape.mels), np.float32)
        return MelState(False, 0, 0, 0, nothing, nothing)

    def decode(
        self, window: FloatArray, before: int, after: int, first_frame: int, seed: int, state: MelState
    ) -> tuple[MelState, FloatArray]:
        """Sound [1, n * samples_per_frame] of n frames, given in `window` [C, before + n + after, F]."""
        begin = first_frame - before
        end, last = begin + window.shape[1], begin + window.shape[1] - after
        if not state.begun:
            heard = max(begin, first_frame - self.reach)
            state = replace(state, begun=True, origin=begin, block=heard // self.grid.block, first=heard)
        low, high, scale = max(state.first, first_frame - self.reach), min(last + self.reach, end), self.shape.upscale
        with self.computing.running():
            while state.block * self.grid.block < high:
                state = self._more(state, window, begin)
            mel = state.mel[(low - state.first) * scale : (high - state.first) * scale]
            sound = to_numpy(self.vocoder(self.computing.tensor(mel[None])))
        kept = max(state.first, last - self.reach)
        after_this = replace(state, first=kept, mel=state.mel[(kept - state.first) * scale :].copy())
        here, count = (first_frame - low) * self.samples_per_frame, (last - first_frame) * self.samples_per_frame
        return after_this, np.ascontiguousarray(sound[:, here : here + count])

    def _more(self, state: MelState, window: FloatArray, begin: int) -> MelState:
        """The state with one block more. begin: the frame of window[:, 0]."""
        grid, scale, end = self.grid, self.shape.upscale, begin + window.shape[1]
        start, stop = state.block * grid.block, min((state.block + 1) * grid.block, end)
        low, high = max(state.origin, start - grid.before), min(end, stop + grid.after)
        made = to_numpy(self.spectrogram(self.computing.tensor(window[None, :, low - begin : high - begin])))[0]
        own = made[(max(start, state.first) - low) * scale : (stop - low) * scale].copy()
        tail = state.tail[: len(own)]
        share = ((np.arange(len(tail)) + 0.5) / max(1, len(tail)))[:, None]
        own[: len(tail)] = tail + (own[: len(tail)] - tail) * share
        rest = made[(stop - low) * scale :][: grid.fade * scale].copy()
        return replace(state, block=state.block + 1, mel=np.concatenate([state.mel, own]), tail=rest)

    def spectrogram(self, latents: Tensor) -> Tensor:
        """Latents [B, C, T, F] to log-mel [B, 4T, 4F], all frames in one window; gradients are handed on."""
        made: Tensor = self.vae.decode(latents / float(self.vae.config.scaling_factor), return_dict=False)[0]
        return made[:, 0]


def mel_decoder(checkpoint: Checkpoint, shape: SpectrogramShape, computing: Computing) -> MelDecoder:
    """The decoder of a checkpoint, its networks loaded."""
    vae, vocoder = (computing.exact(checkpoint.components[name].load()) for name in ("vae", "vocoder"))
    return MelDecoder(shape, vae, vocoder, computing)


def vocoder_reach(config: Any) -> int:
    """Spectrogram frames on each side that a sample of SpeechT5HifiGan hears at most."""
    kernels = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    residual = max(sum((kernel - 1) * (dilation + 1) // 2 for dilation in dilations) for kernel, dilations in kernels)
    samples = 3  # half of the last convolution; the first one's is of the same size
    upsampling = zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
    for rate, kernel in reversed(list(upsampling)):
        samples = -(-(samples + residual + kernel) // rate)
    return samples + 3
