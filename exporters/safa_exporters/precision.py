"""The precisions that graphs are exported in, and what an exported graph may differ by from its original.

Tolerances are named here and nowhere else. A graph's error is the largest over shapes and steps of
norm(exported - original) / norm(original). The sound's is the same of its log-mel picture, for a whole trajectory run
freely: small errors of every step are carried on by the next.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerance:
    """graph: relative error of one call; log_mel: relative error of the sound's log-mel after a whole trajectory."""

    graph: float
    log_mel: float


TOLERANCES = {
    "fp32": Tolerance(graph=1e-5, log_mel=1e-3),
    "fp16": Tolerance(graph=1e-2, log_mel=1e-2),
    "bf16": Tolerance(graph=5e-2, log_mel=3e-2),
    "int8": Tolerance(graph=5e-2, log_mel=3e-2),
}
PRECISIONS = tuple(TOLERANCES)
