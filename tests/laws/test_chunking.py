"""Law: decoded in chunks, a sound is the sound decoded whole, up to the rounding of sums in another order (1e-5)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safa_stream import decode
from tests.toy import ToyDecoder

LATENTS = np.random.default_rng(0).standard_normal((2, 64, 3)).astype(np.float32)


@given(st.lists(st.integers(0, 30), max_size=8), st.booleans(), st.integers(0, 4))
def test_any_cuts_give_the_same_sound(cuts: list[int], remembers: bool, halo: int) -> None:
    decoder = ToyDecoder(halo=halo, hiss=0.5, remembers=remembers)
    inner = decoder.start(9)
    _, at_once = decoder.decode(LATENTS, 0, 0, 0, 9, inner)
    state, at, pieces = decode.start(decoder, 9, 2, 3), 0, []
    for size in cuts:
        state, pcm = decode.push(decoder, state, LATENTS[:, at : at + size])
        pieces += [] if pcm is None else [pcm]
        at = min(64, at + size)
    if at < 64 or state.carried.shape[1] > state.before:
        _, pcm = decode.push(decoder, state, LATENTS[:, at:], final=True)
        assert pcm is not None
        pieces.append(pcm)
    assert np.allclose(np.concatenate(pieces, axis=1), at_once, atol=1e-4, rtol=1e-5)
