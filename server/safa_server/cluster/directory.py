"""Which engine has which session: the rules, as values and functions of time. Pure; head.py lets it act.

Every session has an epoch that goes up whenever it changes hands. Who speaks for a session in an older epoch than the
directory's is out: its files, its reports and its frames do not count any more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from safa_server.tenants.quotas import Usage
from safa_stream.models import BUILTIN

#: An engine that has not reported for so long is given up, seconds.
PATIENCE = 3.0
#: Of a session of which nothing else is known, samples a second; it tells its own with the next report.
RATE = 48_000
#: A session with less sound ahead than this is short of it, and stays where it is, seconds.
LEAST_LEAD = 2.0
#: An engine so much fuller than another, in shares of their room, gives it sessions.
UNEVEN = 0.25
#: Another engine is wanted where all together are fuller than this, and one fewer where they would stay below that.
FULL, EMPTY = 0.85, 0.5


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What an engine says of a session. position: the next sample to leave; lead: seconds of sound ready ahead; rows:
    layers times groups of channels, what it costs; urgent: whether its clock waits for nobody; tenant: whose it is,
    None the operator's; layers: those that wait for their time as well; listeners: connections that hear it."""

    epoch: int
    position: int
    rate: int
    lead: float
    rows: int
    urgent: bool
    playing: bool
    tenant: str | None = None
    layers: int = 0
    listeners: int = 0


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says of itself. url: of its WebSocket; room: rows in real time that it keeps fed; refused:
    sessions that it had to refuse since it began; model: as it calls itself, with its version; serves: as it was asked
    for."""

    url: str
    model: str
    room: int
    refused: int
    sessions: Mapping[str, SessionFacts]
    serves: str = BUILTIN

    @property
    def busy(self) -> int:
        """Rows in real time that it feeds."""
        return sum(one.rows for one in self.sessions.values() if one.urgent)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine as the directory knows it. seen: when it reported last; promised: rows that were sent its way since;
    leaving: it takes no sessions any more."""

    facts: EngineFacts
    seen: float
    promised: int = 0
    leaving: bool = False

    @property
    def load(self) -> float:
        """Share of its room that is taken."""
        return (self.facts.busy + self.promised) / max(1, self.facts.room)

    @property
    def free(self) -> int:
        """Rows that it can still take."""
        return self.facts.room - self.facts.busy - self.promised


@dataclass(frozen=True, slots=True)
class Holding:
    """Whose a session is. engine: None while nobody has it; facts: as they were last told, at time `seen`; confirmed:
    whether the engine has spoken of it, or has taken it over, at time `settled`; model: whose engines alone can have
    it."""

    engine: str | None
    epoch: int
    facts: SessionFacts
    seen: float
    confirmed: bool = True
    model: str = BUILTIN
    settled: float = -math.inf

    def due(self, now: float) -> int | None:
        """The sample that ought to leave now; None for a clock that stands or waits for grants."""
        if not self.facts.urgent or not self.facts.playing:
            return None
        return self.facts.position + round((now - self.seen) * self.facts.rate)


@dataclass(frozen=True, slots=True)
class Directory:
    """All engines and sessions at a moment. Functions below give the next one."""

    engines: Mapping[str, Engine] = field(default_factory=dict)
    sessions: Mapping[str, Holding] = field(default_factory=dict)

    def of(self, engine: str) -> list[str]:
        """An engine's sessions."""
        return [name for name, holding in self.sessions.items() if holding.engine == engine]

    @property
    def homeless(self) -> list[str]:
        """Sessions that nobody has, those first whose sound runs out first."""
        found = [(one.facts.lead, name) for name, one in self.sessions.items() if one.engine is None]
        return [name for _, name in sorted(found)]


def reported(
    directory: Directory, engine: str, facts: EngineFacts, now: float, asked: float | None = None
) -> tuple[Directory, tuple[str, ...]]:
    """An engine has said how it stands. Gives as well the sessions that it has to let go of: they are another's.

    asked: when it was asked, if that was earlier: what it has taken over since then it may not have had yet.
    """
    sessions = dict(directory.sessions)
    outdated = []
    for name, told in facts.sessions.items():
        known = sessions.get(name)
        elsewhere = known is not None and known.engine is not None and known.engine != engine
        if known is not None and (told.epoch < known.epoch or (elsewhere and told.epoch == known.epoch)):
            outdated.append(name)
        else:
            sessions[name] = Holding(engine, told.epoch, told, now, model=facts.serves)
    for name, known in directory.sessions.items():
        # What it had and does not speak of any more has ended.
        told_of = name in facts.sessions or known.settled > (now if asked is None else asked)
        if known.engine == engine and known.confirmed and not told_of:
            del sessions[name]
    before = directory.engines.get(engine)
    engines = {**directory.engines, engine: Engine(facts, now, leaving=before is not None and before.leaving)}
    return Directory(engines, sessions), tuple(outdated)


def lost(directory: Directory, engine: str) -> Directory:
    """An engine is gone: its sessions are nobody's until somebody takes them over."""
    sessions = {
        name: replace(one, engine=None) if one.engine == engine else one for name, one in directory.sessions.items()
    }
    return Directory({name: one for name, one in directory.engines.items() if name != engine}, sessions)


def handed(directory: Directory, session: str, engine: str, now: float) -> Directory:
    """A session is to be `engine`'s, in its next epoch."""
    held = directory.sessions[session]
    facts = replace(held.facts, epoch=held.epoch + 1)
    taken = replace(held, engine=engine, epoch=held.epoch + 1, facts=facts, confirmed=False)
    return promised(replace(directory, sessions={**directory.sessions, session: taken}), engine, held.facts.rows)


def promised(directory: Directory, engine: str, rows: int) -> Directory:
    """An engine will get so many more rows, which it does not report yet."""
    found = directory.engines[engine]
    return replace(directory, engines={**directory.engines, engine: replace(found, promised=found.promised + rows)})


def kept(directory: Directory, session: str, holding: Holding) -> Directory:
    """A session that was to be handed on stays where it is."""
    return replace(directory, sessions={**directory.sessions, session: holding})


def ended(directory: Directory, session: str) -> Directory:
    """A session is over, or cannot go on."""
    return replace(directory, sessions={name: one for name, one in directory.sessions.items() if name != session})


def leaving(directory: Directory, engine: str) -> Directory:
    """An engine takes nothing new any more."""
    found = replace(directory.engines[engine], leaving=True)
    return replace(directory, engines={**directory.engines, engine: found})


def overdue(directory: Directory, now: float, patience: float = PATIENCE) -> list[str]:
    """Engines that have not been heard of for too long."""
    return [name for name, one in directory.engines.items() if now - one.seen > patience]


def place(directory: Directory, rows: int, without: Collection[str] = ()) -> str | None:
    """The engine for a new session of so many rows: the least loaded that has room; None where none has."""
    able = [
        (one.load, name)
        for name, one in directory.engines.items()
        if not one.leaving and name not in without and one.free >= rows
    ]
    return min(able)[1] if able else None


def shelter(directory: Directory, without: Collection[str] = ()) -> str | None:
    """The engine for a session that has lost its own: the least loaded, whether it has room or not."""
    able = [(one.load, name) for name, one in directory.engines.items() if not one.leaving and name not in without]
    return min(able)[1] if able else None


def evened(directory: Directory) -> tuple[str, str] | None:
    """A session and the engine where it had better be, None where all is even enough."""
    able = {name: one for name, one in directory.engines.items() if not one.leaving}
    if len(able) < 2:
        return None
    fullest, emptiest = (pick(able, key=lambda name: able[name].load) for pick in (max, min))
    movable = [
        (one.facts.rows, name)
        for name, one in directory.sessions.items()
        if one.engine == fullest and one.facts.lead >= LEAST_LEAD
    ]
    if not movable or able[fullest].load - able[emptiest].load < UNEVEN:
        return None
    rows, session = min(movable)
    after = (able[emptiest].facts.busy + able[emptiest].promised + rows) / max(1, able[emptiest].facts.room)
    return (session, emptiest) if after < able[fullest].load else None


def wanted(directory: Directory, least: int, most: int, refused: bool = False) -> int:
    """How many engines there should be: more where all are nearly full, run short of sound or had to refuse a session,
    fewer where they idle. least, most: bounds; refused: whether one was refused lately.
    """
    there = [one for one in directory.engines.values() if not one.leaving]
    if not there:
        return least
    room, busy = sum(one.facts.room for one in there), sum(one.facts.busy + one.promised for one in there)
    short = any(
        held.facts.urgent and held.facts.position > 0 and held.facts.lead < LEAST_LEAD
        for held in directory.sessions.values()
    )
    number = len(there)
    if refused or short or busy > FULL * room:
        number += 1
    elif number > 1 and busy < EMPTY * room * (number - 1) / number:
        number -= 1
    return min(most, max(least, number))


def settled(directory: Directory, session: str, now: float) -> Directory:
    """The engine that a session was handed to has it."""
    held = replace(directory.sessions[session], confirmed=True, settled=now)
    return replace(directory, sessions={**directory.sessions, session: held})


def orphaned(directory: Directory, session: str) -> Directory:
    """The engine that a session was handed to did not get it: it is nobody's."""
    held = replace(directory.sessions[session], engine=None, confirmed=True)
    return replace(directory, sessions={**directory.sessions, session: held})


def heard_of(directory: Directory, session: str, epoch: int, now: float, model: str) -> Directory:
    """A front end had a session at an engine that is gone before it told of it."""
    facts = SessionFacts(epoch, 0, RATE, 0.0, 1, urgent=False, playing=True)
    return replace(directory, sessions={**directory.sessions, session: Holding(None, epoch, facts, now, model=model)})


def only(directory: Directory, model: str) -> Directory:
    """The engines of a model, and the sessions that they can have."""
    engines = {name: one for name, one in directory.engines.items() if one.facts.serves == model}
    return Directory(engines, {name: one for name, one in directory.sessions.items() if one.model == model})


def usage(directory: Directory, without: str | None = None) -> dict[str, Usage]:
    """What each tenant has, on all engines or all but one."""
    found: dict[str, Usage] = {}
    for one in directory.sessions.values():
        tenant, facts = one.facts.tenant, one.facts
        if tenant is not None and (without is None or one.engine != without):
            found[tenant] = found.get(tenant, Usage()) + Usage(1, facts.layers, facts.listeners)
    return found


def described(directory: Directory, now: float) -> dict[str, Any]:
    """Engines and sessions, as JSON."""
    engines = {
        name: {
            "url": one.facts.url,
            "model": one.facts.model,
            "serves": one.facts.serves,
            "room": one.facts.room,
            "busy": one.facts.busy,
            "sessions": len(one.facts.sessions),
            "leaving": one.leaving,
            "reported_s_ago": round(now - one.seen, 3),
        }
        for name, one in directory.engines.items()
    }
    sessions = {
        name: {"engine": one.engine, "epoch": one.epoch, "position": one.facts.position, "lead": one.facts.lead}
        for name, one in directory.sessions.items()
    }
    return {"engines": engines, "sessions": sessions}
