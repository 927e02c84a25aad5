"""The table in examples/README.md is the one that test runs wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.proofs import BEGIN, END, PAGE, Proof, Proofs, merged, read, table, with_table

JALV = Proof("jalv", "exact: plugin", "1.6.6", frames_equal=48_000, underruns=0)


def test_the_page_has_the_rows_that_are_kept() -> None:
    page = PAGE.read_text()
    assert page == with_table(page, read())


def test_a_run_replaces_its_own_rows_only(tmp_path: Path) -> None:
    store, page = tmp_path / "proofs.json", tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}{END}after\n")
    first, second = Proofs(), Proofs()
    first.tell(JALV)
    first.tell(Proof("Max", "structure", "-", not_run="Max itself: not on Linux"))
    first.keep(store, page)
    second.tell(Proof("jalv", "exact: plugin", "1.6.8", frames_equal=96_000, underruns=1))
    second.keep(store, page)
    assert [row.tool for row in read(store)] == ["jalv", "Max"]
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| jalv | 1.6.8 | exact: plugin | 96 000 | 1 |  |\n" in text and "1.6.6" not in text


def test_rows_are_told_apart_by_tool_and_comparison() -> None:
    other = Proof("jalv", "exact: 44.1 kHz", "1.6.6", frames_equal=44_100)
    assert merged([JALV], [other]) == (other, JALV)
    assert table([other]).count("\n") == 3


def test_a_page_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        with_table("words", [])


def test_nothing_is_called_exact_that_was_not_compared() -> None:
    with pytest.raises(ValueError, match="no frame was compared"):
        Proof("jalv", "exact: plugin", "1.6.6", frames_equal=0)
