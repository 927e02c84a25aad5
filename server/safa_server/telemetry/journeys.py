"""From facts to spans: which view answers which command, which block carries it first, and when that was written.

    command ─── view ─┬─ waiting      from the command to the view's first step
       │              ├─ steps        noise levels, and the rows of the batch that each step shared
       │              ├─ decode
       │              └─ block ─ write        until the first block that carries it left; encoded and on the sockets
       └─────── block ─ write                 where no view is needed: gains, pans, ramps

A view that nobody asked for begins a trace of its own, with a link to the command that its layer was last told by. One
that answers several commands is in the trace of the last that did not wait, and has links to the others, whose traces
go on with their block. What a view was to answer that was thrown away is answered by the one in its place. Pure but for
the tracer.
"""

from __future__ import annotations

import time
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from safa_server.live import Live
from safa_server.telemetry import facts
from safa_server.telemetry.journey import (
    OF_BLOCKS,
    OF_VIEWS,
    Asked,
    Due,
    Journey,
    Making,
    answered,
    ask_again,
    main_of,
)
from safa_server.telemetry.traceparent import Traceparent
from safa_stream.session.work import Work


class Journeys:
    """Takes facts in the order that they happened; gives spans to a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._of: dict[Live, Journey] = {}
        # Taken anew whenever a trace begins: over weeks the clock on the wall is set, and the other one is not.
        self._wall = _wall()

    def take(self, fact: facts.Fact) -> None:
        """One fact."""
        match fact:
            case facts.Stepped():
                self._stepped(fact)
            case facts.Closed():
                self._of.pop(fact.live, None)
            case facts.Opened():
                self._opened(fact, self._journey(fact.live))
            case facts.Took():
                self._took(fact, self._journey(fact.live))
            case facts.Began():
                journey = self._journey(fact.live)
                asked = answered(journey, fact.work, fact.told)
                journey.making[fact.work] = Making(fact.at, asked, fact.told)
            case facts.Decoded():
                self._decoded(fact, self._journey(fact.live))
            case facts.GaveUp():
                self._gave_up(fact, self._journey(fact.live))
            case facts.Left():
                self._left(fact, self._journey(fact.live))
            case facts.Wrote():
                self._wrote(fact, self._journey(fact.live))

    # What is asked -------------------------------------------------------------------------------------------------

    def _opened(self, fact: facts.Opened, journey: Journey) -> None:
        span = self._asked("open", fact.live, fact.at, fact.origin.received_ns, fact.origin.parent, fact.origin.door)
        journey.asked.append(Asked(span, fact.at, set(fact.layers)))

    def _took(self, fact: facts.Took, journey: Journey) -> None:
        origin, command = fact.origin, fact.command
        received, parent, door = fact.at, None, ""
        if origin is not None:
            received, parent, door = origin.received_ns, origin.parent, origin.door
        more = {"safa.command.number": fact.number, "safa.sample": fact.position}
        span = self._asked(command.name, fact.live, fact.at, received, parent, door, more)
        if isinstance(command, OF_VIEWS):
            named = getattr(command, "layer", None)
            layers = set(fact.layers) if named is None else {named}
            journey.asked.append(Asked(span, fact.at, layers, command, fact.number))
        elif isinstance(command, OF_BLOCKS):
            sample = max(fact.position, command.at or 0) + _delay(fact.live)
            journey.due.append(Due(sample, span, fact.at))

    def _asked(
        self,
        name: str,
        live: Live,
        at: int,
        received: int,
        parent: Traceparent | None,
        door: str,
        more: dict[str, Any] | None = None,
    ) -> Span:
        self._wall = _wall()
        attributes = {"safa.session": live.name, "safa.command": name, **({"safa.door": door} if door else {})}
        return self._span(
            f"command {name}", received, at, _remote(parent), {**attributes, **(more or {})}, SpanKind.SERVER
        )

    # What is made --------------------------------------------------------------------------------------------------

    def _stepped(self, fact: facts.Stepped) -> None:
        for work in fact.works:
            making = next((found for one in self._of.values() if (found := one.making.get(work))), None)
            if making is not None:
                making.first_step = making.first_step or fact.at - fact.lasted
                making.last_step = fact.at
                making.rows.append(fact.rows)
                making.views.append(len(fact.works))
                making.seconds.append(fact.lasted / 1e9)

    def _decoded(self, fact: facts.Decoded, journey: Journey) -> None:
        making = journey.making.pop(fact.work, None)
        if making is None:
            return
        # A session's first views are begun before its opening can be told; commands that came meanwhile wait on.
        asked = making.asked or answered(journey, fact.work, (), opens=True)
        span = self._view(fact.live, fact.work, making, asked, journey, fact.at, dropped=fact.heard is None)
        attributes = {"safa.decode.groups": fact.live.groups}
        self._span("decode", fact.at - fact.lasted, fact.at, set_span_in_context(span), attributes)
        if fact.heard is None:
            return ask_again(journey, asked, fact.work)
        delay, main = _delay(fact.live), main_of(asked, making)
        if main is None:
            journey.due.append(Due(fact.heard + delay, span, fact.at))
        for one in asked:
            sample = max(fact.heard, making.told.get(one.number, 0))
            journey.due.append(Due(sample + delay, span if one is main else one.span, fact.at))

    def _gave_up(self, fact: facts.GaveUp, journey: Journey) -> None:
        making = journey.making.pop(fact.work, None)
        if making is None:
            return
        self._view(fact.live, fact.work, making, making.asked, journey, fact.at, dropped=True)
        ask_again(journey, making.asked, fact.work)

    def _view(
        self, live: Live, work: Work, making: Making, asked: list[Asked], journey: Journey, end: int, dropped: bool
    ) -> Span:
        """The view's span, with those of its waiting and of its steps in it."""
        if not asked:
            self._wall = _wall()
        main, before = main_of(asked, making), journey.told.get(work.layer)
        begin = min(making.began, main.at) if main else making.began
        others = [one.span.get_span_context() for one in asked if one is not main]
        others += [before] if before and not main else []
        parent = set_span_in_context(main.span) if main else Context()
        attributes = {
            "safa.session": live.name,
            "safa.layer": work.layer,
            "safa.view": work.base.views.index,
            "safa.aim": work.aim.value,
            "safa.steps": work.making.steps,
            "safa.guidance": work.making.guidance,
            "safa.dropped": dropped,
        }
        span = self._span("view", begin, end, parent, attributes, links=others)
        if main:
            journey.told[work.layer] = main.span.get_span_context()
        inside = set_span_in_context(span)
        self._span("waiting", begin, making.first_step or end, inside, {})
        if making.first_step:
            levels = [float(level) for level in work.view.plan.table.timesteps[: len(making.rows)]]
            steps = {
                "safa.noise_levels": levels,
                "safa.batch.rows": making.rows,
                "safa.batch.views": making.views,
                "safa.step.seconds": making.seconds,
            }
            self._span("steps", making.first_step, making.last_step, inside, steps)
        return span

    # What is heard -------------------------------------------------------------------------------------------------

    def _left(self, fact: facts.Left, journey: Journey) -> None:
        carried = [due for due in journey.due if due.sample < fact.start + fact.samples]
        journey.sequence, journey.blocks = fact.sequence, []
        for due in carried:
            journey.due.remove(due)
            attributes = {"safa.sample": due.sample, "safa.block": fact.sequence, "safa.block.start": fact.start}
            inside = set_span_in_context(due.parent)
            journey.blocks.append(self._span("block", due.since, fact.at, inside, attributes))

    def _wrote(self, fact: facts.Wrote, journey: Journey) -> None:
        if fact.sequence != journey.sequence:
            return
        attributes = {
            "safa.block": fact.sequence,
            "safa.listeners": fact.listeners,
            "safa.frames": fact.frames,
            "safa.bytes": fact.bytes,
        }
        for block in journey.blocks:
            self._span("write", fact.at - fact.lasted, fact.at, set_span_in_context(block), attributes)
        journey.blocks = []

    # Spans ---------------------------------------------------------------------------------------------------------

    def _journey(self, live: Live) -> Journey:
        if live not in self._of and not live.closed:
            self._of[live] = Journey()
        return self._of.get(live) or Journey()

    def _span(
        self,
        name: str,
        begin: int,
        end: int,
        parent: Context,
        attributes: dict[str, Any],
        kind: SpanKind = SpanKind.INTERNAL,
        links: list[SpanContext] | None = None,
    ) -> Span:
        """A span that has ended; what belongs to it may still come."""
        span = self._tracer.start_span(
            name,
            parent,
            kind,
            attributes,
            [Link(context) for context in links or ()],
            start_time=begin + self._wall,
        )
        span.end(max(begin, end) + self._wall)
        return span


def _wall() -> int:
    """What has to be added to the monotonic clock for nanoseconds since 1970.

    Of three readings the one that took the least: another thread may run between two of its lines.
    """
    found = []
    for _ in range(3):
        before, now, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        found.append((after - before, now - (before + after) // 2))
    return min(found)[1]


def _delay(live: Live) -> int:
    return live.session.state.limiter.delay


def _remote(parent: Traceparent | None) -> Context:
    """Where the client's own trace goes on; a trace of its own where it has none."""
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return set_span_in_context(NonRecordingSpan(SpanContext(parent.trace, parent.span, True, flags)), Context())
