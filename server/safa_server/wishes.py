"""What the layers of all sessions want of the engine now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from safa_server.fairness import PATIENT_SECONDS
from safa_server.live import Live
from safa_server.pace import Pace
from safa_server.schedule import Need
from safa_stream.session.session import Session
from safa_stream.session.work import Work


@dataclass(frozen=True, slots=True)
class Wish:
    """A layer that wants a view; work: the one in the making, if there is one."""

    live: Live
    layer: int
    work: Work | None
    need: Need


def wishes_of(lives: Sequence[Live], pace: Pace) -> list[Wish]:
    """Of all layers that have too little ahead, or a view in the making."""
    now, wishes = time.perf_counter(), []
    for live in lives:
        thrown = live.account.left(now)
        with live.lock:
            if live.closed or live.failure is not None:
                continue
            wanting = set(live.session.wanting(live.lead_seconds))
            for number, layer in live.session.state.layers.items():
                if layer.work is not None or number in wanting:
                    wishes.append(Wish(live, number, layer.work, _need(live, number, pace, thrown)))
    return wishes


def _need(live: Live, number: int, pace: Pace, thrown: float) -> Need:
    session = live.session
    layer = session.state.layers[number]
    steps, rows = _left(session, number, live.groups)
    lead = layer.lead(session.position) / session.rate
    return Need(
        deadline=lead + thrown,
        work=pace.left(steps, rows, live.groups),
        heard=layer.heard_from is not None,
        waits=session.is_waiting(number) and thrown <= PATIENT_SECONDS,
        live=live.urgent,
        steps=steps,
        rows=rows,
    )


def _left(session: Session, number: int, groups: int) -> tuple[int, int]:
    """Solver steps and rows of a layer's view, as far as they are known."""
    work = session.state.layers[number].work
    if work is None:
        return session.wanted_steps(number), groups
    return work.making.steps - work.view.index, work.view.rows
