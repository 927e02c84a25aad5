"""The plugin's parameters, in its order; examples/plugin/parameters.hpp is the same in C++, a test compares them."""

from __future__ import annotations

from collections.abc import Mapping

SLOTS, LAYERS = 6, 4

#: Each parameter's value where the host has set none.
USUAL: Mapping[str, float] = {
    "dry": 1.0,
    "wet": 1.0,
    "gain": 0.0,
    **{f"weight_{slot}": float(slot == 1) for slot in range(1, SLOTS + 1)},
    "xy": 0.0,
    "x": 0.5,
    "y": 0.5,
    "morph": 4.0,
    "guidance": 0.0,
    "freeze": 0.0,
    "now": 0.0,
    "seed": 0.0,
    **{f"layer_{layer}": 0.0 for layer in range(1, LAYERS + 1)},
    "follow": 0.0,
    "wait": 0.0,
    "buffer": 200.0,
    "number": 1.0,
}
NAMES = tuple(USUAL)
BLENDING = (*(f"weight_{slot}" for slot in range(1, SLOTS + 1)), "xy", "x", "y")
#: A gain so low is silence.
LOWEST_GAIN = -60.0

Values = Mapping[str, float]


def differs(one: float, other: float) -> bool:
    """Whether a host meant another value: what it keeps comes back rounded."""
    return abs(one - other) > 1e-3
