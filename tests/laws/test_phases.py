"""Law: joins commute with whatever is done to each frame's latents alone, up to rounding (1e-5).

So latents whose phases turn from frame to frame, as a waveform's do, are joined as those are that do not turn, such as
a spectrogram's: what differs between the two is the network and the decoder, not the join.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from safa_stream.operators import average, blend, reference_swap, self_loop_swap, triangular
from safa_stream.types import Array
from tests.toy import World

CHANNELS, FRAMES = 6, 12
JOINS: dict[str, Callable[[Array, Array], Array]] = {
    "self-loop": self_loop_swap,
    "self-loop, 3 frames": partial(self_loop_swap, interval=3),
    "reference": reference_swap,
    "average": average,
    "triangular": triangular,
    "shares": partial(blend, share=np.linspace(0, 1, FRAMES)),
}


@pytest.mark.parametrize("name", JOINS)
def test_frames_may_be_turned_before_or_after(world: World, name: str) -> None:
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((2, CHANNELS, FRAMES, 1)).astype(np.float32)
    turns = np.linalg.qr(draw.standard_normal((FRAMES, CHANNELS, CHANNELS)))[0].astype(np.float32)

    def turned(latents: Array) -> Array:
        return np.einsum("tij,jtf->itf", turns, latents)

    def joined(left: Array, right: Array) -> Array:
        return world.to_numpy(JOINS[name](world.from_numpy(left), world.from_numpy(right)))

    assert np.allclose(joined(turned(a), turned(b)), turned(joined(a, b)), atol=1e-5)
