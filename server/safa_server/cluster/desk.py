"""What the relays of a front end share, and what they need of a client's socket and of the cluster's head."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Protocol

from safa_server.cluster.passes import pass_for
from safa_server.cluster.ports import Route
from safa_server.limits import Limits
from safa_server.metrics import Registry
from safa_server.principal import Principal
from safa_server.security import Security
from safa_server.tenants.quotas import Denied, Quotas


class Client(Protocol):
    """A WebSocket of a client, of whichever library. Iteration ends when the client has gone."""

    def __aiter__(self) -> AsyncIterator[str | bytes]: ...

    async def send(self, message: str | bytes) -> None:
        """Waits while the client has too much to take. Raises ConnectionClosed."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class Switchboard(Protocol):
    """Who knows where sessions are: a head, wherever it runs. Raises FailureError where it cannot be asked."""

    async def place(self, rows: int, model: str | None, without: Collection[str] = ()) -> Route | None: ...

    async def where(self, session: str, seconds: float = 0.0) -> Route | None: ...

    async def may_open(self, tenant: str, quotas: Quotas, layers: int) -> Denied | None:
        """Why a tenant may not open one more session of so many layers, None where it may."""
        ...

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What all relays of a front end share. secret: the cluster's."""

    switchboard: Switchboard
    secret: str
    security: Security
    limits: Limits
    metrics: Registry

    def pass_of(self, who: Principal) -> str:
        """What engines are shown of a client."""
        return pass_for(self.secret, who, None if who.tenant is None else self.quotas(who.tenant))

    def quotas(self, tenant: str) -> Quotas | None:
        """How much a tenant may have, None where nobody says."""
        return None if self.security.tenants is None else self.security.tenants.quotas(tenant)
