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

#: Columns of a row: by how much more a sound is guided, the noise levels from and up to which; the same for other
#: levels, and from and up to which these are; the share by which its change over time is taken back to the unguided
#: one's, what that is multiplied with, and by how much less than its root mean square a frame may depart at the most, 0
#: for no bound: so a mixture, which has the mean of its sounds' rows, is bounded less than they are.
EMPHASIS, LOW, HIGH, BEYOND, FIRST, LAST, STEADINESS, CONTRAST, BOUND = range(9)
Guiding = Mapping[str, Mapping[str, Any]]


def guiding_rows(labels: Sequence[str], levels: Sequence[float], guiding: Guiding) -> FloatArray:
    """One row [9] for each sound. levels: those that are guided at all; the fields of `guiding`: `emphasis` at `levels`
    (all of them), `beyond` (0) at the others, `steadiness` (0 to 1), `contrast`, and `limit` (none), above 1."""
    told = (guiding.get(label, {}) for label in labels)
    rows = [
        (
            each.get("emphasis", 1.0),
            *each.get("levels", levels),
            each.get("beyond", 0.0),
            *levels,
            each.get("steadiness", 0.0),
            each.get("contrast", 1.0),
            1.0 / each["limit"] if "limit" in each else 0.0,
        )
        for each in told
    ]
    return np.array(rows, np.float32).reshape(len(labels), BOUND + 1)


def guided(guidance: float, level: float, row: Sequence[float]) -> float:
    """Guidance g as it is carried out at a level: 1 + (g - 1) times the emphasis there, 1 where nothing is guided."""
    if row[LOW] <= level <= row[HIGH]:
        return 1.0 + (guidance - 1.0) * row[EMPHASIS]
    return 1.0 + (guidance - 1.0) * row[BEYOND] if row[FIRST] <= level <= row[LAST] else 1.0


def combined(told: Any, untold: Any, guidance: float, row: Sequence[float]) -> Any:
    """Guided clean latents [T, K], numpy's or torch's, from what the network makes of the prompt and without it (arXiv
    2207.12598), with their change over time as the row has it. A frame that departs from the mean by more than the
    row's limit is brought back to it, as dynamic thresholding does with values (arXiv 2205.11487)."""
    clean = untold + guidance * (told - untold)
    steadiness, contrast, bound = row[STEADINESS], row[CONTRAST], row[BOUND]
    if steadiness == 0.0 and contrast == 1.0 and bound == 0.0:
        return clean
    mean = clean.mean(0)
    change, own = clean - mean, told - told.mean(0)
    ratio = ((own**2).sum() / ((change**2).sum() + LEAST_CHANGE)) ** 0.5
    change = contrast * (1.0 - steadiness + steadiness * ratio) * change
    if bound > 0.0:
        power = (change**2).sum(1)
        change = (
            change * ((power.mean() + LEAST_CHANGE) / (bound**2 * power + LEAST_CHANGE)).clip(max=1.0)[:, None] ** 0.5
        )
    return mean + change


#: A sound that does not change at all stays as it is.
LEAST_CHANGE = 1e-9
