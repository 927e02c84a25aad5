"""The tenants of a running server: who shows a token, whether it is still good, and how much its tenant may have."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from safa_server.principal import Principal
from safa_server.tenants.book import Book
from safa_server.tenants.book_file import beside, read_book
from safa_server.tenants.quotas import Quotas, Usage
from safa_server.tenants.tokens import identify, jwt
from safa_server.watched import Watched

log = logging.getLogger("safa_server.tenants")

#: Of a tenant that is not in the file (any more), whose restored sessions go on until nobody comes back to them.
UNKNOWN = Quotas()


class Register:
    """Made from a tenants file; raises UsageError where that cannot be used, or PyJWT is not there.

    `look` is to be called twice a second, from any thread. clock: Unix time.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        jwt()
        self._clock = clock
        self._watched = Watched(f"tenants file {path}", (path, beside(path)), lambda: read_book(path))
        if any(key.algorithm == "HS256" for tenant in self.book.tenants.values() for key in tenant.keys):
            _warn_of_readers(path)

    @property
    def book(self) -> Book:
        """What the file says now."""
        return self._watched.value

    def look(self) -> None:
        """Read the file anew where it has changed."""
        self._watched.look()

    def who(self, token: str) -> Principal:
        """Who shows this token."""
        return identify(self.book, token, self._clock())

    def standing(self, principal: Principal) -> str | None:
        """Why somebody who was let in has to go, None while they may stay."""
        return None if principal.grant is None else self.book.standing(principal.grant, self._clock())

    def quotas(self, tenant: str) -> Quotas:
        """How much a tenant may have."""
        found = self.book.tenants.get(tenant)
        return UNKNOWN if found is None else found.quotas

    def elsewhere(self, tenant: str) -> Usage:
        """A server that is alone counts all that there is."""
        return Usage()


def _warn_of_readers(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        log.warning("the tenants file %s holds secrets and can be read by other users: chmod 600", path)
