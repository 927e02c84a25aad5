"""What a front end's OSC port keeps of each session that is spoken to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from safa_server.cluster.osc_link import Link
from safa_server.cluster.osc_parcels import Kind, Parcel
from safa_server.cluster.ports import Route
from safa_server.osc_packet import Message, alone
from safa_server.osc_sockets import UdpPeer
from safa_server.osc_subscribers import Destination


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a peer, and when it came."""

    message: Message
    peer: Destination
    at: float


@dataclass(slots=True)
class Renewal:
    """A subscription, as it was asked for. where: who gets what it brings; until: when it ends; refusals: packets to
    there that came back."""

    said: Said
    where: Destination
    until: float
    audio: bool
    refusals: int = 0


@dataclass(slots=True)
class Lane:
    """What is said to one session. key: as it is addressed, None for the default one; session: which that is, "" while
    that is not known; link: to its engine, None while that is looked for; denied: whether that engine has said that the
    session is not there; back: what it has returned, which is older than what is held."""

    key: str | None
    session: str
    used: float
    route: Route | None = None
    link: Link | None = None
    denied: bool = False
    back: deque[Said] = field(default_factory=deque)
    held: deque[Said] = field(default_factory=deque)
    renewals: dict[tuple[Hashable, bool], Renewal] = field(default_factory=dict)
    seeking: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten."""
        return not (self.back or self.held or self.renewals)

    def parcel(self, said: Said, kind: Kind = Kind.PACKET) -> Parcel:
        """A message for its engine."""
        assert isinstance(said.peer, UdpPeer), "front ends have no TCP port"
        return Parcel(kind, self.session, said.peer.host, said.peer.port, alone(said.message))
