"""What was proven with which program: rows that tests of `examples/` leave behind, kept as a table in its README.

Tests call `Proofs.tell`; only a run that was asked to (`SAFA_WRITE_PROOFS=1`, `make proofs`) changes the files, row by
row: a program that is not here keeps the row that another machine wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = EXAMPLES / "README.md"
STORE = EXAMPLES / "proofs.json"
BEGIN, END = "<!-- table: proofs -->\n", "<!-- end -->\n"
HEAD = "| tool | version | compared | frames equal | underruns | not run, and why |\n|---|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """One row. compared: what was held against what, "exact" only where that was the session's own output, sample by
    sample; frames_equal, underruns: counts of that run, None where nothing was to be counted; not_run: what this does
    not show, and why, empty if nothing."""

    tool: str
    compared: str
    version: str
    frames_equal: int | None = None
    underruns: int | None = None
    not_run: str = ""

    def __post_init__(self) -> None:
        if "exact" in self.compared and not self.frames_equal:
            raise ValueError(f"{self.tool}: {self.compared!r} is called exact, and no frame was compared")


def read(store: Path = STORE) -> tuple[Proof, ...]:
    """The rows that are kept, none where there is no file yet."""
    return tuple(Proof(**row) for row in json.loads(store.read_text())) if store.exists() else ()


def merged(old: Iterable[Proof], new: Iterable[Proof]) -> tuple[Proof, ...]:
    """Old rows, replaced by new ones of the same tool and comparison, in order."""
    rows = {(row.tool, row.compared): row for row in (*old, *new)}
    return tuple(sorted(rows.values(), key=lambda row: (row.tool.lower(), row.compared)))


def table(rows: Iterable[Proof]) -> str:
    """Rows as Markdown."""

    def count(value: int | None) -> str:
        return "" if value is None else f"{value:,}".replace(",", " ")

    def line(row: Proof) -> str:
        cells = (row.tool, row.version, row.compared, count(row.frames_equal), count(row.underruns), row.not_run)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    return HEAD + "".join(map(line, rows))


def with_table(page: str, rows: Iterable[Proof]) -> str:
    """A page whose table, between its two marks, is that of `rows`."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the page has no table between {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + table(rows) + END + after


class Proofs:
    """Gathers the rows of one run."""

    def __init__(self) -> None:
        self._rows: list[Proof] = []

    def tell(self, proof: Proof) -> None:
        self._rows.append(proof)

    def keep(self, store: Path = STORE, page: Path = PAGE) -> None:
        """Write them into the store and the page."""
        rows = merged(read(store), self._rows)
        store.write_text(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n")
        page.write_text(with_table(page.read_text(), rows))
