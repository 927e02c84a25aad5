"""Latents to pictures by a checkpoint's AutoencoderKL, window by window: a panorama of any width in constant memory.

    latents   | piece 0 | piece 1 | piece 2 |        pieces of about PIECE columns side by side
    window          [halo| piece 1 |fade|halo]       what is decoded at once
    picture             [ piece 1  |fade]            its halo thrown away, `fade` mixed into the next piece's beginning

On a circle windows go on past the ends, so the wrap is decoded like every other place. The halo is as wide as the
convolutions reach. What remains between a windowed and a whole pass is that the attention in the decoder's middle and
the normalisations see one window, about as much as the autoencoder was trained on; `fade` spreads what that changes.
Moments pooled over all windows were tried instead: a normalisation that does not see its own input no longer corrects
the ones before it, and the error grew from layer to layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from safa_stream.models.images.interface import Decoded, Pixels

#: Latent columns of a piece and of the cross-fade to the next.
PIECE, FADE = 64, 8


@dataclass(frozen=True, slots=True)
class Window:
    """Latent columns start .. stop - 1 of the piece, `fade` more, and the context on both sides."""

    start: int
    stop: int
    before: int
    after: int
    fade: int

    @property
    def first(self) -> int:
        """The first column that is decoded, on a circle perhaps below 0."""
        return self.start - self.before

    @property
    def last(self) -> int:
        """The column after the last that is decoded."""
        return self.stop + self.fade + self.after


def windows(width: int, circular: bool, halo: int, piece: int = PIECE, fade: int = FADE) -> tuple[Window, ...]:
    """Pieces of equal width, as near to `piece` as they fit into `width` columns; one of a line has no context."""
    count = max(1, round(width / piece))
    edges = [index * width // count for index in range(count + 1)]
    fade = min(fade, *(stop - start for start, stop in zip(edges, edges[1:], strict=False)))
    out = []
    for index, (start, stop) in enumerate(zip(edges, edges[1:], strict=False)):
        more = fade if circular or index < count - 1 else 0
        before, after = (halo, halo) if circular else (min(halo, start), min(halo, width - stop - more))
        out.append(Window(start, stop, before, after, more))
    return tuple(out)


def halo_of(config: Mapping[str, Any]) -> int:
    """Latent columns on each side that one decoded column of an AutoencoderKL depends on through convolutions."""
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"] + 1
    # At latent resolution: the first convolution and two blocks of two in the middle. At every level: blocks of two
    # convolutions, and one after each doubling, counted in its finer columns; last the convolution to colours.
    reach = 1.0 + 4.0 + sum(2 * layers / 2**level for level in range(levels))
    reach += sum(0.5 ** (level + 1) for level in range(levels - 1)) + 0.5 ** (levels - 1)
    return int(math.ceil(reach))


class PictureDecoder:
    """An AutoencoderKL as a decoder of wide latents, in single precision on the device of its weights."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self.halo = halo_of(vae.config)
        self.scale: int = 2 ** (len(vae.config.block_out_channels) - 1)
        # Some configurations of early models hold null for what later ones say.
        self.gain: float = vae.config.scaling_factor
        self.shift: float = vae.config.shift_factor or 0.0

    def view(self, latents: torch.Tensor) -> torch.Tensor:
        """One view's picture [B, 3, H, W], -1 .. 1, of latents [B, C, T, F]; with a gradient where they have one."""
        scaled = latents.to(self.vae.device, torch.float32).permute(0, 1, 3, 2) / self.gain + self.shift
        out: torch.Tensor = self.vae.decode(scaled).sample.clamp(-1, 1)
        return out

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, circular: bool, report: Decoded | None = None) -> Pixels:
        """The picture [F * scale, T * scale, 3] of latents [C, T, F]."""
        rows, width = int(latents.shape[2]), int(latents.shape[1])
        given = latents.to(self.vae.device, torch.float32).permute(0, 2, 1)[None] / self.gain + self.shift
        plan = windows(width, circular, self.halo)
        picture = np.empty((rows * self.scale, width * self.scale, 3), np.uint8)
        for done, (start, columns) in enumerate(self._pieces(given, plan), start=1):
            picture[:, start : start + columns.shape[1]] = columns
            if report is not None:
                report(min(done, len(plan)), len(plan))
        return picture

    def _pieces(self, given: torch.Tensor, plan: tuple[Window, ...]) -> Iterator[tuple[int, Pixels]]:
        """(first column of pixels, pixels) of each piece; on a circle the first one's beginning once more at last."""
        head = tail = None
        for window in plan:
            pixels = self._decoded(given, window)
            own = (window.stop - window.start) * self.scale
            faded = plan[0].fade * self.scale
            if tail is not None:
                pixels[..., : tail.shape[-1]] = _crossed(tail, pixels[..., : tail.shape[-1]])
            elif faded:
                head = pixels[..., :faded].clone()
            tail = pixels[..., own:] if window.fade else None
            yield window.start * self.scale, _bytes(pixels[..., :own])
        if tail is not None and head is not None:
            yield 0, _bytes(_crossed(tail, head))

    def _decoded(self, given: torch.Tensor, window: Window) -> torch.Tensor:
        """Pixels [3, H, W'] of a window's piece and fade, -1 .. 1."""
        columns = torch.arange(window.first, window.last, device=given.device) % given.shape[-1]
        decoded = self.vae.decode(given[..., columns]).sample[0]
        end = (window.last - window.first - window.after) * self.scale
        out: torch.Tensor = decoded[..., window.before * self.scale : end].clone()
        return out


def _crossed(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """From one to the other in a straight ramp over the columns."""
    count = before.shape[-1]
    share = (torch.arange(count, device=before.device, dtype=before.dtype) + 0.5) / count
    return before + share * (after - before)


def _bytes(pixels: torch.Tensor) -> Pixels:
    """[H, W, 3] of 0 .. 255, rounded as diffusers rounds."""
    unit = (pixels.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1).cpu().numpy()
    return (unit * 255).round().astype(np.uint8)
