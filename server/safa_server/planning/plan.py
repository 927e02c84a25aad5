"""How many processes and machines: arithmetic on measured costs. Pure.

    engines   make sessions; each session is encoded once in each format that somebody wants
    direct    listeners are connected to their session's engine: its event loop, one core, writes to all of them
    relays    listeners are connected to front ends, which take each session that they need once, and write to theirs

A process has one event loop, so it never uses more than one core for sockets, whatever the machine has. Where listeners
choose their relay by chance, every relay takes nearly every session that has listeners enough; where those of a session
are sent to the same relays, as few take it as can serve them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from safa_server.planning.costs import Costs
from safa_server.runner import USABLE
from safa_stream.errors import UsageError

#: What an event loop, and an interface, is planned to be filled to: bursts and other traffic need the rest.
LOOP_FILL, WIRE_FILL, MEMORY_FILL = 0.6, 0.6, 0.8


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: cores like those that were measured, memory in bytes, bits a second, sockets that a process opens."""

    name: str
    cores: int
    memory: float
    bits: float
    sockets: int = 20_000


@dataclass(frozen=True, slots=True)
class Demand:
    """What is wanted: listeners of so many sessions of so many layers each, all in one format. together: whoever hears
    the same session is sent to the same relays, instead of to any by chance."""

    listeners: int
    sessions: int
    layers: float = 2.0
    format: str = "s16"
    together: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.sessions <= self.listeners:
            raise UsageError(f"{self.listeners} listeners cannot have {self.sessions} sessions: each has one at least")


@dataclass(frozen=True, slots=True)
class Need:
    """What that takes. relays: front-end processes, 0 where listeners are connected directly; bits_out: of all engines
    and of all relays; limit: what fills up first, of an engine's node and of a relay; per: sessions a node, listeners a
    relay; tiers: 2 where relays take sessions from other relays; spare: nodes of each kind beyond need, to lose one."""

    demand: Demand
    engine_nodes: int
    relays: int
    relay_nodes: int
    sessions_per_node: int
    listeners_per_relay: int
    engine_bits: float
    relay_bits: float
    engine_limit: str
    relay_limit: str
    tiers: int = 1
    spare: int = 1

    @property
    def nodes(self) -> int:
        """All of them, with spares."""
        return self.engine_nodes + self.relay_nodes + self.spare * (1 + (self.relay_nodes > 0))


def sessions_per_node(costs: Costs, node: Node, demand: Demand, copies: float) -> tuple[int, str]:
    """How many sessions a node makes, each written to `copies` sockets, and what fills up first.

    One engine process a core: each has an event loop of its own.
    """
    made = costs.of_session(demand.layers, demand.format)
    writing = copies * costs.listener[demand.format]
    limits = {
        "CPU": USABLE * node.cores / (made + writing),
        "event loop": LOOP_FILL * node.cores / max(costs.loop + costs.encode[demand.format] + writing, 1e-12),
        "memory": (MEMORY_FILL * node.memory - node.cores * costs.process_bytes) / costs.session_bytes,
        "network": WIRE_FILL * node.bits / max(copies * costs.bits(demand.format), 1e-12),
        "sockets": node.cores * node.sockets / max(copies, 1e-12),
    }
    limit = min(limits, key=lambda name: limits[name])
    return max(0, math.floor(limits[limit])), limit


def listeners_per_relay(costs: Costs, node: Node, demand: Demand) -> tuple[int, str]:
    """How many listeners one front-end process serves, one process a core, and what fills up first."""
    # Whoever hears what nobody else of this relay hears costs its feed as well.
    mean, most = demand.listeners / demand.sessions, LOOP_FILL / costs.relayed[demand.format]
    share = 1.0 if demand.together else min(1.0, most / demand.listeners)
    feed = costs.relay / max(1.0, min(most, mean * share))
    bits = costs.bits(demand.format)
    limits = {
        "event loop": LOOP_FILL / (costs.relayed[demand.format] + feed),
        "network": WIRE_FILL * node.bits / node.cores / bits,
        "sockets": float(node.sockets),
    }
    limit = min(limits, key=lambda name: limits[name])
    return max(1, math.floor(limits[limit])), limit


def direct(costs: Costs, node: Node, demand: Demand) -> Need | None:
    """Without front ends; None where one session has more listeners than one event loop or one node can serve."""
    mean = demand.listeners / demand.sessions
    one = Node(node.name, 1, node.memory / node.cores, node.bits, node.sockets)
    if not sessions_per_node(costs, one, demand, mean)[0]:
        return None
    per, limit = sessions_per_node(costs, node, demand, mean)
    nodes = -(-demand.sessions // per)
    out = demand.listeners * costs.bits(demand.format)
    return Need(demand, nodes, 0, 0, per, 0, out, 0.0, limit, "-")


def relayed(costs: Costs, node: Node, demand: Demand) -> Need:
    """With front ends."""
    each, relay_limit = listeners_per_relay(costs, node, demand)
    relays = -(-demand.listeners // each)
    mean = demand.listeners / demand.sessions
    # A session is taken by as many relays as have a listener of it.
    copies = max(1.0, mean / each) if demand.together else expected_relays(mean, relays)
    most, tiers = _most_copies(costs, node, demand), 1
    if copies > most:
        # Too many for one event loop: relays take it from relays, each of which serves as many as a relay serves.
        copies, tiers = max(1.0, copies / each), 2
    per, limit = sessions_per_node(costs, node, demand, copies)
    if not per:
        raise UsageError(f"a node {node.name!r} cannot make one session of {demand.layers:g} layers: it lacks {limit}")
    bits = costs.bits(demand.format)
    return Need(
        demand,
        -(-demand.sessions // per),
        relays,
        -(-relays // node.cores),
        per,
        each,
        demand.sessions * copies * bits,
        demand.listeners * bits,
        limit,
        relay_limit,
        tiers,
    )


def expected_relays(listeners: float, relays: int) -> float:
    """How many of so many relays have at least one of a session's listeners, who chose theirs by chance."""
    return relays * -math.expm1(listeners * math.log1p(-1 / relays)) if relays > 1 else 1.0


def largest_audience(costs: Costs, format: str) -> float:
    """Listeners that one session can have directly, by its event loop alone."""
    return (LOOP_FILL - costs.loop - costs.encode[format]) / costs.listener[format]


def _most_copies(costs: Costs, node: Node, demand: Demand) -> float:
    """Relays that one session's event loop can write to."""
    by_wire = WIRE_FILL * node.bits / costs.bits(demand.format)
    return max(1.0, min(largest_audience(costs, demand.format), by_wire, node.sockets))
