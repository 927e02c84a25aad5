"""A small exact model at 48 kHz whose sound is what its latents are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safa_stream.evaluation.paper.experiment import Setup
from tests.toy import FACTS, ToyDecoder, ToyModel


@pytest.fixture(scope="session")
def toy() -> ToyModel:
    facts = replace(FACTS, sample_rate=48_000, samples_per_frame=1920)
    return ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=1920))


@pytest.fixture(scope="session")
def setup() -> Setup:
    return Setup(("low", "high"), (0,), steps=4)
