"""FIFO-Diffusion's queue (arXiv 2405.11473): frames at rising noise levels, all one step further a pass, one end given.

                    given <- [ block 0 | block 1 | ... | block S-1 ] <- noise
    steps that are done         S-1       S-2               0

A queue there has a noise level a frame. This project's networks are told one level a row, so the queue is partitioned:
a block of frames shares its level, there are as many blocks as steps, and every block is a row of a pass: a window
around it, told its level, of which only its own frames are kept. What else the window shows stands at other levels,
which no network of one level has been trained on. `ahead` is look-ahead denoising: windows end with their block, so
what they show besides is cleaner, never noisier. `levelled` then re-noises that to the block's level, so that a window
is just what the network knows, at the price of hiding how much of it is done.

The first block is as long as a view: it needs nothing beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import array_api_compat

from safa_stream.evaluation.continuation.ground import Ground
from safa_stream.models.interface import Encoded
from safa_stream.solvers import step
from safa_stream.types import Array


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Frames `first` .. stop - 1 after `done` steps: states and history [C, n, F]."""

    first: int
    x: Array
    h: Array
    done: int = 0

    @property
    def stop(self) -> int:
        return self.first + int(self.x.shape[1])


@dataclass(slots=True, eq=False)
class Queue:
    """The queue: `size` frames a block; `blocks` from the cleanest on, `past` what was given last, [C, <= L, F]."""

    ground: Ground
    size: int
    ahead: bool = False
    levelled: bool = False
    passes: int = 0
    blocks: tuple[Block, ...] = ()
    past: Array | None = None
    given: int = 0

    def advance(self, told: Encoded) -> Array:
        """The next block: one pass, the first time as many as the sampler has steps."""
        steps = self.ground.table.steps
        while True:
            self.blocks = (*self.blocks, self._noise_block())
            self.blocks = self._passed(told)
            self.passes += 1
            if self.blocks[0].done == steps:
                break
        head, self.blocks = self.blocks[0], self.blocks[1:]
        xp = array_api_compat.array_namespace(head.x)
        line = head.x if self.past is None else xp.concat([self.past, head.x], axis=1)
        self.past, self.given = line[:, -self.ground.layout.view :] + 0.0, head.stop
        return head.x

    def flush(self) -> Array:
        """Nothing that is finished is held back."""
        assert self.past is not None
        return self.past[:, :0]

    @property
    def begun(self) -> int:
        return self.blocks[-1].stop - self.given if self.blocks else 0

    @property
    def held(self) -> Sequence[Array]:
        past = [] if self.past is None else [self.past]
        return past + [values for block in self.blocks for values in (block.x, block.h)]

    def _noise_block(self) -> Block:
        first = self.blocks[-1].stop if self.blocks else self.given
        size = self.size if first else self.ground.layout.view
        x = self.ground.noise("view", first, size)
        return Block(first, x, x * 0.0)

    def _passed(self, told: Encoded) -> tuple[Block, ...]:
        """All blocks one step further."""
        ground, view = self.ground, self.ground.layout.view
        starts = [self._start(block) for block in self.blocks]
        rows = [self._window(block, start) for block, start in zip(self.blocks, starts, strict=True)]
        xp = array_api_compat.array_namespace(rows[0])
        m = ground.denoise(xp.stack(rows), [block.done for block in self.blocks], told)
        out = []
        for row, (block, start) in enumerate(zip(self.blocks, starts, strict=True)):
            own = m[row : row + 1, :, block.first - start : block.stop - start]
            assert own.shape[2] == block.x.shape[1] <= view
            x, clean = step(ground.table.row(block.done), block.x[None], own, block.h[None])
            out.append(replace(block, x=x[0], h=clean[0], done=block.done + 1))
        return tuple(out)

    def _start(self, block: Block) -> int:
        """Where the block's window begins."""
        view = self.ground.layout.view
        size = block.stop - block.first
        return block.stop - view if self.ahead else max(0, block.first - (view - size) // 2)

    def _window(self, block: Block, start: int) -> Array:
        """[C, L, F]: the block with what stands around it, of the past, the queue and the noise that is not begun."""
        ground, stop, parts = self.ground, start + self.ground.layout.view, []
        xp = array_api_compat.array_namespace(block.x)
        lines = [] if self.past is None else [(self.given - int(self.past.shape[1]), self.past, ground.table.steps)]
        lines += [(other.first, other.x, other.done) for other in self.blocks]
        for first, x, done in lines:
            low, high = max(first, start), min(first + int(x.shape[1]), stop)
            if low >= high:
                continue
            part = x[:, low - first : high - first]
            if self.levelled and done > block.done:
                part = ground.renoised(part, done, block.done, f"level {self.passes} {block.first}", low)
            parts.append(part)
        last = self.blocks[-1].stop
        if stop > last:
            parts.append(ground.noise("view", last, stop - last))
        return xp.concat(parts, axis=1)
