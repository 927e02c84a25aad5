"""OSC on the wire: packets to messages and back, and the two ways of framing them on TCP. Bytes in, values out.

What is sent holds only the types i, f, s and b: sclang does not read h (int64), Pure Data reads neither h, d nor T.
What is received may hold any type of OSC 1.0 but c (a character).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pythonosc import osc_message, osc_message_builder, slip
from pythonosc.parsing import osc_types

from safa_stream.errors import UsageError

#: What an argument can be once it is read; nested lists are OSC arrays.
Argument = int | float | str | bytes | bool | None | tuple["Argument", ...] | list["Argument"]

LARGEST_PACKET = 8192
DEEPEST_BUNDLE = 8
MOST_MESSAGES = 256
LONGEST_ADDRESS = 255
#: How packets may be framed on TCP: see Framing.
FRAMINGS = ("auto", "slip", "length")
_BUNDLE = b"#bundle\0"
_TAGS = frozenset("ihfsSbrmtdTFN[]")


class PacketError(UsageError):
    """Bytes that are no OSC packet, or one that is too large, too deep or too long."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. due: the time tag of its bundle in seconds since 1970 (UTC), None for at once; raw: as it came,
    without its bundle."""

    address: str
    arguments: tuple[Argument, ...]
    due: float | None = None
    raw: bytes = field(default=b"", repr=False, compare=False)


def read_packet(data: bytes, largest: int = LARGEST_PACKET) -> list[Message]:
    """The messages of a packet in the order in which they stand, those of bundles with their time.

    Bundles are walked here and not by python-osc, whose walk never ends where an element's size is negative.
    Raises PacketError; then nothing of the packet counts.
    """
    if len(data) > largest:
        raise PacketError(f"a packet of {len(data)} bytes; at most {largest} are read")
    found: list[Message] = []
    waiting: list[tuple[bytes, float | None, int]] = [(data, None, 0)]
    while waiting:
        part, due, depth = waiting.pop()
        if part.startswith(b"/"):
            found.append(_message(part, due))
        elif part.startswith(_BUNDLE):
            if depth >= DEEPEST_BUNDLE:
                raise PacketError(f"bundles within bundles, deeper than {DEEPEST_BUNDLE}")
            due, elements = _bundle(part)
            waiting.extend((element, due, depth + 1) for element in reversed(elements))
        else:
            raise PacketError("a packet that begins neither with '/' nor with '#bundle'")
        if len(found) + len(waiting) > MOST_MESSAGES:
            raise PacketError(f"more than {MOST_MESSAGES} messages in one packet")
    return found


def write_message(address: str, *arguments: int | float | str | bytes) -> bytes:
    """One message as bytes: whole numbers as i (clipped to 32 bits), True and False as 1 and 0, others as f, s, b."""
    builder = osc_message_builder.OscMessageBuilder(address)
    for argument in arguments:
        if isinstance(argument, int):
            builder.add_arg(max(-(2**31), min(int(argument), 2**31 - 1)), "i")
        else:
            builder.add_arg(argument if isinstance(argument, str | bytes) else float(argument))
    return builder.build().dgram


def alone(message: Message) -> bytes:
    """A message that was read as a packet of its own, with its time."""
    if message.due is None:
        return message.raw
    return _BUNDLE + osc_types.write_date(message.due) + struct.pack(">i", len(message.raw)) + message.raw


def _bundle(data: bytes) -> tuple[float | None, list[bytes]]:
    """A bundle's time (None: immediately) and its elements."""
    try:
        time, index = osc_types.get_date(data, len(_BUNDLE))
    except osc_types.ParseError:
        raise PacketError("a bundle without a time tag") from None
    elements = []
    while index < len(data):
        try:
            (size,) = struct.unpack_from(">i", data, index)
        except struct.error:
            raise PacketError("a bundle that ends within an element's size") from None
        if size <= 0 or size % 4 or index + 4 + size > len(data):
            raise PacketError(f"a bundle element of {size} bytes where {len(data) - index - 4} are left")
        elements.append(data[index + 4 : index + 4 + size])
        index += 4 + size
    return (None if time == osc_types.IMMEDIATELY else time), elements


def _message(data: bytes, due: float | None) -> Message:
    """Check address and type tags, which python-osc would only warn about in the log, then let it read the values."""
    raw = data
    try:
        address, start = osc_types.get_string(data, 0)
        tags = osc_types.get_string(data, start)[0] if data[start:] else ","
        if not 0 < len(address) <= LONGEST_ADDRESS:
            raise PacketError(f"an address of more than {LONGEST_ADDRESS} characters")
        if not tags.startswith(","):
            raise PacketError("type tags that do not begin with a comma")
        strange = sorted(set(tags[1:]) - _TAGS)
        if strange:
            raise PacketError(f"argument type {strange[0]!r} is not understood; use i, f, s, b, h, d, T, F or N")
        if tags.count("[") > DEEPEST_BUNDLE:
            raise PacketError(f"more than {DEEPEST_BUNDLE} arrays in a message")
        if "S" in tags:
            data = data[:start] + tags.replace("S", "s").encode() + data[start + len(tags) :]
        read = osc_message.OscMessage(data)
    except (osc_types.ParseError, osc_message.ParseError, ValueError, OverflowError, struct.error):
        raise PacketError("a message that is cut, is not UTF-8, or whose arguments do not fit its type tags") from None
    return Message(read.address, tuple(read.params), due, raw)


@dataclass(slots=True)
class Framing:
    """Packets of one TCP connection, with OSC 1.1's SLIP or OSC 1.0's four-byte lengths. style: auto, slip or length.

    With auto the first byte tells: a length below 16 MiB begins with 0, SLIP with its END byte or with the packet. Any
    other first byte is refused: it is a browser or a telnet, and a web page must not steer a session.
    """

    style: str = "auto"
    largest: int = LARGEST_PACKET
    _held: bytearray = field(default_factory=bytearray)

    def received(self, data: bytes) -> Iterator[bytes]:
        """Packets that are complete now. Raises PacketError where the connection has to be closed."""
        self._held += data
        if self.style == "auto" and self._held:
            first = self._held[0]
            if first not in b"\0\xc0/#":
                raise PacketError("bytes that are framed neither by SLIP nor by four-byte lengths")
            self.style = "length" if first == 0 else "slip"
        yield from self._by_length() if self.style == "length" else self._by_slip()

    def wrapped(self, packet: bytes) -> bytes:
        """A packet as it is sent on this connection."""
        return struct.pack(">i", len(packet)) + packet if self.style == "length" else slip.encode(packet)

    def _by_length(self) -> Iterator[bytes]:
        while len(self._held) >= 4:
            (size,) = struct.unpack_from(">i", self._held)
            if not 0 <= size <= self.largest:
                raise PacketError(f"a packet of {size} bytes; at most {self.largest} are read")
            if len(self._held) < 4 + size:
                return
            packet = bytes(self._held[4 : 4 + size])
            del self._held[: 4 + size]
            if packet:
                yield packet

    def _by_slip(self) -> Iterator[bytes]:
        *whole, rest = self._held.split(slip.END)
        self._held = rest
        for packet in whole:
            if not packet:
                continue
            if len(packet) > 2 * self.largest or not slip.is_valid(bytes(packet)):
                raise PacketError("a SLIP packet that is too large or has a wrong escape")
            yield slip.decode(bytes(packet))
        if len(rest) > 2 * self.largest:
            raise PacketError(f"a SLIP packet without an end; at most {self.largest} bytes are read")
