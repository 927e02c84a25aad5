"""How sounds are guided: some need more than is asked for to be told from others, or only while much noise is left.

Guidance at a limited interval of noise levels: arXiv 2404.07724.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from safa_stream.types import FloatArray

#: Columns of a row: by how much more a sound is guided, and the noise levels from and up to which.
EMPHASIS, LOW, HIGH = range(3)
Guiding = Mapping[str, Mapping[str, Any]]


def guiding_rows(labels: Sequence[str], levels: Sequence[float], guiding: Guiding) -> FloatArray:
    """One row [3] for each sound. levels: of sounds that `guiding` gives none; its fields: `emphasis`, `levels`."""
    told = (guiding.get(label, {}) for label in labels)
    rows = [(each.get("emphasis", 1.0), *each.get("levels", levels)) for each in told]
    return np.array(rows, np.float32).reshape(len(labels), 3)


def guided(guidance: float, level: float, row: Sequence[float]) -> float:
    """Guidance as it is carried out at a level: 1 + (g - 1) times the emphasis, and 1 outside the row's levels."""
    return 1.0 + (guidance - 1.0) * row[EMPHASIS] if row[LOW] <= level <= row[HIGH] else 1.0
