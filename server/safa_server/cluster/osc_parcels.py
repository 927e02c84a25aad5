"""OSC between front ends, which have the UDP ports, and engines, which have the sessions.

A front end has one WebSocket to each engine that it needs, at PATH of the engine's port; each message is a parcel. Who
may speak was asked at the front end's port; the engine's opens to the cluster's secret only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from safa_stream.errors import FailureError

PATH = "/osc-link"
#: Parcels that wait for the other side; one more is lost, as UDP loses what it cannot send.
LARGEST_WAITING = 1024
_HEAD = struct.Struct("!BHBB")
_LONGEST = 255


class Kind(IntEnum):
    """PACKET: what a peer has said, or is to be told; QUIETLY: said once more, by the front end, so nobody is told;
    RETURNED: a packet whose session is not here; MOVED: a session goes on elsewhere; CAME_BACK: a packet to a peer did.
    """

    PACKET = 0
    QUIETLY = 1
    RETURNED = 2
    MOVED = 3
    CAME_BACK = 4


@dataclass(frozen=True, slots=True)
class Parcel:
    """A packet with its peer's address and the session that it is for, or that it comes from: "" where none is."""

    kind: Kind
    session: str = ""
    host: str = ""
    port: int = 0
    packet: bytes = b""

    def wrapped(self) -> bytes:
        """As one message. Raises ValueError where a name is too long."""
        session, host = self.session.encode(), self.host.encode()
        if max(len(session), len(host)) > _LONGEST:
            raise ValueError(f"more than {_LONGEST} bytes of a name")
        return _HEAD.pack(self.kind, self.port, len(session), len(host)) + session + host + self.packet

    @classmethod
    def read(cls, data: str | bytes) -> Parcel:
        """From one message. Raises FailureError for what is none."""
        try:
            if isinstance(data, str):
                raise ValueError("it is a text")
            kind, port, session, host = _HEAD.unpack_from(data)
            names = data[_HEAD.size : _HEAD.size + session + host]
            if len(names) < session + host:
                raise ValueError("it is cut")
            packet = data[_HEAD.size + session + host :]
            return cls(Kind(kind), names[:session].decode(), names[session:].decode(), port, packet)
        except (ValueError, struct.error) as error:
            raise FailureError(f"a message between front end and engine cannot be read: {error}") from None
