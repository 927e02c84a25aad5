"""Merge-Attend-Diffuse against the same written out place by place, and in real networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from safa_stream.errors import LayoutError, UsageError
from safa_stream.models.images.families import open_images
from safa_stream.models.images.merging import Grid, MergedAttention, Place
from safa_stream.models.interface import repeat
from safa_stream.rendering import panorama
from safa_stream.rendering.wanted import Panorama
from safa_stream.scene import parse_prompts

Pipelines = dict[str, tuple[Path, Any]]
#: Three views of 4 columns on a circle of 8, 3 rows, then 2 tokens that are no part of the picture.
PLACE, ROWS, OTHERS = Place((0, 2, 5), 4, 8), 3, 2


def merged_by_hand(values: torch.Tensor) -> torch.Tensor:
    """[3, heads, 14, D] of the views to [heads, 26, D]: the canvas row by row, then the mean of the others."""
    heads, depth = values.shape[1], values.shape[3]
    total, count = torch.zeros(heads, ROWS, 8, depth), torch.zeros(8)
    for view, start in enumerate(PLACE.starts):
        for column in range(4):
            at = (start + column) % 8
            count[at] += 1
            for row in range(ROWS):
                total[:, row, at] += values[view, :, row * 4 + column]
    canvas = (total / count[:, None]).reshape(heads, ROWS * 8, depth)
    return torch.cat([canvas, values[:, :, ROWS * 4 :].mean(dim=0)], dim=1)


def handed_back_by_hand(canvas: torch.Tensor) -> torch.Tensor:
    views = []
    for start in PLACE.starts:
        places = [row * 8 + (start + column) % 8 for row in range(ROWS) for column in range(4)]
        views.append(canvas[:, [*places, *range(ROWS * 8, canvas.shape[1])]])
    return torch.stack(views)


def merging(merge_self: bool = True, tokens: int = ROWS * 4) -> MergedAttention:
    return MergedAttention(PLACE, lambda queries: Grid(1, ROWS, tokens), merge_self)


def test_self_attention_runs_over_the_canvas_with_and_without_guidance() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(6, 2, ROWS * 4 + OTHERS, 5) for _ in range(3))
    with merging():
        made = scaled_dot_product_attention(q, k, v)
    for group in (slice(0, 3), slice(3, 6)):
        canvas = scaled_dot_product_attention(*(merged_by_hand(x[group]) for x in (q, k, v)))
        assert torch.allclose(made[group], handed_back_by_hand(canvas), atol=1e-6)
    assert not torch.allclose(made, scaled_dot_product_attention(q, k, v), atol=1e-2)
    with merging(merge_self=False):
        assert torch.equal(scaled_dot_product_attention(q, k, v), scaled_dot_product_attention(q, k, v))


def test_in_cross_attention_the_queries_are_merged() -> None:
    torch.manual_seed(1)
    q, text = torch.randn(6, 2, ROWS * 4, 5), torch.randn(2, 2, 7, 5)
    told = text.repeat_interleave(3, dim=0)
    with merging(merge_self=False):
        made = scaled_dot_product_attention(q, told, told)
    for group in range(2):
        merged = merged_by_hand(q[3 * group : 3 * group + 3])[:, : ROWS * 8]
        canvas = scaled_dot_product_attention(merged, text[group], text[group])
        assert torch.allclose(made[3 * group : 3 * group + 3], handed_back_by_hand(canvas), atol=1e-6)


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
    with model.merging([0, 16], 16, 32, True):
        assert not torch.allclose(first(x), first(other), atol=1e-5)
    with model.merging([0, 16], 16, 32, False):
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
        compiled.merging([0, 16], 16, 32, True)
    plan, wanted = planned(made_pipelines["epsilon"][0], method="mad", view=8, height=40, width=40)
    with pytest.raises(LayoutError, match="as many places as the text has tokens \\(20"):
        panorama.make(plan, wanted)


def planned(folder: Path, **settings: Any) -> tuple[panorama.Planned, Panorama]:
    wanted = Panorama(parse_prompts("lake, hills:0.5"), **{"steps": 3} | settings)
    return panorama.plan(open_images(folder, "torch"), wanted), wanted
