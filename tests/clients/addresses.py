"""Whether the server would take an OSC message: read by its own reader, for a session of three layers."""

from __future__ import annotations

from collections.abc import Sequence

from safa_server.osc_map import address_table
from safa_server.osc_packet import Argument
from safa_server.osc_read import Present, read_request
from safa_stream.errors import UsageError
from safa_stream.scene import parse_prompts

LAYERS = (0, 1, 2)
_SESSION = Present(48_000 * 60, 48_000, lambda: LAYERS, lambda layer: parse_prompts("rain"))
_LIKELY: dict[str, Argument] = {"s": "rain", "f": 0.5, "i": 1, "T": True}


def refused(address: str, arguments: Sequence[Argument]) -> str | None:
    """Why the server would refuse a message; None where it would take it."""
    try:
        read_request(address, arguments, lambda session: _SESSION)
    except UsageError as error:
        return str(error)
    return None


def likely(address: str) -> list[Argument]:
    """Arguments that have to be given, of the right types; none where there is no such address."""
    parts = address.split("/")
    if parts[2:3] == ["layer"] and len(parts) == 5:
        parts[3] = "N"
    rows = [row for row in address_table() if row.direction == "in" and row.address == "/".join(parts)]
    return [_LIKELY[parameter.tag] for row in rows for parameter in row.parameters if parameter.required]
