"""Merge-Attend-Diffuse (MAD, arXiv 2408.15660): views attend to each other, as one picture, in the attention layers.

The queries, keys and values of all views are averaged where the views overlap, self-attention runs over the whole
canvas, and its output is handed back to the views. In cross-attention the queries are merged so. Every layer of a
network comes by torch's scaled dot-product attention, so it is replaced there, in a U-Net and in a transformer alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, slots=True)
class Grid:
    """How a layer's tokens lie in a view: `scale` latents a token in both directions, `rows` of tokens, then others."""

    scale: int
    rows: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where views of `view` latent columns start on a canvas of `width`, all multiples of every layer's scale."""

    starts: tuple[int, ...]
    view: int
    width: int

    def columns(self, scale: int, device: torch.device) -> Tensor:
        """[n * view / scale]: the canvas column of every view's every column of tokens, on a circle round it."""
        own = torch.arange(self.view // scale, device=device)
        starts = torch.tensor(self.starts, device=device) // scale
        return ((starts[:, None] + own) % (self.width // scale)).reshape(-1)


class MergedAttention(TorchFunctionMode):
    """While it is entered, views that are rows of one batch, in order, perhaps several times, attend as one picture.

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
        named = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | told
        query, key, value = (named.pop(name) for name in ("query", "key", "value"))
        attend = partial(_attend, named)
        if query.shape[2] != key.shape[2]:
            return self._crossed(query, key, value, attend)
        return self._joined(query, key, value, attend) if self.merge_self else attend(query, key, value)

    def _joined(self, query: Tensor, key: Tensor, value: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        """Self-attention [B, heads, N, D] over the canvas; tokens that are no part of it are averaged."""
        grid = self.grid(query.shape[2])
        out = attend(*(self._merged(values, grid) for values in (query, key, value)))
        return self._handed_back(out, grid, query.shape[0])

    def _crossed(self, query: Tensor, key: Tensor, value: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        """Attention to a text, which is the same for all views."""
        grid, views = self.grid(query.shape[2]), len(self.place.starts)
        out = attend(self._merged(query, grid), key[::views], value[::views])
        return self._handed_back(out, grid, query.shape[0])

    def _merged(self, values: Tensor, grid: Grid) -> Tensor:
        """[B, heads, N, D] of views to [B / n, heads, N', D] of the canvas, the mean where views overlap."""
        views, (batch, heads, _, depth) = len(self.place.starts), values.shape
        groups = batch // views
        own = values[:, :, : grid.tokens].reshape(groups, views, heads, grid.rows, -1, depth)
        columns = self.place.columns(grid.scale, values.device)
        total = values.new_zeros(groups, heads, grid.rows, self.place.width // grid.scale, depth)
        total.index_add_(3, columns, own.permute(0, 2, 3, 1, 4, 5).reshape(groups, heads, grid.rows, -1, depth))
        shares = torch.bincount(columns, minlength=total.shape[3]).clamp(min=1).to(values.dtype)
        canvas = (total / shares[:, None]).reshape(groups, heads, -1, depth)
        others = values[:, :, grid.tokens :].reshape(groups, views, heads, -1, depth).mean(dim=1)
        return torch.cat([canvas, others], dim=2)

    def _handed_back(self, values: Tensor, grid: Grid, batch: int) -> Tensor:
        """[B / n, heads, N', D] of the canvas to [B, heads, N, D] of its views."""
        views, (groups, heads, _, depth) = len(self.place.starts), values.shape
        width = self.place.width // grid.scale
        canvas = values[:, :, : grid.rows * width].reshape(groups, heads, grid.rows, width, depth)
        own = canvas[:, :, :, self.place.columns(grid.scale, values.device)]
        own = own.reshape(groups, heads, grid.rows, views, -1, depth).permute(0, 3, 1, 2, 4, 5)
        others = values[:, None, :, grid.rows * width :].expand(groups, views, heads, -1, depth)
        pieces = [own.reshape(batch, heads, -1, depth), others.reshape(batch, heads, -1, depth)]
        return torch.cat(pieces, dim=2)


def _attend(beside: Mapping[str, Any], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, **beside)
