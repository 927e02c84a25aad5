"""SyncDiffusion's step ahead of a solver's (arXiv 2306.05178, Algorithm 1): views that are to look, or sound, alike."""

from __future__ import annotations

import torch
from torch import Tensor

from safa_stream.models.interface import Denoiser, Encoded
from safa_stream.models.likeness import Likeness
from safa_stream.solvers import Row


def synchronised(
    model: Denoiser,
    likeness: Likeness,
    views: Tensor,
    timestep: float,
    row: Row,
    encoded: Encoded,
    guidance: float,
    weight: float,
) -> Tensor:
    """Views [n, C, T, F], each but the middle one moved `weight` down the gradient of its distance to that one.

    The distance is between what is foreseen of both: the clean estimates that one call of the denoiser gives, P x + Q m
    with the solver's row. One view at a time, as the gradient's way back through the network is kept in memory.
    """
    anchor = len(views) // 2
    times, scale = (torch.full((1,), value, device=views.device) for value in (timestep, guidance))

    def foreseen(view: Tensor) -> Tensor:
        m = model.denoise(view, times, encoded.conditioning, encoded.negative, scale)
        return likeness.shown(row.P * view + row.Q * m)

    out = views.clone()
    with torch.no_grad():
        wanted = foreseen(views[anchor : anchor + 1])
    for index in (index for index in range(len(views)) if index != anchor):
        with torch.enable_grad():
            view = views[index : index + 1].detach().clone().requires_grad_()
            apart = likeness.distance(foreseen(view), wanted).sum()
            out[index] -= weight * torch.autograd.grad(apart, view)[0][0]
    return out
