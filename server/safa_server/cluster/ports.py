"""An engine as the head calls it, wherever it is, and where a session is as the head tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from safa_server.cluster.directory import EngineFacts
from safa_server.tenants.quotas import Usage


class EnginePort(Protocol):
    """An engine, wherever it is. Every call raises where the engine is gone."""

    async def facts(self, elsewhere: Mapping[str, Usage]) -> EngineFacts:
        """How it stands. elsewhere: what tenants have at other engines."""
        ...

    async def adopt(self, session_id: str, epoch: int, due: int | None) -> None: ...

    async def release(self, session_id: str) -> int: ...

    async def drop(self, session_id: str, epoch: int) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None:
        """End it at once, answering or not."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where a session is: its engine, that engine's WebSocket, and the epoch in which that is so."""

    engine: str
    url: str
    epoch: int
