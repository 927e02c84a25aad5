"""The tables of docs/capacity.md: what was measured, what follows from it, and days that were simulated. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from safa_server.planning.costs import FORMATS, FRAMES, Costs
from safa_server.planning.placement import RULES, Scaling
from safa_server.planning.plan import (
    LOOP_FILL,
    WIRE_FILL,
    Demand,
    Need,
    Node,
    direct,
    largest_audience,
    listeners_per_relay,
    relayed,
    sessions_per_node,
)
from safa_server.planning.simulate import Day, World, simulated
from safa_server.runner import USABLE
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table

GB, GBIT = 2**30, 1e9
#: The machines that plans are made for: cores are as fast as the one that was measured.
NODES = (
    Node("small: 4 cores, 16 GB, 1 Gbit/s", 4, 16 * GB, 1 * GBIT),
    Node("large: 32 cores, 128 GB, 25 Gbit/s", 32, 128 * GB, 25 * GBIT),
)
LISTENERS, SESSIONS = (10, 1_000, 100_000), (10, 100, 1_000, 10_000)
#: Layers of a session in plans, and kinds of sessions in simulations: (layers, how likely).
PLANNED_LAYERS, KINDS = 2.0, ((1, 0.5), (2, 0.35), (4, 0.15))
DAYS = (10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A day and the world that it was of. about: what is another in this world."""

    about: str
    world: World
    day: Day


def simulations(costs: Costs, report: Callable[[str], None], largest: int = DAYS[-1]) -> list[Simulated]:
    """The days of the page, those of more than `largest` sessions left out."""
    node, found = NODES[1], []
    for about, world in worlds(costs, node, largest):
        report(f"a day of {world.sessions:g} sessions, {world.rule}{about and ', ' + about}")
        found.append(Simulated(about, world, simulated(world)))
    return found


def worlds(costs: Costs, node: Node, largest: int) -> Iterator[tuple[str, World]]:
    """(what is another, world): both rules for every size, then one thing after the other changed."""
    kinds = tuple((costs.of_session(layers, "s16"), likely) for layers, likely in KINDS)
    usual = World(sessions=1_000, room=USABLE * node.cores, costs=kinds, start_seconds=60.0 + costs.start_seconds)
    for sessions in DAYS:
        for rule in RULES:
            if sessions <= largest:
                yield "", replace(usual, sessions=sessions, rule=rule)
    most = min(1_000, largest)
    usual = replace(usual, sessions=most)
    peak = usual.scaling.wanted(most * 1.6 * _mean(usual), usual.room)
    for about, change in (
        ("an engine fails every day", {"mean_days": 1.0}),
        ("that, 4 s of lead", {"mean_days": 1.0, "lead": 4.0}),
        ("that, restoring takes 1 s each", {"mean_days": 1.0, "restore_seconds": 1.0}),
        ("that, and first fit", {"mean_days": 1.0, "restore_seconds": 1.0, "rule": "first fit"}),
        ("filled to 0.95, no spare", {"scaling": Scaling(fill=0.95, spare=0)}),
        ("that, engines start in 10 min", {"scaling": Scaling(fill=0.95, spare=0), "start_seconds": 600.0}),
        ("half of the engines that it needs", {"largest": max(1, round(0.5 * peak))}),
    ):
        yield about, replace(usual, **change)


def tables(costs: Costs, days: Sequence[Simulated]) -> Mapping[str, Callable[[], str]]:
    """What makes each table of the page, by its name there."""
    usual, changed = ([one for one in days if bool(one.about) is other] for other in (False, True))
    return {
        "costs": lambda: _costs(costs),
        "wire": lambda: _wire(costs),
        "nodes": lambda: _nodes(costs),
        "plans": lambda: _plans(costs, "s16"),
        "plans-opus": lambda: _plans(costs, "opus"),
        "bottlenecks": lambda: _bottlenecks(costs),
        "world": lambda: _world(_shown(days).world),
        "days": lambda: _days(usual, "sessions"),
        "changed": lambda: _days(changed, "what is another"),
    }


def picture(days: Sequence[Simulated]) -> str:
    """SVG: sessions of a day, and how many the engines that ran could have held."""
    one = _shown(days)
    per = one.world.room / _mean(one.world)
    hours = [point[0] / 3600 for point in one.day.points]
    series: dict[str, tuple[list[float], list[float]]] = {
        "sessions": (hours, [point[1] for point in one.day.points]),
        "room of the engines": (hours, [point[2] * per for point in one.day.points]),
    }
    title = f"A day of {one.world.sessions:g} sessions, {one.world.rule}: engines come and go"
    return line_plot(series, title, "hour", "sessions")


def figures(costs: Costs, days: Sequence[Simulated]) -> dict[str, Any]:
    """All that the page is made from, as JSON values."""
    plans = [
        {"node": node.name, "listeners": n, "sessions": s, "format": format, "together": together, **_as_dict(need)}
        for node in NODES
        for n, s in _demands()
        for format in ("s16", "opus")
        for together in (False, True)
        for need in (relayed(costs, node, Demand(n, s, PLANNED_LAYERS, format, together)),)
    ]
    simulated_days = [
        {
            "sessions": one.world.sessions,
            "rule": one.world.rule,
            "changed": one.about,
            **one.day.figures(one.world.room),
        }
        for one in days
    ]
    return {"costs": costs.as_dict(), "plans": plans, "days": simulated_days}


# Tables --------------------------------------------------------------------------------------------------------------


def _costs(costs: Costs) -> str:
    per = 1e6 / FRAMES
    rows = [
        ("machine", costs.machine, ""),
        ("processes that wanted to run in the minute before", f"{costs.load:.1f}", ""),
        ("a server without sessions", f"{costs.idle:.4f}", f"{costs.process_bytes / 2**20:.0f} MB"),
        ("a session, without its layers", f"{costs.session:.4f}", f"{costs.session_bytes / 2**20:.0f} MB"),
        *((f"measured: {n} layer{'s'[: n != '1']}", f"{cpu:.3f}", "") for n, cpu in costs.layers.items()),
        ("each layer", f"{costs.layer:.4f}", ""),
        *((f"encoding, {name}", f"{costs.encode[name]:.5f}", "") for name in FORMATS),
        *(
            (
                f"one more listener, {name}",
                f"{costs.listener[name]:.5f} ({per * costs.listener[name]:.1f} us a frame)",
                "",
            )
            for name in ("f32", "opus")
        ),
        ("a session that a relay takes", f"{costs.relay:.4f}", ""),
        *(
            (
                f"one more listener of a relay, {name}",
                f"{costs.relayed[name]:.5f} ({per * costs.relayed[name]:.1f} us)",
                "",
            )
            for name in ("f32", "opus")
        ),
    ]
    return markdown_table(("what", "CPU, s of a core a second of sound", "memory"), rows) + "\n"


def _nodes(costs: Costs) -> str:
    rows: list[Sequence[object]] = []
    for node in NODES:
        held = [sessions_per_node(costs, node, Demand(1, 1, layers, "s16"), 1.0) for layers in (1, 2, 4)]
        crowd = Demand(100_000, 100, PLANNED_LAYERS, "s16")
        relays = [listeners_per_relay(costs, node, replace(crowd, format=format)) for format in ("f32", "s16", "opus")]
        rows.append(
            (
                node.name,
                *(f"{count}" for count, _ in held),
                held[1][1],
                *(f"{count * node.cores} ({limit})" for count, limit in relays),
            )
        )
    head = ("node", "sessions of 1 layer", "2", "4", "limit", "listeners by relays, f32", "s16", "opus")
    return markdown_table(head, rows) + "\n"


def _wire(costs: Costs) -> str:
    rows = [
        (
            name,
            f"{costs.frame_bytes[name]:.0f}",
            f"{costs.bits(name) / 1e6:.2f}",
            f"{1000 * costs.bits(name) / GBIT:.2f}",
            f"{largest_audience(costs, name):.0f}",
        )
        for name in FORMATS
    ]
    head = (
        "format",
        "bytes a frame",
        "Mbit/s a listener",
        "Gbit/s for 1000",
        "listeners of one session without relays",
    )
    return markdown_table(head, rows) + "\n"


def _demands() -> Iterator[tuple[int, int]]:
    return ((n, s) for n in LISTENERS for s in SESSIONS if s <= n)


def _plans(costs: Costs, format: str) -> str:
    rows = []
    for listeners, sessions in _demands():
        demand = Demand(listeners, sessions, PLANNED_LAYERS, format)
        for node in NODES:
            with_relays, without = relayed(costs, node, demand), direct(costs, node, demand)
            together = relayed(costs, node, replace(demand, together=True))
            rows.append(
                (
                    f"{listeners:,}".replace(",", " "),
                    f"{sessions:,}".replace(",", " "),
                    node.name.partition(":")[0],
                    "-" if without is None else f"{without.engine_nodes} ({without.engine_limit})",
                    f"{with_relays.engine_nodes} ({with_relays.engine_limit})",
                    _relays(with_relays),
                    _rate(with_relays.engine_bits),
                    with_relays.nodes,
                    f"{together.engine_nodes} ({together.engine_limit})",
                    _relays(together),
                    _rate(together.engine_bits),
                    together.nodes,
                    _rate(with_relays.relay_bits),
                )
            )
    head = (
        "listeners",
        "sessions",
        "nodes",
        "engines without relays",
        "by chance: engines",
        "relays on nodes",
        "engines send",
        "nodes in all",
        "by session: engines",
        "relays on nodes",
        "engines send",
        "nodes in all",
        "relays send",
    )
    return markdown_table(head, rows) + "\n"


def _relays(need: Need) -> str:
    tiers = ", two tiers" if need.tiers > 1 else ""
    return f"{need.relays} on {need.relay_nodes} ({need.relay_limit}{tiers})"


def _bottlenecks(costs: Costs) -> str:
    node = NODES[1]
    lines = []
    for format in ("f32", "s16", "opus"):
        by_loop = LOOP_FILL / costs.relayed[format]
        by_wire = WIRE_FILL * node.bits / costs.bits(format)
        cores = by_wire / by_loop
        lines.append(
            f"- {format}: a relay's event loop writes to {by_loop:.0f} listeners; 25 Gbit/s carry {by_wire:.0f}, "
            f"as many as {cores:.1f} such loops. Of a node with {node.cores} cores "
            + ("the interface is full first." if cores < node.cores else "the cores are full first.")
        )
    return "\n".join(lines) + "\n"


def _days(days: Sequence[Simulated], first: str) -> str:
    rows = []
    for one in days:
        day, found = one.day, one.day.figures(one.world.room)
        rows.append(
            (
                one.about or f"{one.world.sessions:g}",
                one.world.rule,
                day.came,
                day.most_sessions,
                day.most_engines,
                f"{found['engine_hours']:.0f}",
                f"{found['filled']:.2f}",
                f"{100 * found['refused_share']:.2f} %",
                f"{day.failures}: {day.failed_over}, {day.lost}",
                f"{day.late}, {day.late_seconds:.0f} s",
                day.moved,
            )
        )
    head = (first, "placement", "came", "most at once", "most engines", "engine hours", "filled", "refused")
    return markdown_table((*head, "failures: gone on, lost", "late", "moved"), rows) + "\n"


def _world(world: World) -> str:
    rows = [
        ("length of a session, exponential", f"{world.minutes:g} min on average"),
        ("the busiest hour, the quietest", f"{1 + world.swing:g}, {1 - world.swing:g} times the mean"),
        ("layers of a session", ", ".join(f"{layers} ({likely:.0%})" for layers, likely in KINDS)),
        ("an engine", f"{NODES[1].name}, filled to {USABLE:g} at most"),
        ("there are more engines when these are filled to", f"{world.scaling.fill:g}, and {world.scaling.spare} spare"),
        (
            "until a new engine takes sessions",
            f"{world.start_seconds:.0f} s: a minute for the machine, then the server",
        ),
        ("an engine is let go when it was not needed for", f"{world.scaling.patience:g} s"),
        ("an engine fails", f"every {world.mean_days:g} days"),
        ("a failure is known after", f"{world.detect_seconds:g} s"),
        ("a session goes on after", f"{world.restore_seconds:g} s more, one after the other on each engine"),
        ("sound that a session has ahead", f"{world.lead:g} s"),
    ]
    return markdown_table(("assumption", "value"), rows) + "\n"


def _shown(days: Sequence[Simulated]) -> Simulated:
    """The day that is drawn: of 1000 sessions, or of the most that there are."""
    return max(
        (one for one in days if not one.about and one.world.sessions <= 1_000), key=lambda one: one.world.sessions
    )


def _mean(world: World) -> float:
    return sum(cost * likely for cost, likely in world.costs) / sum(likely for _, likely in world.costs)


def _rate(bits: float) -> str:
    return f"{bits / GBIT:.2f} Gbit/s" if bits >= GBIT / 10 else f"{bits / 1e6:.1f} Mbit/s"


def _as_dict(need: Need) -> Mapping[str, Any]:
    names = ("engine_nodes", "relays", "relay_nodes", "sessions_per_node", "listeners_per_relay", "engine_bits")
    more = ("relay_bits", "engine_limit", "relay_limit", "tiers", "nodes")
    return {name: getattr(need, name) for name in (*names, *more)}
