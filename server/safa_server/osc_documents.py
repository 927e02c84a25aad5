"""The OSC address table as documents: a list and a page for /osc over HTTP, Markdown for PROTOCOL.md."""

from __future__ import annotations

import html

from safa_server.osc_map import ROOT, address_table


def table_as_list() -> list[dict[str, str]]:
    """The table for programs, as JSON has it."""
    names = ("address", "direction", "types", "arguments", "range", "meaning")
    return [{name: getattr(row, name) for name in names} for row in address_table()]


def table_as_markdown(direction: str) -> str:
    """The table for PROTOCOL.md, one direction of it."""
    lines = ["| address | types | arguments | range | meaning |", "|---|---|---|---|---|"]
    for row in address_table():
        if row.direction == direction:
            cells = (f"`{row.address}`", f"`{row.types}`" if row.types else "", row.arguments, row.range, row.meaning)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def table_as_html() -> str:
    """The table as a page that needs nothing else."""
    parts = []
    for direction, title in (("in", "To the server"), ("out", "From the server")):
        head = "".join(f"<th scope=col>{name}</th>" for name in ("address", "types", "arguments", "range", "meaning"))
        body = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(cell)}</td>"
                for cell in (row.address, row.types, row.arguments, row.range, row.meaning)
            )
            + "</tr>\n"
            for row in address_table()
            if row.direction == direction
        )
        parts.append(f"<h2>{title}</h2>\n<table>\n<tr>{head}</tr>\n{body}</table>\n")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<title>safa-stream: OSC addresses</title><style>:root{color-scheme:light dark}body{font:15px/1.4 sans-serif;"
        "margin:2em}table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.3em .8em;"
        "border-bottom:1px solid #8886}td:nth-child(-n+3){font-family:monospace;white-space:nowrap}</style>\n"
        "<h1>OSC addresses</h1>\n<p>N is a layer's number or a pattern such as <code>*</code>. For a session other "
        f"than the default one begin with <code>{ROOT}/session/ID</code>. Types: i integer, f float, s string, b blob, "
        "T true or false (or 1 or 0); in brackets: can be left out.</p>\n" + "".join(parts)
    )
