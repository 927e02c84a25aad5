"""What a WebSocket client says and hears besides a session's commands and events; PROTOCOL.md "Messages".

Field names are those of the wire; one that Python reserves carries a trailing underscore here (`from_` is "from").
Samples and positions are of the session's clock unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Pacing = Literal["live", "pull", "host"]
Format = Literal["f32", "s16", "s24", "opus"]
Code = Literal[
    "bad_json",
    "bad_message",
    "unknown_type",
    "unknown_field",
    "missing_field",
    "bad_value",
    "token",
    "listen_only",
    "not_allowed",
    "not_open",
    "already_open",
    "no_session",
    "admission",
    "quota",
    "refused",
    "failed",
]

#: What an error's code means.
CODES: Mapping[Code, str] = {
    "bad_json": "not JSON in UTF-8, NaN or Infinity, a name twice, or nested too deeply",
    "bad_message": "not an object with a type, or a binary message",
    "unknown_type": "no message has this type",
    "unknown_field": "the message has a field that its type does not know; `field` names it",
    "missing_field": "a field that its type needs is missing; `field` names it",
    "bad_value": "a field's value is of the wrong kind or out of range; `field` names it",
    "token": "the token is missing, wrong, expired or revoked, as `reason` says; the connection is closed with 1008",
    "listen_only": "the listen token hears sessions; it opens and steers none",
    "not_allowed": "this connection only listens, or the session's token is missing or wrong",
    "not_open": "this connection has no session yet",
    "already_open": "this connection has a session already",
    "no_session": "there is no such session, or it has ended",
    "admission": "the machine cannot keep more sessions or layers fed; `retry_after` says when to ask again",
    "quota": "the tenant has as much as it may have, `reason` says of what; `retry_after` says when to ask again",
    "refused": "the session cannot do this now, as `reason` says",
    "failed": "the server could not do it, though nothing was wrong with the message",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Begin a session and listen to it.

    scene: a prompt line or a scene object; pacing: "live" by the server's clock, "pull" by `grant`, "host" by
    `grant` as live sound is: what is late is heard as a bed, and nothing waits; rate in Hz and channels of the audio
    frames, the session's own where None: more than 2 make a session of so many where the scene does not say how many
    it has; lead: seconds of sound kept ready ahead; ahead: in pacing live, seconds by which sound is sent before its
    time, 0.2 if not given: as much a player can bridge, and as much later is heard what is steered; name: for people;
    play: false lets the clock stand until `play`; layer: hear this layer alone, as in `join`; token: the server's or a
    tenant's, where neither a header nor the address carried it; header: of the audio frames, 2 with beat time.
    """

    scene: str | dict[str, Any]
    pacing: Pacing = "live"
    format: Format = "f32"
    rate: int | None = None
    channels: int | None = None
    lead: float | None = None
    ahead: float | None = None
    name: str | None = None
    play: bool = True
    layer: int | None = None
    token: str | None = None
    header: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Listen to a session that exists, or come back to it.

    token: the session's, which `control` (to steer it, too) needs; a listener may give the server's, or its listen
    token, instead. key: the tenant's token, where neither a header nor the address carried it: a tenant's session takes
    both. channels: the first so many of the session's. layer: hear this layer alone, as it goes into the
    master, on the same clock. from: the last frame that is not wanted again, by sequence number: every later one is
    sent, the same bytes as before. Without it frames come from now on. header: of the audio frames,
    2 with beat time.
    """

    session: str
    token: str | None = None
    key: str | None = None
    control: bool = False
    format: Format = "f32"
    rate: int | None = None
    channels: int | None = None
    layer: int | None = None
    from_: int | None = None
    header: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Every frame up to this sequence number has arrived."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Pull pacing: allow so many more samples of the session's clock. Grants add up."""

    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Let the session's clock run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Let the session's clock stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Ask for the server's clocks; client_clock comes back as it was sent."""

    client_clock: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Playhead:
    """Say which sample of the session's clock is being heard."""

    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetState:
    """Ask for the session's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetProvenance:
    """Ask what made the sound of frames with this provenance number."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Leave, and end the session if this client may control it. Who just disconnects can resume it for a while."""


Control = Open | Join | Ack | Grant | Play | Pause | Ping | Playhead | GetState | GetProvenance | Close

#: What a client may say besides commands, by the "type" of the wire.
CONTROLS: Mapping[str, type[Control]] = {
    "open": Open,
    "join": Join,
    "ack": Ack,
    "grant": Grant,
    "play": Play,
    "pause": Pause,
    "ping": Ping,
    "playhead": Playhead,
    "state": GetState,
    "provenance": GetProvenance,
    "close": Close,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The answer to `open` and `join`.

    token: the session's secret, for who opened it or may control it; guarded: whether the server wants a token of
    everybody; listen_token: what to hand to who shall only listen, null where the server has none; resume_seconds: how
    long the session waits for a lost client; rate, channels, format, header: of the frames that follow; layer: whose
    they are, null for the whole mix; session_rate, position: of the session's clock; credit: samples granted that have
    not left yet; resumed_from: the first frame that will be sent, where `from` was given: later than asked for
    if the server no longer has all, null if it has none yet.
    """

    session: str
    token: str | None
    pacing: Pacing
    format: Format
    rate: int
    channels: int
    layer: int | None
    header: int
    session_rate: int
    position: int
    playing: bool
    control: bool
    guarded: bool
    listen_token: str | None
    resume_seconds: float
    credit: int
    resumed_from: int | None
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A message was carried out. command: the number that later events name, where it was a command."""

    command: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """A message was refused and changed nothing.

    field: what in it was wrong; retry_after: seconds until another try makes sense.
    """

    code: Code
    reason: str
    field: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The server's monotonic clock in nanoseconds, as in frames, and the sample that leaves next."""

    client_clock: int | float
    server_clock_ns: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIs:
    """The session's state."""

    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceIs:
    """What made the sound of frames with this provenance number."""

    number: int
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The client was too slow (or came back too late): these samples will not be sent.

    from, to: first sample lost and first sample that follows, at the rate of the client's frames; samples: to - from.
    """

    samples: int
    from_: int
    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The server is about to close the connection."""

    reason: str


Reply = Opened | Done | Error | Pong | StateIs | ProvenanceIs | Dropped | Closing

#: What a client hears besides events, by the "type" of the wire.
REPLIES: Mapping[str, type[Reply]] = {
    "opened": Opened,
    "done": Done,
    "error": Error,
    "pong": Pong,
    "state": StateIs,
    "provenance": ProvenanceIs,
    "dropped": Dropped,
    "closing": Closing,
}
