"""How much a tenant may have, and the refusal where that is used up. Pure: who counts hands the counts in."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from safa_server.bucket import Bucket
from safa_stream.errors import FailureError, UsageError

#: When asking again makes sense where something of the tenant's own has to end first, seconds.
RETRY_SECONDS = 10.0


def _quota(default: float, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """All above 0; every field's metadata has a "help". Raises UsageError."""

    sessions: int = _quota(8, "Sessions at a time.")
    layers: int = _quota(16, "Layers of all its sessions together, at a time.")
    listeners: int = _quota(256, "Connections that hear its sessions, at a time.")
    session_seconds: float = _quota(86_400.0, "How old its sessions get.")
    opens_per_minute: float = _quota(30.0, "Sessions opened in a minute; as many at once, then one by one.")

    def __post_init__(self) -> None:
        for one in fields(self):
            if not getattr(self, one.name) > 0:
                raise UsageError(f"{one.name!r} must be above 0, not {getattr(self, one.name)}")


class QuotaError(FailureError):
    """A tenant has as much as it may have. quota: which; retry_after: seconds until another try makes sense."""

    def __init__(self, tenant: str, quota: str, reason: str, retry_after: float = RETRY_SECONDS) -> None:
        super().__init__(f"{reason} (quota {quota!r})")
        self.tenant, self.quota, self.reason, self.retry_after = tenant, quota, reason, retry_after


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant has now. Layers that wait for their time count."""

    sessions: int = 0
    layers: int = 0
    listeners: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.sessions + other.sessions, self.layers + other.layers, self.listeners + other.listeners)


class Allowances(Protocol):
    """How much tenants may have, and what they have beside what is counted here."""

    def quotas(self, tenant: str) -> Quotas: ...

    def elsewhere(self, tenant: str) -> Usage: ...


@dataclass(frozen=True, slots=True)
class Denied:
    """A QuotaError as a value, for who asked another process."""

    quota: str
    reason: str
    retry_after: float


def check_layers(tenant: str, quotas: Quotas, usage: Usage, more: int) -> None:
    """Raises QuotaError where so many more layers are too many."""
    if usage.layers + more > quotas.layers:
        raise QuotaError(tenant, "layers", f"{usage.layers} layers play already, of {quotas.layers}; {more} more asked")


def check_listener(tenant: str, quotas: Quotas, usage: Usage) -> None:
    """Raises QuotaError where one more connection that listens is too many."""
    if usage.listeners >= quotas.listeners:
        raise QuotaError(tenant, "listeners", f"{usage.listeners} connections listen already")


class Turnstile:
    """Counts how often each tenant opens sessions. It holds as many tenants as their file does."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def check_open(self, tenant: str, quotas: Quotas, usage: Usage, layers: int, now: float) -> None:
        """Raises QuotaError where a session of so many layers is too much. now: seconds of a monotonic clock."""
        if usage.sessions >= quotas.sessions:
            raise QuotaError(tenant, "sessions", f"{usage.sessions} sessions are open already")
        check_layers(tenant, quotas, usage, layers)
        rate, burst = quotas.opens_per_minute / 60, max(1.0, quotas.opens_per_minute)
        bucket = self._buckets.setdefault(tenant, Bucket(rate, burst, burst, now))
        # The file may have been changed meanwhile.
        bucket.rate, bucket.burst = rate, burst
        if not bucket.take(now):
            about = f"more than {quotas.opens_per_minute:g} sessions were opened in a minute"
            raise QuotaError(tenant, "opens_per_minute", about, bucket.wait())
