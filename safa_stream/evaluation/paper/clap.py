"""CLAP (arXiv 2211.06687) through transformers: words and sounds as directions in one space."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import soxr

from safa_stream.errors import UsageError
from safa_stream.evaluation import spectra
from safa_stream.models.builtin.features import SAMPLE_RATE, Array


class Clap:
    """A CLAP model from a local folder, or from the hub by its id."""

    def __init__(self, name: str) -> None:
        """Load it; weights from safetensors only.

        Raises:
            UsageError: transformers or torch is missing, or there is no such model.
        """
        try:
            transformers: Any = importlib.import_module("transformers")
            self._torch: Any = importlib.import_module("torch")
        except ImportError as error:
            raise UsageError('--clap needs transformers: pip install "safa-stream[torch]"') from error
        try:
            self._model: Any = transformers.ClapModel.from_pretrained(name, use_safetensors=True).eval()
            self._processor: Any = transformers.ClapProcessor.from_pretrained(name)
        except (OSError, ValueError, RuntimeError) as error:
            said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UsageError(f"no CLAP model can be loaded from {name!r}: {said}") from error
        self._rate = int(self._processor.feature_extractor.sampling_rate)
        self.name = name.rstrip("/").split("/")[-1]

    def words(self, text: str) -> Array:
        """The direction [D] of a text."""
        given = self._processor.tokenizer([text], return_tensors="pt")
        with self._torch.no_grad():
            told = self._model.get_text_features(given["input_ids"], given["attention_mask"])
        return np.asarray(told.pooler_output[0].numpy(), np.float32)

    def sounds(self, pieces: tuple[Array, ...]) -> Array:
        """The directions [n, D] of pieces [channels, N] at 48 kHz."""
        rows = []
        for piece in pieces:
            mono = soxr.resample(spectra.mono(piece), SAMPLE_RATE, self._rate)
            # The extractor takes a random stretch of a long sound from numpy's global state; pieces that fit are whole.
            whole = mono[: self._processor.feature_extractor.nb_max_samples]
            given = self._processor.feature_extractor(whole, sampling_rate=self._rate, return_tensors="pt")
            with self._torch.no_grad():
                heard = self._model.get_audio_features(given["input_features"], is_longer=given.get("is_longer"))
            rows.append(heard.pooler_output[0].numpy())
        return np.stack(rows).astype(np.float32)
