"""What an engine knows of tenants, which have their file where front ends are: what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from safa_server.tenants.quotas import Quotas, Usage
from safa_server.tenants.register import UNKNOWN


@dataclass(slots=True)
class ToldAllowances:
    """told: quotas by tenant, as the latest pass of each says; others: what tenants have at other engines, as the head
    says. A tenant of whom neither has spoken has the quotas of one that is in no file, and nothing elsewhere."""

    told: dict[str, Quotas] = field(default_factory=dict)
    others: Mapping[str, Usage] = field(default_factory=dict)

    def quotas(self, tenant: str) -> Quotas:
        """How much a tenant may have."""
        return self.told.get(tenant, UNKNOWN)

    def elsewhere(self, tenant: str) -> Usage:
        """What a tenant has at other engines."""
        return self.others.get(tenant, Usage())
