"""What a front end tells an engine of a client: a token that only the cluster's own processes can make. Pure.

Front ends ask clients for their tokens, engines ask front ends for the cluster's. So an engine's port, which the other
nodes reach, opens nothing to anybody else, and a client gets no more of an engine than it would get of a single server.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass

from safa_server.principal import NOBODY, Access, Principal
from safa_server.security import Security, same
from safa_server.tenants.quotas import Quotas

_NAMES = {"none": Access.NONE, "listen": Access.LISTEN, "all": Access.ALL}


def pass_for(secret: str, who: Principal, quotas: Quotas | None = None) -> str:
    """The token of a front end that speaks for this client: what it may do, whose it is (tenants have no dots), and how
    much that tenant may have, as only front ends have the tenants file."""
    name = next(name for name, one in _NAMES.items() if one is who.access)
    told = "" if quotas is None else base64.urlsafe_b64encode(json.dumps(asdict(quotas)).encode()).decode()
    return f"{secret}.{name}.{who.tenant or ''}.{told}"


@dataclass(frozen=True, slots=True)
class EngineSecurity(Security):
    """The rules of an engine's port. `token` is the cluster's secret."""

    def who(self, given: str | None) -> Principal:
        """The client that a front end speaks for."""
        secret, name, tenant, _ = _parts(given)
        return Principal(_NAMES[name], tenant or None) if same(secret, self.token) and name in _NAMES else NOBODY

    def knows(self, given: str | None) -> bool:
        """Is it one of the cluster's front ends that asks?"""
        secret, name, _, _ = _parts(given)
        return same(secret, self.token) and name in _NAMES


def quotas_in(secret: str, given: str | None) -> tuple[str, Quotas] | None:
    """The tenant of a pass and how much it may have; None where it says nothing of that, or is no pass."""
    shown, _, tenant, told = _parts(given)
    if not same(shown, secret) or not tenant or not told:
        return None
    return tenant, Quotas(**json.loads(base64.urlsafe_b64decode(told)))


def _parts(given: str | None) -> tuple[str, str, str, str]:
    rest, _, told = (given or "").rpartition(".")
    rest, _, tenant = rest.rpartition(".")
    secret, _, name = rest.rpartition(".")
    return secret, name, tenant, told
