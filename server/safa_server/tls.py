"""TLS with certificates that are renewed on disk: new ones are taken without a restart, broken ones are not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from safa_server.security import tls_context
from safa_server.watched import Watched

#: The files are looked at so often. Certificates are renewed days before they expire.
LOOK_SECONDS = 60.0


class Renewing:
    """`context` serves every connection with the newest certificate that could be used. Raises UsageError at first."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        files = [certificate] if key is None else [certificate, key]
        self._newest = Watched(f"TLS certificate {certificate}", files, lambda: tls_context(certificate, key))
        self.context = tls_context(certificate, key)
        self.context.sni_callback = self._choose

    def look(self) -> bool:
        """Whether there is a new certificate, which connections from now on are served with."""
        return self._newest.look()

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """Called in every handshake, with the name that the client asked for or without.

        A certificate that is loaded into a context in use replaces the old one before its key is read; so a context is
        made for each, and handshakes are handed to the newest.
        """
        connection.context = self._newest.value


@asynccontextmanager
async def renewed(certificate: Path, key: Path | None, seconds: float = LOOK_SECONDS) -> AsyncIterator[ssl.SSLContext]:
    """A server's context, whose files are looked at every so many seconds while this lasts. Raises UsageError."""
    renewing = Renewing(certificate, key)

    async def look() -> None:
        while True:
            await asyncio.sleep(seconds)
            renewing.look()

    looking = asyncio.create_task(look(), name="certificates")
    try:
        yield renewing.context
    finally:
        looking.cancel()


@asynccontextmanager
async def renewed_or_none(certificate: Path | None, key: Path | None) -> AsyncIterator[ssl.SSLContext | None]:
    """The same, or None where the server has no certificate."""
    if certificate is None:
        yield None
        return
    async with renewed(certificate, key) as context:
        yield context
