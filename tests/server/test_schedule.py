from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from safa_server.fairness import MOST_SECONDS, Account
from safa_server.schedule import SPARE_SECONDS, SPARE_SHARE, Need, before, plan, together

UNIT = 0.1
PLAYING = Need(6.0, work=0.5, steps=10)
CHANGE = Need(6.0, work=0.5, steps=10, waits=True)
FRESH = Need(0.0, work=0.5, steps=10, heard=False, waits=True)


def needs() -> st.SearchStrategy[list[Need]]:
    seconds = st.floats(0, 20)
    one = st.builds(Need, seconds, st.floats(0.01, 2), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 50))
    return st.lists(one, max_size=12)


def test_who_runs_dry_first_goes_first() -> None:
    found = plan([replace(PLAYING, deadline=deadline) for deadline in (5.0, 3.0, 7.0)], UNIT)
    assert found.order == (1, 0, 2)


def test_changes_go_first_while_nobody_is_late_for_them() -> None:
    assert plan([PLAYING, CHANGE, FRESH], UNIT).order == (2, 1, 0)
    late = replace(PLAYING, deadline=2.0)
    found = plan([late, CHANGE, FRESH], UNIT)
    assert found.tight
    assert found.order == (0, 1, 2), "what is heard, then what nobody hears yet"


def test_work_that_is_due_together_makes_it_tight_where_each_alone_would_not() -> None:
    one = replace(PLAYING, deadline=4.0, work=1.5)
    assert not plan([one, CHANGE], UNIT).tight
    assert plan([one, one, CHANGE], UNIT).tight


def test_who_waits_for_their_listeners_goes_last() -> None:
    assert plan([replace(FRESH, live=False), PLAYING], UNIT).order == (1, 0)


@given(needs(), st.floats(0.001, 1))
def test_slack_is_what_deadlines_leave(wanted: list[Need], unit: float) -> None:
    """Everything due is done by its deadline when done in the order of deadlines, if no slack is below zero."""
    found = plan(wanted, unit)
    assert sorted(found.order) == list(range(len(wanted)))
    due = sorted((need.deadline, number) for number, need in enumerate(wanted) if need.bound)
    done = 0.0
    for deadline, number in due:
        done += wanted[number].work
        spare = max(SPARE_SECONDS, SPARE_SHARE * deadline)
        assert math.isclose(found.slack[number], deadline - spare - done, abs_tol=1e-9)
    assert found.tight == any(slack < unit for slack in found.slack)


@given(needs(), st.floats(0.001, 0.2), st.integers(1, 16))
def test_nobody_becomes_late_by_a_batch(wanted: list[Need], row_seconds: float, largest: int) -> None:
    found = plan(wanted, UNIT)
    able = [number for number in found.order if wanted[number].steps]
    if not able:
        return
    chosen = together(wanted, found, able, row_seconds, largest)
    assert chosen[0] == able[0]
    assert len(chosen) == 1 or sum(wanted[number].rows for number in chosen) <= largest
    shared = [wanted[number].deadline if wanted[number].bound else math.inf for number in chosen[1:]]
    for number, slack in enumerate(found.slack):
        if number not in chosen[1:] and wanted[number].deadline < min(shared, default=0.0):
            assert slack >= row_seconds * len(shared) - 1e-9


def test_batches_are_filled_where_rows_cost_next_to_nothing() -> None:
    wanted = [PLAYING] * 20
    found = plan(wanted, UNIT)
    assert len(together(wanted, found, found.order, 0.0001, 16)) == 16
    # A change waits for none but what it does not notice.
    wanted = [CHANGE, *[PLAYING] * 7]
    found = plan(wanted, UNIT)
    assert together(wanted, found, found.order, 0.05, 16) == [0]
    assert len(together(wanted, found, found.order, 0.0001, 16)) == 8


def test_work_that_goes_before_is_counted() -> None:
    wanted = [replace(PLAYING, deadline=deadline) for deadline in (5.0, 3.0, 7.0)]
    found = plan(wanted, UNIT)
    assert [before(wanted, found, number) for number in range(3)] == [0.5, 0.0, 1.0]


def test_what_was_thrown_away_is_forgotten_in_time() -> None:
    account = Account(at=0.0)
    account.throw(5.0, 0.0)
    account.throw(-3.0, 1.0)
    assert account.left(1.0) == 4.0
    account.throw(1000.0, 2.0)
    assert account.left(2.0) == MOST_SECONDS
    assert account.left(100.0) == 0.0
