from __future__ import annotations

import numpy as np
import pytest

from safa_stream import decode
from safa_stream.errors import SnapshotError
from safa_stream.layout import ViewLayout
from tests.toy import ToyDecoder

LATENTS = np.random.default_rng(0).standard_normal((2, 90, 3)).astype(np.float32)
RATE = ToyDecoder().samples_per_frame


def test_what_is_certain_comes_at_once_and_the_halo_waits() -> None:
    decoder = ToyDecoder()
    state = decode.start(decoder, 0, 2, 3)
    state, pcm = decode.push(decoder, state, LATENTS[:, :2])
    assert pcm is None
    state, pcm = decode.push(decoder, state, LATENTS[:, 2:10])
    assert pcm is not None and pcm.shape == (2, 7 * RATE)
    state, pcm = decode.push(decoder, state, LATENTS[:, 10:11], final=True)
    assert pcm is not None and pcm.shape == (2, 4 * RATE)


def test_carried_context_does_not_grow() -> None:
    decoder = ToyDecoder()
    state = decode.start(decoder, 0, 2, 3)
    for _ in range(20):
        state, _ = decode.push(decoder, state, LATENTS[:, :9])
        assert state.carried.shape[1] <= 2 * decoder.halo
    assert state.emitted == 20 * 9 - decoder.halo


def test_long_canvases_are_decoded_in_pieces_as_if_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = ToyDecoder(hiss=0.3, remembers=True)
    at_once = decode.decode_whole(decoder, LATENTS, 4)
    monkeypatch.setattr(decode, "PIECE", 17)
    assert np.allclose(decode.decode_whole(decoder, LATENTS, 4), at_once, atol=1e-5)


def test_a_decoder_without_halo_and_windows_shorter_than_it_work() -> None:
    plain = ToyDecoder(halo=0)
    assert decode.decode_whole(plain, LATENTS, 0).shape == (2, 90 * RATE)
    assert decode.decode_whole(ToyDecoder(), LATENTS[:, :1], 0).shape == (2, RATE)
    assert decode.decode_circular(ToyDecoder(), LATENTS[:, :2], 0).shape == (2, 2 * RATE)


def test_a_deterministic_decoder_goes_round_a_circle_exactly() -> None:
    decoder = ToyDecoder()
    thrice = decode.decode_whole(decoder, np.concatenate([LATENTS] * 3, axis=1), 0)
    loop = decode.decode_circular(decoder, LATENTS, 0)
    assert np.allclose(loop, thrice[:, 90 * RATE : 180 * RATE], atol=1e-4)


def test_the_fade_keeps_power_for_strangers_and_is_nothing_for_twins() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 4000)).astype(np.float32)
    faded = decode.crossfade(a, b, decode.likeness(a, b))
    power = (faded**2).reshape(2, 8, 500).mean((0, 2))
    assert np.allclose(power, 1, atol=0.15)
    assert np.allclose(decode.crossfade(a, a, decode.likeness(a, a)), a, atol=1e-5)
    assert decode.likeness(a, -a) == 0 and decode.likeness(a, 0 * a) == 0


@pytest.mark.parametrize("circular", [False, True])
def test_views_laid_out_keep_their_power_everywhere(circular: bool) -> None:
    layout = ViewLayout(40, 8)
    spans = layout.circular_spans(20) if circular else layout.linear_spans(20 * 32 + 8)
    width = 640 if circular else 648
    rng = np.random.default_rng(0)
    pieces = [rng.standard_normal((2, 40 * 50)).astype(np.float32) for _ in spans]
    out = decode.lay_out(pieces, spans, width, 50, circular)
    assert out.shape == (2, width * 50)
    assert np.allclose((out[:, : 640 * 50] ** 2).reshape(2, 20, 32, 50).mean((0, 1, 3)), 1, atol=0.15)
    if not circular:
        assert np.array_equal(out[:, : 32 * 50], pieces[0][:, : 32 * 50])


def test_a_saved_state_of_another_decoder_is_refused() -> None:
    state = decode.start(ToyDecoder(), 0, 2, 3)
    with pytest.raises(SnapshotError, match="decode/inner/frames"):
        decode.DecodeState.from_tensors(state.to_tensors(), ToyDecoder(remembers=True), 0)
