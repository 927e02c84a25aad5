"""How many live sessions a server takes, and whether it keeps those fed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from safa_server.measuring.account import Account
from safa_server.measuring.servers import Report, Running, within
from safa_server.measuring.sockets import Socket, dial, place

#: Sessions after which it is taken that nothing will be refused.
MOST_SESSIONS = 256
FIRST_AUDIO_SECONDS = 120.0


@dataclass(slots=True)
class Held:
    """A session that is open: its connection, what it was sent, and how often its sound was late."""

    socket: Socket
    account: Account = field(default_factory=Account)
    underruns: int = 0
    fewer_steps: int = 0
    answers: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.socket.on_audio, self.socket.on_text = self._audio, self._text

    def _audio(self, payload: memoryview) -> None:
        self.account.take(*place(payload))
        self.heard.set()

    def _text(self, message: dict[str, Any]) -> None:
        self.underruns += message["type"] == "bed.began"
        self.fewer_steps += message["type"] == "fewer_steps"
        if message["type"] in ("opened", "error"):
            self.answers.put_nowait(message)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found. refusal: the server's answer to the session that was one too many, None where all were taken;
    factor: the measured real-time factor when it refused; seconds: how long all were held."""

    sessions: int
    factor: float
    underruns: int
    fewer_steps: int
    missing: int
    duplicated: int
    seconds: float
    refusal: dict[str, Any] | None


async def capacity(server: Running, scene: dict[str, Any], hold: float, report: Report) -> Capacity:
    """Open live sessions, each once the one before is heard, until one is refused; then hold them for a while."""
    held: list[Held] = []
    refusal = None
    try:
        while refusal is None and len(held) < MOST_SESSIONS:
            session = Held(await dial(server.host, server.port))
            session.socket.say("open", scene=scene, format="s16", id=1)
            answer = await within(FIRST_AUDIO_SECONDS, "a session", session.answers.get())
            if answer["type"] == "error":
                session.socket.abort()
                refusal = answer
                break
            held.append(session)
            await within(FIRST_AUDIO_SECONDS, "a session's first sound", session.heard.wait())
        # Metrics are a second old at most.
        await asyncio.sleep(1.2)
        factor = (await server.metrics())["safa_real_time_factor"]
        reason = "none was refused" if refusal is None else refusal["reason"]
        report(f"{len(held)} sessions play ({reason}); holding them for {hold:g} s")
        await asyncio.sleep(hold)
        return Capacity(
            sessions=len(held),
            factor=factor,
            underruns=sum(one.underruns for one in held),
            fewer_steps=sum(one.fewer_steps for one in held),
            missing=sum(one.account.missing for one in held),
            duplicated=sum(one.account.duplicated for one in held),
            seconds=hold,
            refusal=refusal,
        )
    finally:
        for session in held:
            session.socket.say("close")
        for session in held:
            await session.socket.gone(5.0)
            session.socket.abort()
