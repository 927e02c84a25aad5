"""Merge-Attend-Diffuse's attention against the same written out place by place."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from safa_stream.models.builtin.phases import patch_phases, real_shares
from safa_stream.models.merging import Grid, MergedAttention, Place, crosses

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


def merging(merge_self: bool = True) -> MergedAttention:
    return MergedAttention(PLACE, lambda queries: Grid(1, ROWS), merge_self)


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


def test_a_text_of_as_many_tokens_as_a_view_has_places_is_told_from_a_view() -> None:
    torch.manual_seed(2)
    q, text = torch.randn(3, 2, ROWS * 4, 5), torch.randn(1, 2, ROWS * 4, 5).expand(3, -1, -1, -1)
    assert crosses(q, text, 3) and not crosses(q, q, 3) and not crosses(q[:1], q[:1], 1)
    with merging():
        made = scaled_dot_product_attention(q, text, text)
    canvas = scaled_dot_product_attention(merged_by_hand(q)[:, : ROWS * 8], text[0], text[0])
    assert torch.allclose(made, handed_back_by_hand(canvas), atol=1e-6)


def test_masks_of_texts_are_those_of_their_group() -> None:
    torch.manual_seed(3)
    q, text = torch.randn(6, 2, ROWS * 4, 5), torch.randn(2, 2, 7, 5)
    told, mask = text.repeat_interleave(3, dim=0), torch.ones(6, 1, 1, 7, dtype=torch.bool)
    mask[3:, ..., 4:] = False
    with merging():
        made, all_read = (scaled_dot_product_attention(q, told, told, attn_mask=m) for m in (mask, None))
        short = scaled_dot_product_attention(q, told[:, :, :4], told[:, :, :4])
    assert torch.equal(made[:3], all_read[:3]) and torch.allclose(made[3:], short[3:], atol=1e-6)


@pytest.mark.parametrize("starts, width", [((0, 3, 6), 10), ((0, 3, 6), 9)])
def test_sounds_lie_frame_by_frame_behind_what_is_no_part_of_them(starts: tuple[int, ...], width: int) -> None:
    """4 frames of 2 bins a view on a line of 10 and a circle of 9, after one token that all views share."""
    torch.manual_seed(4)
    q, k, v = (torch.randn(3, 2, 1 + 4 * 2, 5) for _ in range(3))
    places = torch.tensor([[(start + frame) % width for frame in range(4)] for start in starts])
    with MergedAttention(Place(starts, 4, width), lambda tokens: Grid(1, bins=2, before=1), merge_self=True):
        made = scaled_dot_product_attention(q, k, v)
    canvases = []
    for values in (q, k, v):
        total, count = torch.zeros(2, width, 2, 5), torch.zeros(width, 1, 1)
        for view in range(3):
            for frame in range(4):
                total[:, places[view, frame]] += values[view, :, 1 + 2 * frame : 3 + 2 * frame]
                count[places[view, frame]] += 1
        canvases.append(torch.cat([values[:, :, :1].mean(dim=0), (total / count).flatten(1, 2)], dim=1))
    canvas = scaled_dot_product_attention(*canvases)
    for view in range(3):
        own = canvas[:, 1:].unflatten(1, (width, 2))[:, places[view]].flatten(1, 2)
        assert torch.allclose(made[view], torch.cat([canvas[:, :1], own], dim=1), atol=1e-6)


@pytest.mark.parametrize("circular", [False, True])
def test_a_layer_that_sees_two_frames_far_sees_as_far_on_the_canvas(circular: bool) -> None:
    torch.manual_seed(5)
    q, k, v = (torch.randn(2, 1, 6, 5) for _ in range(3))
    width = 8 if circular else 10
    apart = (torch.arange(6)[:, None] - torch.arange(6)).abs()
    mask = torch.where(apart <= 2, 0.0, -1e9)[None, None]
    place = Place((0, 4), 6, width)
    with MergedAttention(place, lambda tokens: Grid(1), merge_self=True):
        made = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        # What is farther away than the layer sees is not heard: frame 0 and, on the line, frames 3 to 9.
        v[1, :, 2:5] += 10
        k[1, :, 2:5] += 10
        changed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    same = [frame for frame in range(6) if torch.allclose(made[0, 0, frame], changed[0, 0, frame], atol=1e-5)]
    # Canvas frames 6 and 7 (on the line 8 as well) were changed, and on the circle frame 0.
    assert same == ([3] if circular else [0, 1, 2, 3])


def test_one_view_alone_and_views_that_lie_on_each_other_attend_as_without() -> None:
    torch.manual_seed(6)
    q, k, v = (torch.randn(1, 2, 8, 5) for _ in range(3))
    plain = scaled_dot_product_attention(q, k, v)
    for grid in (Grid(1), Grid(2, bins=2), Grid(2, shares=(1.0,) * 7 + (0.0,))):
        with MergedAttention(Place((0,), 8, 8), lambda tokens, grid=grid: grid, merge_self=True):  # type: ignore[misc]
            assert torch.allclose(scaled_dot_product_attention(q, k, v), plain, atol=1e-6)
    three = [x.expand(3, -1, -1, -1) for x in (q, k, v)]
    with MergedAttention(Place((0, 0, 0), 8, 8), lambda tokens: Grid(1), merge_self=True):
        assert torch.allclose(scaled_dot_product_attention(*three), plain.expand(3, -1, -1, -1), atol=1e-6)
    # The same view three times on end: attention to three copies is attention to one.
    with MergedAttention(Place((0, 8, 16), 8, 24), lambda tokens: Grid(1), merge_self=True):
        assert torch.allclose(scaled_dot_product_attention(*three), plain.expand(3, -1, -1, -1), atol=1e-6)


@pytest.mark.parametrize("level, offset", [(0.0, 0), (0.5, 0), (0.3, 1)])
def test_the_patches_shares_are_those_of_frames_that_are_not_mirrored(level: float, offset: int) -> None:
    shown, back = patch_phases([level], 8, 2)
    assert back[0, 0] == offset
    real = [place in back[0] for place in range(10)]
    assert real_shares(offset, 8, 2) == tuple((real[at] + real[at + 1]) / 2 for at in range(0, 10, 2))
    assert all(shown[0, place] == place - offset for place in range(10) if real[place])


def test_a_mirrored_patch_hardly_counts_where_another_view_has_a_real_one() -> None:
    torch.manual_seed(7)
    q, k, v = (torch.randn(2, 1, 5, 4) for _ in range(3))
    place, grid = Place((0, 6), 8, 14), Grid(2, shares=(1.0, 1.0, 1.0, 1.0, 0.0))
    merged = MergedAttention(place, lambda tokens: grid, merge_self=True)._merged(v, grid)
    # Column 4 of the canvas is view 0's mirrored patch and view 1's second; the last is view 1's mirrored alone.
    assert torch.allclose(merged[0, :, 4], v[1, :, 1], atol=1e-2)
    assert torch.allclose(merged[0, :, 7], v[1, :, 4], atol=1e-5)
    assert torch.allclose(merged[0, :, 3], (v[0, :, 3] + v[1, :, 0]) / 2, atol=1e-6)
    with MergedAttention(place, lambda tokens: grid, merge_self=True):
        assert scaled_dot_product_attention(q, k, v).shape == q.shape
