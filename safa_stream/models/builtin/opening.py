"""What MAD and SyncDiffusion see of the built-in networks in torch: where tokens lie in a view, latents as spectra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from safa_stream.models.builtin.features import BANDS, FOLD, LatentMap
from safa_stream.models.builtin.phases import patch_offset, real_shares
from safa_stream.models.likeness import Likeness, of_sounds
from safa_stream.models.merging import Grid, MergedAttention, Place


def merging(
    starts: Sequence[int], view: int, width: int, level: float, merge_self: bool, patch: int
) -> MergedAttention:
    """Attention of a view's frames over the whole canvas; patch: frames of a transformer's token, 1 for the U-Net.

    level: the noise level that the views are denoised at, which says by how many frames the patches are moved. Frames
    that are mirrored to fill the first and last patch are shown to the network, and are no part of the canvas.
    """
    shares = real_shares(patch_offset(level, patch), view, patch) if patch > 1 else None

    def grid(tokens: int) -> Grid:
        return Grid(view // tokens) if shares is None else Grid(patch, shares=shares)

    return MergedAttention(Place(tuple(starts), view, width), grid, merge_self)


def likeness(latent_map: LatentMap, network: Path | None, device: torch.device) -> Likeness:
    """Distances between the mid signals' log-mel, which is a linear image of the latents."""
    backward, mean = (torch.from_numpy(values).to(device) for values in (latent_map.backward, latent_map.mean))

    def spectrum(latents: Tensor) -> Tensor:
        """[B, C, T, F] to log-mel [B, 4T, 96], of amplitudes where the map's are of power."""
        rows = latents.permute(0, 2, 1, 3).flatten(2)
        mid = (rows @ backward + mean)[..., : FOLD * BANDS]
        return mid.reshape(len(mid), -1, BANDS) / 2

    return of_sounds(spectrum, network, device)
