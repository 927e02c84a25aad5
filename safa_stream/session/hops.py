"""How far a view goes: as far as its layout says, or so that what the next one adds begins on a line of the grid.

    view k    [ Left |        Mid        | Right ]
    view k+1              [ L . . f |        Mid        | R ]       f: from here on it is heard, on a line

A view may end early: its later frames are not made final, and the next view begins that much sooner, joined to the same
trajectory by as long an overlap as ever. It may not go further than the layout lets it, as then the overlap would be
shorter than the swap needs. So a hop lies between half the layout's and all of it. Where lines are further apart than
that, hops before them are made even, so that some of them end on every line.
"""

from __future__ import annotations

import math

from safa_stream.session.layer import Layer
from safa_stream.session.sound import Sound
from safa_stream.session.tempo import FREE, Grid

#: The shortest hop, as a share of the layout's: each view costs as much as any, however little of it is used.
SHORTEST = 0.5


def hop_of(grid: Grid, layer: Layer, base: Sound, hops: str, samples_per_frame: int) -> int:
    """Frames that the view after `base` adds."""
    layout, begins = layer.plan.layout, base.views.frame(layer.plan)
    if hops == FREE or layer.heard_from is None:
        return layout.hop
    # A new view is heard from where the schedule stops to leave its frames to the past.
    first = begins + math.floor(layout.overlap * layer.plan.schedule.kept)
    least, interval = math.ceil(SHORTEST * layout.hop), grid.interval(hops)

    def frame(line: float) -> int:
        return round((grid.sample(line) - base.origin) / samples_per_frame)

    line = grid.line(base.origin + (first + least) * samples_per_frame, hops)
    while frame(line + interval) - first <= layout.hop:
        line += interval
    ahead = frame(line) - first
    if least <= ahead <= layout.hop:
        return ahead
    return min(layout.hop, math.ceil(ahead / math.ceil(ahead / layout.hop)))
