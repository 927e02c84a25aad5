"""The tenants of a server as values: names, quotas, keys, and what is revoked. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from safa_server.principal import Grant
from safa_server.tenants.quotas import Quotas
from safa_stream.errors import UsageError

Algorithm = Literal["HS256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("HS256", "EdDSA")
#: A tenant's name is also that of its folder.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MOST_TENANTS, MOST_KEYS, MOST_REVOKED = 10_000, 16, 100_000
#: HMAC with SHA-256 is as strong as its key up to this (RFC 7518, 3.2).
LEAST_SECRET_BYTES = 32
MONTH = 31 * 86_400.0


@dataclass(frozen=True, slots=True)
class Key:
    """What a tenant's tokens are signed with. material: the secret of HS256, or the public key of EdDSA as PEM."""

    id: str
    algorithm: Algorithm
    material: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """keys: the newest last; token_seconds: the longest life of a token that is taken."""

    name: str
    keys: tuple[Key, ...]
    quotas: Quotas = field(default_factory=Quotas)
    token_seconds: float = MONTH


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens that are no longer taken: the one of this id, or all that were issued before a time (Unix time), of one
    tenant or of all."""

    id: str | None = None
    tenant: str | None = None
    issued_before: float | None = None


class Revoked:
    """All revocations, for looking up."""

    def __init__(self, entries: Iterable[Revocation] = ()) -> None:
        self.entries = tuple(entries)
        self._ids = frozenset(entry.id for entry in self.entries if entry.id is not None)
        self._before: dict[str | None, float] = {}
        for entry in self.entries:
            if entry.issued_before is not None:
                latest = max(self._before.get(entry.tenant, 0.0), entry.issued_before)
                self._before[entry.tenant] = latest

    def holds(self, grant: Grant) -> bool:
        """Is this token revoked?"""
        before = max(self._before.get(None, 0.0), self._before.get(grant.tenant, 0.0))
        return grant.id in self._ids or grant.issued < before


class Book:
    """leeway: seconds that the clock of who issues tokens may be off this one's. Raises UsageError for a key id that is
    there twice: it alone says whose token it is."""

    def __init__(self, tenants: Iterable[Tenant], revoked: Revoked | None = None, leeway: float = 10.0) -> None:
        self.tenants: Mapping[str, Tenant] = {tenant.name: tenant for tenant in tenants}
        self.revoked, self.leeway = revoked or Revoked(), leeway
        self._keys: dict[str, tuple[Tenant, Key]] = {}
        for tenant in self.tenants.values():
            for key in tenant.keys:
                if key.id in self._keys:
                    raise UsageError(f"key id {key.id!r} is there twice")
                self._keys[key.id] = tenant, key

    def key(self, id: str) -> tuple[Tenant, Key] | None:
        """A key and whose it is."""
        return self._keys.get(id)

    def standing(self, grant: Grant, now: float) -> str | None:
        """Why a token that was once good is not taken (any more), None while it is. now: Unix time."""
        found = self._keys.get(grant.key)
        if found is None or found[0].name != grant.tenant:
            return "the key of the token is not known (any more)"
        if self.revoked.holds(grant):
            return "the token was revoked"
        if now > grant.expires + self.leeway:
            return f"the token has expired at {shown(grant.expires)}"
        if now < grant.begins - self.leeway:
            return f"the token is not valid before {shown(grant.begins)}"
        if grant.expires - grant.issued > found[0].token_seconds:
            return f"the token lives too long: at most {found[0].token_seconds:g} s are taken"
        return None


def shown(time: float) -> str:
    """Unix time for people."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
