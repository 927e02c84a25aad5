"""Merge-Attend-Diffuse (MAD, arXiv 2408.15660): views attend to each other, as one canvas, in the attention layers.

The queries, keys and values of all views are averaged where the views overlap, self-attention runs over the whole
canvas, and its output is handed back to the views. In cross-attention the queries are merged so. Every layer of a
network comes by torch's scaled dot-product attention, so it is replaced there, in a U-Net and in a transformer alike,
for pictures and for sounds. By then a transformer has marked queries and keys with places within their view: on the
canvas these codes repeat from view to view, and where views overlap two of them are averaged. That is MAD's own trait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from safa_stream.errors import UsageError
from safa_stream.models.backends.spec import Backend

#: What a column of tokens counts at least, so that one without a real frame is itself where no other view has one.
LEAST_SHARE = 1e-3
#: Keys of two views that differ less than this, relative to their size, are those of one text.
ALIKE = 1e-3


@dataclass(frozen=True, slots=True)
class Grid:
    """How a layer's tokens lie in a view: `before` that are no part of it, rows x columns x bins, then others.

    A column of tokens stands for `scale` latent frames (of pictures: columns). shares: which part of each column's
    frames is real, where a network sees some that are not the view's; None: the view's own columns, all real.
    """

    scale: int
    rows: int = 1
    bins: int = 1
    before: int = 0
    shares: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where views of `view` latent frames start on a canvas of `width`, all multiples of every layer's scale."""

    starts: tuple[int, ...]
    view: int
    width: int

    @property
    def circular(self) -> bool:
        """Whether a view goes on past the canvas's end at its beginning."""
        return max(self.starts) + self.view > self.width

    def shares(self, grid: Grid) -> tuple[float, ...]:
        """What each of a view's columns counts."""
        return tuple(max(share, LEAST_SHARE) for share in grid.shares or (1.0,) * (self.view // grid.scale))

    def wide(self, grid: Grid) -> int:
        """Columns of tokens on the canvas; on a line as many as views see, on a circle as many as there are."""
        if self.circular:
            return self.width // grid.scale
        return max(self.starts) // grid.scale + len(self.shares(grid))

    def columns(self, grid: Grid, device: torch.device) -> Tensor:
        """[n * columns of a view]: the canvas's column of every view's every column."""
        own = torch.arange(len(self.shares(grid)), device=device)
        starts = torch.tensor(self.starts, device=device) // grid.scale
        return ((starts[:, None] + own) % self.wide(grid)).reshape(-1)


class MergedAttention(TorchFunctionMode):
    """While it is entered, views that are rows of one batch, in order, perhaps several times, attend as one canvas.

    grid: a layer's Grid from its number of queries. merge_self: whether self-attention is merged, or cross-attention's
    queries alone.
    """

    def __init__(self, place: Place, grid: Callable[[int], Grid], merge_self: bool) -> None:
        super().__init__()
        self.place, self.grid, self.merge_self = place, grid, merge_self

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Attention merged, everything else as it is."""
        told = dict(kwargs or {})
        if func is not scaled_dot_product_attention:
            return func(*args, **told)
        return self._attended(**dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)), **told)

    def _attended(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **beside: Any
    ) -> Tensor:
        """Attention [B, heads, N, D]."""
        grid, views = self.grid(query.shape[2]), len(self.place.starts)
        if crosses(query, key, views):
            mask = attn_mask if attn_mask is None or len(attn_mask) == 1 else attn_mask[::views]
            told = self._merged(query, grid), key[::views], value[::views]
        elif self.merge_self:
            mask = None if attn_mask is None else self._reaching(attn_mask, grid)
            told = self._merged(query, grid), self._merged(key, grid), self._merged(value, grid)
        else:
            return scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, **beside)
        return self._handed_back(scaled_dot_product_attention(*told, attn_mask=mask, **beside), grid, len(query))

    def _merged(self, values: Tensor, grid: Grid) -> Tensor:
        """[B, heads, N, D] of views to [B / n, heads, N', D] of the canvas, the mean where views overlap.

        Tokens that are no part of the views are averaged over all.
        """
        views, (batch, heads, _, depth) = len(self.place.starts), values.shape
        shares, wide, columns = self.place.shares(grid), self.place.wide(grid), self.place.columns(grid, values.device)
        split = (batch // views, views, heads)
        before, own, after = self._parted(values, grid, len(shares))
        own = own.reshape(*split, grid.rows, len(shares), grid.bins, depth).permute(0, 2, 3, 1, 4, 5, 6)
        weight = torch.tensor(shares * views, dtype=values.dtype, device=values.device)
        total = values.new_zeros(split[0], heads, grid.rows, wide, grid.bins, depth)
        total.index_add_(3, columns, own.flatten(3, 4) * weight[:, None, None])
        sums = weight.new_zeros(wide).index_add_(0, columns, weight)
        canvas = (total / sums[:, None, None]).reshape(split[0], heads, -1, depth)
        others = (part.reshape(*split, -1, depth).mean(dim=1) for part in (before, after))
        return torch.cat([next(others), canvas, next(others)], dim=2)

    def _handed_back(self, values: Tensor, grid: Grid, batch: int) -> Tensor:
        """[B / n, heads, N', D] of the canvas to [B, heads, N, D] of its views."""
        views, (groups, heads, _, depth) = len(self.place.starts), values.shape
        before, canvas, after = self._parted(values, grid, self.place.wide(grid))
        canvas = canvas.reshape(groups, heads, grid.rows, -1, grid.bins, depth)
        own = canvas[:, :, :, self.place.columns(grid, values.device)]
        own = own.reshape(groups, heads, grid.rows, views, -1, grid.bins, depth).permute(0, 3, 1, 2, 4, 5, 6)
        others = (part[:, None].expand(-1, views, -1, -1, -1) for part in (before, after))
        pieces = (next(others), own, next(others))
        return torch.cat([piece.reshape(batch, heads, -1, depth) for piece in pieces], dim=2)

    def _parted(self, values: Tensor, grid: Grid, columns: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens before, of and after so many columns."""
        count = grid.rows * columns * grid.bins
        sizes = [grid.before, count, values.shape[2] - grid.before - count]
        before, own, after = torch.split(values, sizes, dim=2)
        return before, own, after

    def _reaching(self, mask: Tensor, grid: Grid) -> Tensor:
        """A mask [1, 1, N, N] of self-attention for the canvas: it says how far tokens of one row see each other."""
        wide = self.place.wide(grid)
        column = torch.arange(wide, device=mask.device)
        apart = (column[:, None] - column).abs()
        if self.place.circular:
            apart = torch.minimum(apart, wide - apart)
        return mask[:, :, 0, apart.clamp(max=mask.shape[-1] - 1)]


def crosses(query: Tensor, key: Tensor, views: int) -> bool:
    """Whether attention is to a text, whose tokens are another number, or the same for all views."""
    if query.shape[2] != key.shape[2] or views == 1:
        return query.shape[2] != key.shape[2]
    first, second = key[::views], key[1::views]
    return bool((first - second).abs().mean() < ALIKE * first.abs().mean())


def require_eager(backend: Backend) -> None:
    """Raise UsageError for a compiled network, whose attention cannot be replaced."""
    if "compile" in backend.options or "cuda-graphs" in backend.options:
        raise UsageError("method mad does not take the backend option compile: it changes attention as it runs")
