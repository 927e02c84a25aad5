"""Merge-Attend-Diffuse against the same written out place by place, and in real networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safa_stream.errors import UsageError
from safa_stream.models.images.families import open_images
from safa_stream.models.interface import repeat
from safa_stream.rendering import panorama
from safa_stream.rendering.wanted import Panorama
from safa_stream.scene import parse_prompts

Pipelines = dict[str, tuple[Path, Any]]


@pytest.mark.parametrize("kind", ["epsilon", "flow"])
def test_views_that_share_no_column_see_each_other(made_pipelines: Pipelines, kind: str) -> None:
    model = open_images(made_pipelines[kind][0], "torch")
    encoded = model.encode(parse_prompts("lake"), ())
    told, away = (repeat(row, 2) for row in (encoded.conditioning, encoded.negative))
    x = torch.randn(2, model.facts.latent_channels, 16, 16, generator=torch.Generator().manual_seed(3))
    other = torch.cat([x[:1], x[1:].flip(2)])
    times, guidance = torch.tensor([500.0, 500.0]), torch.tensor([4.0, 4.0])

    def first(latents: torch.Tensor) -> torch.Tensor:
        return model.denoise(latents, times, told, away, guidance)[0]

    assert torch.equal(first(x), first(other))
    with model.merging([0, 16], 16, 32, 500.0, True):
        assert not torch.allclose(first(x), first(other), atol=1e-5)
    with model.merging([0, 16], 16, 32, 500.0, False):
        assert torch.allclose(first(x), first(other), atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "flow"])
def test_one_view_alone_is_as_without(made_pipelines: Pipelines, kind: str) -> None:
    folder = made_pipelines[kind][0]
    made = [panorama.make(*planned(folder, method=method, width=32, attend_ratio=1.0)) for method in ("average", "mad")]
    assert made[0] is not None and made[1] is not None
    assert np.abs(made[0].pixels.astype(int) - made[1].pixels.astype(int)).max() <= 1


@pytest.mark.parametrize("kind", ["epsilon", "flow"])
@pytest.mark.parametrize("circular", [False, True])
def test_a_panorama_is_made_whose_views_start_where_all_layers_have_a_place(
    made_pipelines: Pipelines, kind: str, circular: bool
) -> None:
    folder = made_pipelines[kind][0]
    plan, wanted = planned(folder, method="mad", overlap=0.6, width=150, circular=circular)
    assert all(span.start % 2 == 0 for span in plan.canvas.spans) and plan.canvas.width % 2 == 0
    made, averaged, shorter = (
        panorama.make(*planned(folder, **{"overlap": 0.6, "width": 152, "circular": circular} | settings))
        for settings in ({"method": "mad"}, {"method": "average"}, {"method": "mad", "attend_ratio": 0.0})
    )
    assert made is not None and averaged is not None and shorter is not None
    assert made.pixels.shape == (32, 152, 3)
    assert not np.array_equal(made.pixels, averaged.pixels) and not np.array_equal(made.pixels, shorter.pixels)


def test_what_mad_cannot_do_is_said(made_pipelines: Pipelines) -> None:
    with pytest.raises(UsageError, match="attend ratio"):
        Panorama(parse_prompts("lake"), method="mad", attend_ratio=2.0)
    compiled = open_images(made_pipelines["flow"][0], "torch:compile")
    with pytest.raises(UsageError, match="compile"):
        compiled.merging([0, 16], 16, 32, 500.0, True)


def planned(folder: Path, **settings: Any) -> tuple[panorama.Planned, Panorama]:
    wanted = Panorama(parse_prompts("lake, hills:0.5"), **{"steps": 3} | settings)
    return panorama.plan(open_images(folder, "torch"), wanted), wanted
