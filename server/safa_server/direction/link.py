"""Where the session is that a programme directs: a link to steer it, as the page and the ready file have it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from safa_stream.errors import FailureError, UsageError


@dataclass(frozen=True, slots=True)
class Link:
    """url: of the WebSocket; session: its id; token: what lets its holder steer it."""

    url: str
    session: str
    token: str | None = field(repr=False)


def read_link(text: str) -> Link:
    """From "http://127.0.0.1:8600/#session=...&token=...&control=1". Raises UsageError."""
    try:
        parts = urlsplit(text)
        secrets = parse_qs(parts.fragment)
        session, scheme = secrets["session"][0], {"http": "ws", "https": "wss"}[parts.scheme]
        if not parts.netloc:
            raise ValueError
    except (ValueError, KeyError):
        raise UsageError(
            "a link to steer looks like http://127.0.0.1:8600/#session=...&token=...&control=1; "
            "the page's Share makes one, and `safa-stream serve --prompt ...` prints one"
        ) from None
    return Link(f"{scheme}://{parts.netloc}/ws", session, next(iter(secrets.get("token", [])), None))


def link_in(ready_file: Path) -> Link:
    """The session that a server keeps, from its ready file. Raises FailureError while there is none."""
    try:
        found = json.loads(ready_file.read_text(encoding="utf-8"))
        url, session = str(found["url"]), found["session"]
    except FileNotFoundError:
        raise FailureError(f"there is no ready file {ready_file} yet; is the server up?") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FailureError(f"cannot read the ready file {ready_file}: {error}") from None
    if session is None:
        raise FailureError("the server keeps no session of its own: give it --prompt, --scene, or --restore")
    return read_link(url)
