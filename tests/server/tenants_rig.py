"""A tenants file with two tenants, and their tokens by a clock that tests turn."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safa_server.security import Security
from safa_server.tenants.keys import new_key
from safa_server.tenants.register import Register
from safa_server.tenants.tokens import Scope, issue

OPERATOR, LISTEN = "the-operators-own", "the-operators-listeners"


@dataclass
class Clock:
    """Unix time, which goes on when it is told to."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


class Tenancy:
    """quotas: of tenant a; b has the defaults."""

    def __init__(self, folder: Path, **quotas: Any) -> None:
        self.path, self.clock = folder / "tenants.toml", Clock()
        self.keys = {name: new_key(name, "HS256", f"{name}-1", self.clock.now).toml for name in ("a", "b")}
        self.write(**quotas)
        self.register = Register(self.path, self.clock)
        self.security = Security.of("127.0.0.1", OPERATOR, (), LISTEN, self.register)

    def write(self, **quotas: Any) -> None:
        """Write the file anew."""
        said = "".join(f"{name} = {value}\n" for name, value in quotas.items())
        self.path.write_text(f"[tenants.a]\n{said}\n" + "\n".join(self.keys.values()))
        self.path.chmod(0o600)

    def token(self, tenant: str, scope: Scope = "all", lifetime: float = 3600.0) -> str:
        """A fresh token, by the tenant's last key."""
        return self.issued(tenant, scope, lifetime)[0]

    def issued(self, tenant: str, scope: Scope = "all", lifetime: float = 3600.0) -> tuple[str, str]:
        """A fresh token and its id."""
        found = self.register.book.tenants[tenant]
        made = issue(found, found.keys[-1], scope, lifetime, self.clock.now)
        return made.text, made.grant.id


def bearer(token: str) -> dict[str, Any]:
    """Options of a client that brings a token."""
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}
