"""Where a server that is up can be reached, as links for people and as the ready file for programs. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server that is up can be reached; ports of what it does not serve are None."""

    host: str
    port: int
    osc_port: int | None
    osc_tcp_port: int | None
    oscquery_port: int | None
    token: str | None
    tls: bool
    session: str | None = None
    session_token: str | None = None
    listen_token: str | None = None

    @property
    def url(self) -> str:
        """The page's address; behind # (so that it is not sent or logged) the token, or the server's own session."""
        if self.session is not None:
            return self._page({"session": self.session, "token": self.session_token or "", "control": "1"})
        return self._page({"token": self.token} if self.token else {})

    @property
    def listen_url(self) -> str | None:
        """The page for who only listens to the server's own session; None without a listen token or such a session."""
        if self.session is None or self.listen_token is None:
            return None
        return self._page({"session": self.session, "token": self.listen_token})

    def _page(self, secrets: dict[str, str]) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        fragment = f"#{urlencode(secrets)}" if secrets else ""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/{fragment}"

    def ready_file(self) -> dict[str, Any]:
        """What the ready file holds."""
        return {
            "host": self.host,
            "port": self.port,
            "osc_port": self.osc_port,
            "osc_tcp_port": self.osc_tcp_port,
            "oscquery_port": self.oscquery_port,
            "token": self.token,
            "listen_token": self.listen_token,
            "pid": os.getpid(),
            "url": self.url,
            "listen_url": self.listen_url,
            "session": self.session,
        }
