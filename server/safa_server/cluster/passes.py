"""What a front end tells an engine of a client: a token that only the cluster's own processes can make. Pure.

Front ends ask clients for their tokens, engines ask front ends for the cluster's. So an engine's port, which the other
nodes reach, opens nothing to anybody else, and a client gets no more of an engine than it would get of a single server.
"""

from __future__ import annotations

from dataclasses import dataclass

from safa_server.security import Access, Security, same

_NAMES = {"none": Access.NONE, "listen": Access.LISTEN, "all": Access.ALL}


def pass_for(secret: str, access: Access) -> str:
    """The token of a front end that speaks for a client who may do this much."""
    name = next(name for name, one in _NAMES.items() if one is access)
    return f"{secret}.{name}"


@dataclass(frozen=True, slots=True)
class EngineSecurity(Security):
    """The rules of an engine's port. `token` is the cluster's secret."""

    def access(self, given: str | None) -> Access:
        """What the client may do that a front end speaks for."""
        secret, _, name = (given or "").rpartition(".")
        return _NAMES.get(name, Access.NONE) if same(secret, self.token) else Access.NONE

    def knows(self, given: str | None) -> bool:
        """Is it one of the cluster's front ends that asks?"""
        secret, _, name = (given or "").rpartition(".")
        return same(secret, self.token) and name in _NAMES
