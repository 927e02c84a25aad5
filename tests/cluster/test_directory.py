"""The rules by which a cluster's sessions are placed, handed on and evened out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safa_server.cluster import directory as rules
from safa_server.cluster.directory import Directory, EngineFacts, SessionFacts


def session(epoch: int = 1, rows: int = 1, lead: float = 8.0, position: int = 48_000) -> SessionFacts:
    """A live session as its engine tells of it."""
    return SessionFacts(epoch, position, 48_000, lead, rows, urgent=True, playing=True)


def engine(room: int = 8, **sessions: SessionFacts) -> EngineFacts:
    """An engine as it tells of itself."""
    return EngineFacts("ws://127.0.0.1:1/ws", "toy 1", room, 0, sessions)


def with_engines(**engines: EngineFacts) -> Directory:
    """All of them have reported at time 0."""
    directory = Directory()
    for name, facts in engines.items():
        directory, outdated = rules.reported(directory, name, facts, 0.0)
        assert not outdated
    return directory


def test_new_sessions_go_where_most_is_free() -> None:
    directory = with_engines(a=engine(8, one=session(rows=4)), b=engine(8, two=session(rows=2)), c=engine(1))
    assert rules.place(directory, 1) == "c"
    assert rules.place(directory, 2) == "b"
    assert rules.place(directory, 2, without=["b"]) == "a"
    assert rules.place(directory, 7) is None
    # What was sent to an engine counts before it reports it.
    for _ in range(3):
        directory = rules.promised(directory, "b", 2)
    assert rules.place(directory, 2) == "a"


def test_what_a_lost_engine_had_goes_on_in_the_next_epoch() -> None:
    directory = with_engines(a=engine(8, soon=session(lead=1.0), later=session(lead=6.0)), b=engine(8))
    directory = rules.lost(directory, "a")
    assert directory.homeless == ["soon", "later"] and rules.shelter(directory) == "b"
    directory = rules.handed(directory, "soon", "b", 1.0)
    # It is not there yet, and a report without it is no reason to forget it.
    directory, _ = rules.reported(directory, "b", engine(8), 1.1)
    assert directory.sessions["soon"].engine == "b" and directory.sessions["soon"].epoch == 2
    directory = rules.settled(directory, "soon", 1.2)
    # Asked before it came, the engine told of it without it.
    directory, _ = rules.reported(directory, "b", engine(8), 1.3, asked=1.1)
    assert directory.sessions["soon"].confirmed
    directory, _ = rules.reported(directory, "b", engine(8), 1.4, asked=1.3)
    assert "soon" not in directory.sessions


def test_an_engine_that_comes_back_has_to_let_go_of_what_is_anothers() -> None:
    directory = rules.lost(with_engines(a=engine(8, one=session(), two=session()), b=engine(8)), "a")
    directory = rules.settled(rules.handed(directory, "one", "b", 1.0), "one", 1.0)
    directory, outdated = rules.reported(directory, "a", engine(8, one=session(), two=session()), 2.0)
    assert outdated == ("one",)
    assert directory.sessions["one"].engine == "b"
    # Nobody had taken the other one: it is still its own.
    assert directory.sessions["two"].engine == "a" and directory.sessions["two"].epoch == 1


def test_the_clock_of_a_lost_session_is_known() -> None:
    held = with_engines(a=engine(8, one=session(position=96_000))).sessions["one"]
    assert held.due(1.5) == 96_000 + 72_000
    standing = SessionFacts(1, 96_000, 48_000, 8.0, 1, urgent=True, playing=False)
    assert with_engines(a=engine(8, one=standing)).sessions["one"].due(1.5) is None


def test_engines_are_begun_and_ended_as_they_are_needed() -> None:
    full, idle = engine(4, one=session(rows=4)), engine(4)
    assert rules.wanted(with_engines(a=full), 1, 3) == 2
    assert rules.wanted(with_engines(a=full), 1, 1) == 1
    assert rules.wanted(with_engines(a=idle, b=idle), 1, 3) == 1
    assert rules.wanted(with_engines(a=idle, b=idle), 2, 3) == 2
    assert rules.wanted(with_engines(a=idle), 1, 3, refused=True) == 2
    # Sessions that run short of sound, though there seems to be room.
    assert rules.wanted(with_engines(a=engine(8, one=session(lead=0.5))), 1, 3) == 2


loads = st.lists(st.integers(1, 3), max_size=8)


@given(st.lists(loads, min_size=2, max_size=4))
def test_evening_out_comes_to_an_end_and_makes_nothing_worse(rows: list[list[int]]) -> None:
    sizes = {f"e{i}": {f"s{i}.{j}": size for j, size in enumerate(each)} for i, each in enumerate(rows)}
    room = 12

    def loads_of() -> list[int]:
        return [sum(each.values()) for each in sizes.values()]

    for _ in range(40):
        directory = with_engines(
            **{name: engine(room, **{s: session(rows=r) for s, r in each.items()}) for name, each in sizes.items()}
        )
        found = rules.evened(directory)
        if found is None:
            break
        moved, to = found
        worst = max(loads_of())
        source = next(each for each in sizes.values() if moved in each)
        sizes[to][moved] = source.pop(moved)
        assert max(loads_of()) <= worst
    else:
        raise AssertionError("sessions are moved for ever")


@given(st.data())
def test_a_session_is_one_engines_whatever_comes_in_which_order(data: st.DataObject) -> None:
    """Reports, losses and handovers at random: epochs never fall, and what a report lost is told to its engine."""
    directory, now = with_engines(a=engine(8, one=session()), b=engine(8), c=engine(8)), 0.0
    epoch = 1
    for _ in range(data.draw(st.integers(1, 30))):
        now += 0.1
        held = directory.sessions.get("one")
        if held is None:
            return
        assert held.epoch >= epoch
        epoch = held.epoch
        name = data.draw(st.sampled_from("abc"))
        match data.draw(st.sampled_from(("report", "stale", "lose", "hand"))):
            case "report":
                there = held.engine == name and held.confirmed
                directory, outdated = rules.reported(
                    directory, name, engine(8, **({"one": session(epoch)} if there else {})), now
                )
                assert not outdated
            case "stale" if epoch > 1:
                directory, outdated = rules.reported(directory, name, engine(8, one=session(epoch - 1)), now)
                assert outdated == ("one",) and directory.sessions["one"].epoch == epoch
            case "lose" if name in directory.engines:
                directory = rules.lost(directory, name)
                assert directory.sessions["one"].engine != name
            case "hand" if name in directory.engines and held.engine is None:
                directory = rules.settled(rules.handed(directory, "one", name, now), "one", now)
                assert directory.sessions["one"].epoch == epoch + 1
