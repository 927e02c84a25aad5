"""How sounds are guided: some need more than is asked for to be told from others, or only while much noise is left.

Guidance at a limited interval of noise levels: arXiv 2404.07724. Guidance also makes a sound change more over time than
anything that the network has heard, as it oversaturates pictures; there the standard deviation is taken back to the
unguided one's (arXiv 2305.08891), here the change over time alone, so that a sound keeps the colour it was guided to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from safa_stream.types import FloatArray

#: Columns of a row: by how much more a sound is guided, the noise levels from and up to which, the share by which its
#: change over time is taken back to the unguided one's, and what that is multiplied with.
EMPHASIS, LOW, HIGH, STEADINESS, CONTRAST = range(5)
Guiding = Mapping[str, Mapping[str, Any]]


def guiding_rows(labels: Sequence[str], levels: Sequence[float], guiding: Guiding) -> FloatArray:
    """One row [5] for each sound. levels: of sounds that `guiding` gives none; its fields: `emphasis`, `levels`,
    `steadiness` (0 to 1) and `contrast`."""
    told = (guiding.get(label, {}) for label in labels)
    rows = [
        (
            each.get("emphasis", 1.0),
            *each.get("levels", levels),
            each.get("steadiness", 0.0),
            each.get("contrast", 1.0),
        )
        for each in told
    ]
    return np.array(rows, np.float32).reshape(len(labels), 5)


def guided(guidance: float, level: float, row: Sequence[float]) -> float:
    """Guidance as it is carried out at a level: 1 + (g - 1) times the emphasis, and 1 outside the row's levels."""
    return 1.0 + (guidance - 1.0) * row[EMPHASIS] if row[LOW] <= level <= row[HIGH] else 1.0


def combined(told: Any, untold: Any, guidance: float, row: Sequence[float]) -> Any:
    """Guided clean latents [T, K], numpy's or torch's, from what the network makes of the prompt and without it (arXiv
    2207.12598), with their change over time as the row has it."""
    clean = untold + guidance * (told - untold)
    steadiness, contrast = row[STEADINESS], row[CONTRAST]
    if steadiness == 0.0 and contrast == 1.0:
        return clean
    mean = clean.mean(0)
    change, own = clean - mean, told - told.mean(0)
    ratio = ((own**2).sum() / ((change**2).sum() + LEAST_CHANGE)) ** 0.5
    return mean + contrast * (1.0 - steadiness + steadiness * ratio) * change


#: A sound that does not change at all stays as it is.
LEAST_CHANGE = 1e-9
