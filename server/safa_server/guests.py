"""Who is connected by a right that can end: when it does, they are told and sent away."""

from __future__ import annotations

import logging
from collections.abc import Callable

from safa_server.metrics import Registry
from safa_server.principal import Principal
from safa_server.security import Security

log = logging.getLogger("safa_server.guests")

Cut = Callable[[str], None]


class Guests:
    """Lives on the event loop; `sweep` is to be called twice a second."""

    def __init__(self, security: Security, metrics: Registry) -> None:
        self._security, self._metrics = security, metrics
        self._present: dict[object, tuple[Principal, Cut]] = {}

    def enter(self, connection: object, principal: Principal, cut: Cut) -> None:
        """A connection uses this right from now on, instead of an earlier one. cut: ends it, with a reason."""
        self.leave(connection)
        if principal.grant is not None:
            self._present[connection] = principal, cut

    def leave(self, connection: object) -> None:
        """A connection has ended, by itself or because it was cut."""
        self._present.pop(connection, None)

    def sweep(self) -> None:
        """Cut the connections whose right has ended."""
        for connection, (principal, cut) in list(self._present.items()):
            reason = self._security.standing(principal)
            if reason is not None:
                self.leave(connection)
                self._metrics.add("safa_connections_cut_total")
                if principal.grant is not None:
                    log.info("tenant %s, token %s: connection cut: %s", principal.tenant, principal.grant.id, reason)
                cut(reason)
