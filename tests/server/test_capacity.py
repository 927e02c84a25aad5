"""Planning capacity: arithmetic that can be followed by hand, simulated days held against theory, and the page."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_server.measuring import sharing
from safa_server.measuring.costs import _encoded
from safa_server.measuring.sharing import drained, helper
from safa_server.planning import page
from safa_server.planning.costs import FORMATS, Costs, fitted
from safa_server.planning.placement import RULES, Scaling
from safa_server.planning.plan import Demand, Node, direct, expected_relays, relayed, sessions_per_node
from safa_server.planning.simulate import DAY, Simulation, World, simulated
from safa_stream.cli.main import main
from safa_stream.errors import UsageError
from tests.server.ws_rig import client, run, serving

DOCS = Path(__file__).parents[2] / "docs"
#: Round numbers: a session of one layer takes 0.1 of a core, a listener 0.001, a frame 1000 bytes.
COSTS = Costs(
    machine="a machine",
    cores=2,
    load=0.0,
    model="builtin",
    idle=0.0,
    session=0.02,
    layer=0.07,
    loop=0.02,
    encode=dict.fromkeys(FORMATS, 0.01),
    listener=dict.fromkeys(FORMATS, 0.001),
    relay=0.001,
    relayed=dict.fromkeys(FORMATS, 0.001),
    process_bytes=1e8,
    session_bytes=1e7,
    frame_bytes=dict.fromkeys(FORMATS, 1000.0),
    start_seconds=4.0,
    layers={"1": 0.1},
)
NODE = Node("a node", 10, 64e9, 10e9)


def test_a_node_is_full_of_what_runs_out_first() -> None:
    one = Demand(1, 1, 1.0, "s16")
    # 9 of 10 cores, 0.1 and one listener's 0.001 each; then 250 listeners each, 6 cores' worth of event loops.
    assert sessions_per_node(COSTS, NODE, one, 1.0) == (int(9 / 0.101), "CPU")
    assert sessions_per_node(COSTS, NODE, one, 250.0) == (int(6 / 0.28), "event loop")
    assert sessions_per_node(COSTS, replace(NODE, memory=2e9), one, 1.0) == (int((0.8 * 2e9 - 1e9) / 1e7), "memory")
    bits = 8 * 50 * 1000 * 1538 / 1460
    assert sessions_per_node(COSTS, replace(NODE, bits=1e7), one, 1.0) == (int(6e6 / bits), "network")
    assert sessions_per_node(COSTS, replace(NODE, sockets=1), one, 2.0)[1] == "sockets"


def test_one_session_for_very_many_needs_relays_and_then_relays_of_relays() -> None:
    assert direct(COSTS, NODE, Demand(500, 1, 1.0, "s16")) is not None
    assert direct(COSTS, NODE, Demand(1_000, 1, 1.0, "s16")) is None
    need = relayed(COSTS, NODE, Demand(100_000, 1, 1.0, "s16"))
    assert need.engine_nodes == 1 and need.tiers == 1
    assert need.relays == pytest.approx(100_000 / 600, rel=0.01) and need.relay_nodes == math.ceil(need.relays / 10)
    assert need.engine_bits == pytest.approx(need.relays * COSTS.bits("s16"), rel=0.01)
    assert relayed(COSTS, NODE, Demand(1_000_000, 1, 1.0, "s16")).tiers == 2


def test_who_asks_for_what_cannot_be_is_told() -> None:
    with pytest.raises(UsageError, match="10 listeners cannot have 11 sessions"):
        Demand(10, 11)
    with pytest.raises(UsageError, match="cannot make one session"):
        relayed(COSTS, replace(NODE, memory=1e9), Demand(10, 1, 1.0, "s16"))


@given(st.integers(1, 10_000), st.integers(1, 2_000), st.sampled_from(page.NODES), st.sampled_from(FORMATS))
def test_more_is_never_less(sessions: int, more: int, node: Node, format: str) -> None:
    demand = Demand(2 * sessions + more, sessions, 1.0, format)
    few, many = relayed(COSTS, node, demand), relayed(COSTS, node, replace(demand, sessions=sessions + more // 2))
    assert many.engine_nodes >= few.engine_nodes
    assert relayed(COSTS, node, replace(demand, listeners=demand.listeners + more)).relays >= few.relays
    assert few.engine_nodes * few.sessions_per_node >= sessions
    assert few.relays * few.listeners_per_relay >= demand.listeners
    assert few.engine_bits <= few.relay_bits * (1 + 1e-9)


def test_relays_that_a_sessions_listeners_choose_by_chance() -> None:
    chance = random.Random(0)
    for listeners, relays in ((1, 5), (10, 5), (30, 200)):
        tries = [len({chance.randrange(relays) for _ in range(listeners)}) for _ in range(4000)]
        assert expected_relays(listeners, relays) == pytest.approx(sum(tries) / 4000, rel=0.03)


def test_the_line_through_sessions_of_several_layers() -> None:
    assert fitted({1: 0.1, 2: 0.17, 4: 0.31}) == (pytest.approx(0.03), pytest.approx(0.07))
    session, layer = fitted({1: 0.1, 2: 0.3, 4: 0.7})
    assert session == pytest.approx(0.0) and layer > 0


FIXED = World(sessions=8.0, room=10.0, costs=((1.0, 1.0),), swing=0.0, minutes=10.0, mean_days=1e9, largest=1,
              scaling=Scaling(fill=1.0, spare=0, least=1))  # fmt: skip


def test_refusals_are_those_of_erlang() -> None:
    """Sessions by chance on a fixed number of places: Erlang's loss formula (B)."""
    offered, places, days, expected = 8.0, 10, 20.0, 1.0
    for place in range(1, places + 1):
        expected = offered * expected / (place + offered * expected)
    day = simulated(replace(FIXED, sessions=offered, room=float(places), days=days))
    assert day.refused / day.came == pytest.approx(expected, abs=0.012)
    # And of what was let in, so much is there on average.
    assert day.used_seconds / (days * DAY) == pytest.approx(offered * (1 - expected), rel=0.03)


@pytest.mark.parametrize("rule", RULES)
def test_every_session_is_somewhere_and_no_engine_has_more_than_its_room(rule: str) -> None:
    world = World(sessions=60.0, room=3.0, costs=((0.3, 0.6), (1.1, 0.4)), rule=rule, mean_days=0.2, seed=3)

    class Watched(Simulation):
        looks = 0

        def _pass(self, at: float) -> None:
            super()._pass(at)
            self.looks += 1
            if self.looks % 50:
                return
            there = [session for engine in self._on for session in engine]
            assert sorted(there) == sorted(self._where) and len(set(there)) == len(there)
            assert self._used == pytest.approx(sum(sum(engine.values()) for engine in self._on), abs=1e-6)
            for number, engine in enumerate(self._on):
                assert sum(engine.values()) <= world.room + 1e-6
                if engine:
                    assert self._free[number] == pytest.approx(world.room - sum(engine.values()), abs=1e-6)
            assert self._running == np.isfinite(self._free).sum()

    simulation = Watched(world)
    day = simulation.run()
    # About 50 engines-days hold 250 failures where an engine lives a fifth of a day.
    assert day.failures == pytest.approx(day.engine_seconds / DAY / world.mean_days, rel=0.35)
    assert simulation.looks > 5_000 and day.failures > 10 and day.moved > 0 and day.failed_over > 0
    assert day.figures(world.room) == simulated(world).figures(world.room), "the same seed is the same day"
    assert simulated(replace(world, seed=4)).came != day.came


def test_what_a_failure_costs_is_when_sessions_go_on() -> None:
    """One engine takes all that another had, one after the other: those behind the lead are late."""
    world = replace(FIXED, sessions=12.0, room=30.0, largest=2, scaling=Scaling(fill=1.0, spare=1), mean_days=1e9,
                    lead=4.0, detect_seconds=2.0, restore_seconds=0.5)  # fmt: skip

    class Failing(Simulation):
        def _scale(self, at: float) -> None:
            self._fail(0)
            self._events.clear()

    for rule in RULES:
        simulation = Failing(replace(world, rule=rule))
        for session in range(20):
            simulation._put(session, 1.0, 0 if rule == "first fit" else session % 2)
        day = simulation.run()
        gone = 20 if rule == "first fit" else 10
        assert (day.failed_over, day.lost) == (gone, 0)
        assert day.late == gone - 4 and day.late_seconds == pytest.approx(sum(0.5 * n for n in range(1, gone - 3)))


def test_sizes_and_costs_of_encodings() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype(np.float32)
    costs, sizes = _encoded(sound, lambda line: None)
    assert (sizes["f32"], sizes["s16"], sizes["s24"]) == (4 + 48 + 7680, 4 + 48 + 3840, 4 + 48 + 5760)
    assert sizes["opus"] < 1000 and all(0 < cost < 1 for cost in costs.values())


def test_a_relay_writes_what_the_engine_wrote_to_all_of_its_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SETTLE_SECONDS", 0.2)

    async def test() -> None:
        async with serving() as rig, client(rig) as listener:
            opened = await listener.ask("open", scene="rain", format="s16")
            words = ("127.0.0.1", str(rig.port), opened["session"], "s16")
            async with helper("relay", *words) as (pid, port):
                sizes = [(await drained(pid, port, sinks, 0.5))[1] / 3892 for sinks in (1, 4)]
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                packet = await reader.readexactly(3892)
                writer.close()
                number = int.from_bytes(packet[20:28], "little")
                while listener.frames[-1:] == [] or listener.frames[-1][0].sequence < number:
                    await listener.read()
        assert packet[4:] in {message for _, _, message in listener.frames}
        assert 10 < sizes[0] < 60 and 2 * sizes[0] < sizes[1] < 8 * sizes[0]

    run(test())


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    for content in (COSTS.as_dict(), {"costs": COSTS.as_dict(), "plans": []}):
        file.write_text(json.dumps(content))
        assert Costs.read(file) == COSTS
    for wrong in ("", "{}", "[]", json.dumps({**COSTS.as_dict(), "layer": -1}), '{"costs": 3}'):
        file.write_text(wrong)
        with pytest.raises(UsageError, match="costs"):
            Costs.read(file)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs, out = tmp_path / "costs.json", tmp_path / "page.md"
    costs.write_text(json.dumps(COSTS.as_dict()))
    out.write_text((DOCS / "capacity.md").read_text(encoding="utf-8"))
    words = ["bench", "capacity", "--costs", str(costs), "--largest", "100", "--quiet"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "page.json").read_text())
    assert {day["sessions"] for day in found["days"] if not day["changed"]} == {10, 100}
    text = out.read_text()
    assert "a machine" in text and "<svg" in (tmp_path / "page-day.svg").read_text()
    assert all(made.strip() for made in re.findall(r"<!-- table: [\w-]+ -->\n(.*?)<!-- end -->", text, re.DOTALL))
    assert main([*words, "--out", str(tmp_path / "missing.md")]) == 2
    assert main(["bench", "capacity", "--costs", str(out)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_page_is_what_its_costs_make() -> None:
    """All tables but those of days, which take a while."""
    costs = Costs.read(DOCS / "capacity.json")
    text = (DOCS / "capacity.md").read_text(encoding="utf-8")
    made: Any = page.tables(costs, [])
    for name in ("costs", "wire", "nodes", "plans", "plans-opus", "bottlenecks"):
        assert f"<!-- table: {name} -->\n{made[name]()}<!-- end -->" in text, name
    days = json.loads((DOCS / "capacity.json").read_text(encoding="utf-8"))["days"]
    small = next(day for day in days if day["sessions"] == 10 and day["rule"] == "first fit" and not day["changed"])
    _, world = next(page.worlds(costs, page.NODES[1], 10))
    made = simulated(world).figures(world.room)
    assert made == pytest.approx({name: small[name] for name in made})
