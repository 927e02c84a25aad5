"""The toy model at a rate that sound files have, so that rendering is tested with an exact model and in no time."""

from __future__ import annotations

from dataclasses import replace

from tests.toy import FACTS, ToyDecoder, ToyModel


def audible() -> ToyModel:
    """16 kHz stereo; views of 0.8 s."""
    facts = replace(FACTS, sample_rate=16_000, samples_per_frame=320)
    return ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=320))
