"""What a front end tells an engine of a client: a token that only the cluster's own processes can make. Pure.

Front ends ask clients for their tokens, engines ask front ends for the cluster's. So an engine's port, which the other
nodes reach, opens nothing to anybody else, and a client gets no more of an engine than it would get of a single server.
"""

from __future__ import annotations

from dataclasses import dataclass

from safa_server.principal import NOBODY, Access, Principal
from safa_server.security import Security, same

_NAMES = {"none": Access.NONE, "listen": Access.LISTEN, "all": Access.ALL}


def pass_for(secret: str, who: Principal) -> str:
    """The token of a front end that speaks for this client: what it may do, and whose it is (tenants have no dots)."""
    name = next(name for name, one in _NAMES.items() if one is who.access)
    return f"{secret}.{name}.{who.tenant or ''}"


@dataclass(frozen=True, slots=True)
class EngineSecurity(Security):
    """The rules of an engine's port. `token` is the cluster's secret."""

    def who(self, given: str | None) -> Principal:
        """The client that a front end speaks for."""
        secret, name, tenant = _parts(given)
        return Principal(_NAMES[name], tenant or None) if same(secret, self.token) and name in _NAMES else NOBODY

    def knows(self, given: str | None) -> bool:
        """Is it one of the cluster's front ends that asks?"""
        secret, name, _ = _parts(given)
        return same(secret, self.token) and name in _NAMES


def _parts(given: str | None) -> tuple[str, str, str]:
    rest, _, tenant = (given or "").rpartition(".")
    secret, _, name = rest.rpartition(".")
    return secret, name, tenant
