"""What the measuring commands share: lists in options, progress lines, and figures as a table or as JSON."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safa_stream.cli.values import BACKEND, count


def names(text: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> Sequence[int]:
    """Whole numbers above 0 separated by commas."""
    return [count(part) for part in names(text)]


def progress(quiet: bool) -> Callable[[str], None]:
    """Lines to standard error, or none."""
    return (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))


def tell(as_json: bool, figures: Mapping[str, Any], table: str) -> None:
    """One JSON object, or the table, on standard output."""
    from safa_stream.evaluation.tables import to_json

    print(to_json(figures) if as_json else table)


def write(path: Path, text: str) -> None:
    """Write a text file. Raises OutputError where that is not possible."""
    from safa_stream.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def command_line() -> str:
    """The command line as it was given, for a page; of files elsewhere only their names, and no --quiet."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:] if word != "--quiet"]
    return shlex.join(["safa-stream", *words])


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every measuring command."""
    parser.add_argument("--model", default="builtin", help="a model's name or folder (default: builtin)")
    parser.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")
