"""Partials picked from bands, in torch: where the hints say that energy is tonal, one candidate a band at most.

Shapes: J mel frames, B = 96 bands; place = frequency in units of bands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from safa_stream.models.builtin.features import BANDS
from safa_stream.models.builtin.short_time import single
from safa_stream.models.builtin.tonal import NEAR, SAME, STEPS, response

#: Shares of tonal energy below which there is no partial, and from which it is played in full.
SILENT_SHARE, FULL_SHARE = 0.2, 0.4
#: A partial lies no further than this from its band's centre.
FURTHEST = 0.6


class PartialPicker(nn.Module):
    """Picks partials out of band powers."""

    band: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("band", torch.arange(BANDS, dtype=torch.float32), persistent=False)
        # What a band and its two neighbours measure together of a partial of amplitude one.
        self.register_buffer("seen", single(response()[..., NEAR - 1 : NEAR + 2].sum(-1).reshape(-1)), persistent=False)

    def forward(self, power: Tensor, share: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Power (amplitude squared, 0 where there is none) and place of each band's candidate, [J, B].

        power: of the bands; share: tonal part of each band's energy 0..1; offset: of a partial from its band's centre.
        """
        # Where a partial lies between two bands, either may hold it: their shares add up, their places meet between.
        weight = share * power
        total, moment = around(weight), around(weight * offset) + above(weight) - below(weight)
        middle = torch.where(total > 0, moment / total.clamp(min=1e-20), offset)
        place = self.band + middle.clamp(-FURTHEST, FURTHEST)
        pooled = around(share).clamp(max=1.0)
        played = pooled * ((pooled - SILENT_SHARE) / (FULL_SHARE - SILENT_SHARE)).clamp(0.0, 1.0)
        band = torch.round(place).clamp(0, BANDS - 1)
        step = ((place - band + 0.5) * STEPS).to(torch.int64).clamp(0, STEPS - 1)
        seen = self.seen.index_select(0, (band.to(torch.int64) * STEPS + step).flatten()).view_as(place)
        energy = around(power) / seen.clamp(min=1e-3)
        alone = ~(outdone(weight, place, 1) | outdone(weight, place, 2))
        return torch.where(alone & (played > 0), played * energy, 0.0), place


def below(values: Tensor) -> Tensor:
    """Each band's lower neighbour, 0 where there is none."""
    return functional.pad(values[:, :-1], (1, 0))


def above(values: Tensor) -> Tensor:
    """Each band's upper neighbour, 0 where there is none."""
    return functional.pad(values[:, 1:], (0, 1))


def around(values: Tensor) -> Tensor:
    """The sum over each band and its neighbours."""
    return values + below(values) + above(values)


def outdone(weight: Tensor, place: Tensor, distance: int) -> Tensor:
    """Whether a candidate gives way to one `distance` bands away: the next counts always, others if near."""
    weaker = weight[:, :-distance] < weight[:, distance:]
    stronger = ~weaker
    if distance > 1:
        near = (place[:, distance:] - place[:, :-distance]).abs() < SAME
        weaker, stronger = near & weaker, near & stronger
    return functional.pad(weaker, (0, distance)) | functional.pad(stronger, (distance, 0))
