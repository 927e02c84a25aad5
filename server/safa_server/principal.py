"""Who somebody is to the server: what they may do, and whose sessions they may know of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Access(IntEnum):
    """What a client may do. NONE: what needs no token; LISTEN: join sessions and hear them; ALL: open them, too.

    To steer a session that another client opened takes that session's own token beside it.
    """

    NONE = 0
    LISTEN = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Grant:
    """What a tenant's token says. key: the id of the key that signed it; id: the token's own; issued, begins, expires:
    seconds of Unix time; it is good from `begins` to `expires`."""

    tenant: str
    key: str
    id: str
    issued: float
    begins: float
    expires: float


@dataclass(frozen=True, slots=True)
class Principal:
    """tenant: None for the operator and whoever has the server's listen token; grant: the tenant's token, which can
    expire and be revoked; refusal: why the access is NONE, in words for the client."""

    access: Access
    tenant: str | None = None
    grant: Grant | None = None
    refusal: str = "a token is needed"

    @property
    def operates(self) -> bool:
        """Whether all of the server is theirs."""
        return self.access is Access.ALL and self.tenant is None

    def sees(self, owner: str | None) -> bool:
        """May they know of the sessions of `owner`: a tenant, or None for the operator's own?"""
        return self.operates or (self.access is not Access.NONE and self.tenant == owner)

    def may_join(self, owner: str | None, opens: bool) -> bool:
        """May they join a session of `owner`? opens: they have that session's own token, which is enough where the
        session is the operator's; a tenant's session takes the tenant's token beside it."""
        return self.sees(owner) or (opens and owner is None)


OPERATOR = Principal(Access.ALL)
NOBODY = Principal(Access.NONE)
