"""The denoisers of the built-in model in torch: a transformer over latent frames and a convolutional U-Net.

Both predict the clean latents from noisy ones: (noisy [B, T, K], noise level [B], condition [B, D], context [B, T, K],
known [B, T]) -> clean [B, T, K]. `context` holds finished latents where `known` is 1 (the past that a live view
continues, or both sides of a gap) and zeros elsewhere; `valid` [B, T] masks padding in training.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of a denoiser. kind: "dit" (transformer over patches of latent frames) or "unet" (1-D convolutions)."""

    kind: str = "dit"
    latent_size: int = 80
    patch: int = 2
    width: int = 256
    depth: int = 8
    heads: int = 4
    expansion: int = 3
    condition_size: int = 256

    def as_dict(self) -> dict[str, str | int]:
        """For the model's configuration file."""
        return asdict(self)


def level_embedding(level: Tensor, size: int) -> Tensor:
    """Sinusoidal features [B, size] of a noise level in 0..1."""
    frequency = torch.exp(torch.arange(size // 2, device=level.device) * (-math.log(1000.0) / (size // 2)))
    angle = level[:, None] * 1000.0 * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def rotary_table(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, size/2] of rotary position embedding (Su et al. 2021), base 500."""
    frequency = 500.0 ** (-torch.arange(size // 2) / (size // 2))
    angle = torch.arange(length)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the two halves of the last axis of x [B, H, T, S] by the position's angles."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive layer norm's affine part (Peebles and Xie 2023)."""
    return x * (1.0 + scale[:, None]) + shift[:, None]


class Precondition(nn.Module):
    """The best linear estimate of the clean latents as a skip, scaled so that the network fits targets of unit size.

    Per latent component with standard deviation s and noisy = (1 - t) clean + t noise (the design of Karras et al.
    2022, equation 7, for this schedule and a spread of its own for each component):
    clean = skip * noisy + out * F(into * noisy).
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.spread = nn.Buffer(torch.ones(latent_size))

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise level [B] to (into, skip, out), each [B, 1, K]."""
        t = level[:, None, None]
        into = torch.rsqrt(((1.0 - t) * self.spread) ** 2 + t**2)
        return into, (1.0 - t) * self.spread**2 * into**2, t * self.spread * into


class Refinement(nn.Module):
    """Two convolutions over frames that undo the steps between patches, which a linear output layer leaves."""

    def __init__(self, latent_size: int, width: int = 96) -> None:
        super().__init__()
        self.first = nn.Conv1d(2 * latent_size, width, 5, padding=2)
        self.second = nn.Conv1d(width, latent_size, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, residual: Tensor, noisy: Tensor) -> Tensor:
        """The network's residual and its scaled input [B, T, K] to a better residual."""
        told = torch.cat([residual, noisy], dim=-1).transpose(1, 2)
        changed: Tensor = self.second(F.gelu(self.first(told), approximate="tanh"))
        return residual + changed.transpose(1, 2)


class NeighbourMix(nn.Module):
    """A depthwise convolution over time as shifted sums: cheap on a CPU, exported as slices. Starts as identity."""

    def __init__(self, width: int, reach: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.taps = nn.Parameter(torch.zeros(2 * reach + 1, width))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        padded = F.pad(x, (0, 0, self.reach, self.reach))
        out = x
        for index in range(2 * self.reach + 1):
            out = out + padded[:, index : index + length] * self.taps[index].to(x.dtype)
        return out


class Block(nn.Module):
    """Pre-norm transformer block: neighbour mixing, rotary attention, GELU layer; modulated by level and prompt."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.mix = NeighbourMix(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, config.expansion * width)
        self.down = nn.Linear(config.expansion * width, width, bias=False)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, signal: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(signal).chunk(6, dim=-1)
        width = x.shape[-1]
        h = self.mix(modulate(F.layer_norm(x, (width,)), shift1, scale1))
        batch, length = h.shape[0], h.shape[1]
        q, k, v = (
            part.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.query_key_value(h).chunk(3, dim=-1)
        )
        q, k = (rotate(F.rms_norm(part.float(), (part.shape[-1],)), cos, sin).to(v.dtype) for part in (q, k))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + gate1[:, None] * self.out(attended.transpose(1, 2).reshape(batch, length, width))
        h = modulate(F.layer_norm(x, (width,)), shift2, scale2)
        changed: Tensor = x + gate2[:, None] * self.down(F.gelu(self.up(h), approximate="tanh"))
        return changed


class DiT(nn.Module):
    """Diffusion transformer (Peebles and Xie 2023) whose token is `patch` latent frames, all frequencies of them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.precondition = Precondition(config.latent_size)
        self.input = nn.Linear(config.patch * (2 * config.latent_size + 1), width)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(config.condition_size, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, config.patch * config.latent_size)
        self.refine = Refinement(config.latent_size)
        for layer in (self.final_modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        noisy: Tensor,
        level: Tensor,
        condition: Tensor,
        context: Tensor,
        known: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        width, patch = self.config.width, self.config.patch
        batch, frames, size = noisy.shape
        length = frames // patch
        signal = F.silu(self.level(level_embedding(level, width)) + self.condition(condition))
        into, skip, out = self.precondition(level)
        told = torch.cat([noisy * into, context, known[..., None]], dim=-1)
        x = self.input(told.reshape(batch, length, patch * (2 * size + 1)))
        cos, sin = (table.to(x.device) for table in rotary_table(length, width // self.config.heads))
        bias = None if valid is None else valid[:, None, None, ::patch] > 0
        for block in self.blocks:
            x = block(x, signal, cos, sin, bias)
        shift, scale = self.final_modulation(signal).chunk(2, dim=-1)
        residual = self.output(modulate(F.layer_norm(x, (width,)), shift, scale)).float()
        residual = self.refine(residual.reshape(batch, frames, size), noisy * into).float()
        clean: Tensor = skip * noisy + out * residual
        return clean


class Residual(nn.Module):
    """Two modulated convolutions over time [B, W, T]."""

    def __init__(self, width: int, signal_size: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.modulation = nn.Linear(signal_size, 2 * width)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        shift, scale = self.modulation(signal).chunk(2, dim=-1)
        h = F.group_norm(x, 8) * (1.0 + scale[..., None]) + shift[..., None]
        h = self.first(F.silu(h))
        changed: Tensor = self.second(F.silu(F.group_norm(h, 8)))
        return x + changed


class Attention(nn.Module):
    """Self-attention over time [B, W, T] without positions (the convolutions around it know where they are)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, length = x.shape
        h = F.group_norm(x, 8).transpose(1, 2)
        q, k, v = (
            part.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.query_key_value(h).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        changed: Tensor = self.out(attended)
        return x + changed.transpose(1, 2)


class Stage(nn.Module):
    """The U-Net's residual units at one resolution, one after the other."""

    def __init__(self, width: int, signal_size: int, units: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(Residual(width, signal_size) for _ in range(units))

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x, signal)
        return x


class UNet(nn.Module):
    """U-Net over time at three resolutions; a stage has a quarter of `depth` residual units, at least one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width, signal = config.width, config.width
        widths = (width, width * 3 // 2, width * 2)
        units = max(1, config.depth // 4)
        self.precondition = Precondition(config.latent_size)
        self.input = nn.Conv1d(2 * config.latent_size + 1, width, 3, padding=1)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(config.condition_size, width)
        self.down = nn.ModuleList(Stage(w, signal, units) for w in widths)
        self.shrink = nn.ModuleList(
            nn.Conv1d(a, b, 4, stride=2, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.middle = Attention(widths[-1], config.heads)
        self.grow = nn.ModuleList(nn.Conv1d(b, a, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False))
        self.join = nn.ModuleList(nn.Conv1d(2 * w, w, 1) for w in widths[:-1])
        self.up = nn.ModuleList(Stage(w, signal, units) for w in widths)
        self.output = nn.Conv1d(width, config.latent_size, 3, padding=1)
        nn.init.zeros_(self.output.weight)

    def forward(
        self,
        noisy: Tensor,
        level: Tensor,
        condition: Tensor,
        context: Tensor,
        known: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        signal = F.silu(self.level(level_embedding(level, self.config.width)) + self.condition(condition))
        into, skip, out = self.precondition(level)
        x = self.input(torch.cat([noisy * into, context, known[..., None]], dim=-1).transpose(1, 2))
        kept = []
        for stage, units in enumerate(self.down):
            x = units(x, signal)
            if stage < len(self.shrink):
                kept.append(x)
                x = self.shrink[stage](x)
        x = self.middle(x)
        for stage in reversed(range(len(self.up))):
            x = self.up[stage](x, signal)
            if stage:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
                x = self.join[stage - 1](torch.cat([self.grow[stage - 1](x), kept[stage - 1]], dim=1))
        residual = self.output(F.silu(F.group_norm(x, 8))).transpose(1, 2).float()
        clean: Tensor = skip * noisy + out * residual
        return clean


def build(config: NetworkConfig) -> DiT | UNet:
    """The network that `config` describes."""
    return DiT(config) if config.kind == "dit" else UNet(config)


class ConditionEncoder(nn.Module):
    """Sound and style to one vector: sum over a scene's components of weight x mlp(sound embedding, style).

    A style [B, J, S] says what kind of recording (spectrum, liveliness, level of slow changes); `styled` [B, J] is 0
    where none is given. Row sums of `weights` [B, J] are 1; an unconditional row is `null`.
    """

    def __init__(self, labels: int, style_size: int, condition_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(labels, condition_size)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.null = nn.Parameter(torch.zeros(condition_size))
        self.first = nn.Linear(condition_size + style_size + 1, 2 * condition_size)
        self.second = nn.Linear(2 * condition_size, condition_size)

    def forward(self, sounds: Tensor, styles: Tensor, styled: Tensor, weights: Tensor) -> Tensor:
        """sounds [B, J, labels] (rows of probabilities) to conditions [B, D]."""
        mixed = sounds @ self.embedding.weight
        features = torch.cat([mixed, styles * styled[..., None], styled[..., None]], dim=-1)
        each = mixed + self.second(F.silu(self.first(features)))
        scene: Tensor = (each * weights[..., None]).sum(1)
        return scene
