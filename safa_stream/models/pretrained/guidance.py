"""Classifier-free guidance (arXiv 2207.12598) of batches whose rows are guided differently, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

#: A denoiser's call: latents [N, C, ...], timesteps [N] and what it is told [N, ...], to its output.
Call = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
#: The guided output from that which is told the words, that which is not, and the guidance [N, 1, 1, 1].
Combine = Callable[[Tensor, Tensor, Tensor], Tensor]


def combined(told: Tensor, without: Tensor, guidance: Tensor) -> Tensor:
    """The output led away from what it would be without the words."""
    return without + guidance * (told - without)


def guided(
    call: Call,
    latents: Tensor,
    timesteps: Tensor,
    told: Mapping[str, Tensor],
    away: Mapping[str, Tensor],
    guidance: Tensor,
    combine: Combine = combined,
    two_calls: bool = False,
) -> Tensor:
    """The guided output [B, C, T, F] for guidance [B]; rows with guidance 1 cost one pass.

    two_calls: the rows without the words are a call of their own instead of part of one batch.
    """
    rows = (guidance != 1).nonzero()[:, 0]
    if not len(rows):
        return call(latents, timesteps, told)
    away = {name: tensor[rows] for name, tensor in away.items()}
    if two_calls:
        with_words, without = call(latents, timesteps, told), call(latents[rows], timesteps[rows], away)
    else:
        both = {name: torch.cat([away[name], tensor]) for name, tensor in told.items()}
        answer = call(torch.cat([latents[rows], latents]), torch.cat([timesteps[rows], timesteps]), both)
        without, with_words = answer[: len(rows)], answer[len(rows) :]
    out = with_words.clone()
    out[rows] = combine(with_words[rows], without, guidance[rows].reshape(-1, 1, 1, 1))
    return out
