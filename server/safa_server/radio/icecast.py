"""Icecast's source protocol (2.4 and later, HTTP PUT) and where a mount is: addresses, requests, answers. Pure.

icecast[s]://[USER[:PASSWORD]@]HOST[:PORT]/MOUNT[?format=flac|opus|mp3&bits=16|24&bitrate=KBIT&name=...&public=1]
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from safa_server.radio.encodings import BIT_RATES, FORMATS, Encoding
from safa_stream.errors import FailureError, UsageError

PORTS = {"icecast": 8000, "icecasts": 443}
USER = "source"
LONGEST_TITLE = 200
#: What may be said of a station, and the header that says it.
ABOUT = {"name": "Ice-Name", "description": "Ice-Description", "genre": "Ice-Genre", "url": "Ice-URL"}
OPTIONS = ("format", "bits", "bitrate", "public", *ABOUT)
#: Titles that a server takes for mounts of this format only; to an Ogg stream it would have to be added in the stream.
_UPDATED = "Metadata update successful"
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
_STATUS = re.compile(r"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")


@dataclass(frozen=True, slots=True)
class Mount:
    """A place on an Icecast server. mount: with its slash; about: headers that say what the station is."""

    host: str
    port: int
    mount: str
    encoding: Encoding
    tls: bool = False
    user: str = USER
    password: str = field(default="", repr=False)
    about: Mapping[str, str] = field(default_factory=dict)
    public: bool = False

    @classmethod
    def parse(cls, address: str, password: str | None = None) -> Mount:
        """A mount from its address. password: for addresses that hold none. Raises UsageError, never with a password
        in it."""
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise UsageError("an Icecast address cannot be read: its host or port is wrong") from None
        host = parts.hostname or ""
        shown = f"{parts.scheme}://{host}{parts.path}"
        if parts.scheme not in PORTS or not _HOST.fullmatch(host) or len(parts.path) < 2 or port == 0:
            raise UsageError(f"an Icecast address is like icecast://HOST:8000/live.flac, not {shown!r:.100}")
        secret = password if parts.password is None else unquote(parts.password)
        if not secret:
            raise UsageError(f"{shown} needs a password: in SAFA_ICECAST_PASSWORD, icecast_password, or the address")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name, value in options.items():
            if name not in OPTIONS:
                raise UsageError(f"{shown}: unknown option {name!r:.40}; known: {', '.join(OPTIONS)}")
            if not value.isprintable():
                raise UsageError(f"{shown}: option {name!r} must be printable")
        if options.get("public", "0") not in ("0", "1"):
            raise UsageError(f"{shown}: option 'public' must be 0 or 1, not {options['public']!r:.40}")
        return cls(
            host,
            port or PORTS[parts.scheme],
            quote(unquote(parts.path)),
            _encoding(shown, parts.path, options),
            parts.scheme == "icecasts",
            USER if not parts.username else unquote(parts.username),
            secret,
            {header: options[name] for name, header in ABOUT.items() if name in options},
            options.get("public") == "1",
        )

    @property
    def name(self) -> str:
        """The address without user, password and options."""
        return f"{'icecasts' if self.tls else 'icecast'}://{self._authority}{self.mount}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def request(self, rate: int, channels: int) -> bytes:
        """What asks for the mount. The sound follows where `judge` has nothing against it."""
        headers = {
            "Content-Type": self.encoding.content_type,
            "Ice-Public": str(int(self.public)),
            "Ice-Audio-Info": f"samplerate={rate};channels={channels}",
            **self.about,
            "Expect": "100-continue",
        }
        return self._request("PUT", self.mount, "1.1", headers)

    def title_request(self, title: str) -> bytes:
        """What tells the server the title of what is heard now; for a connection of its own."""
        song = quote(title[:LONGEST_TITLE])
        target = f"/admin/metadata?mode=updinfo&mount={quote(self.mount)}&charset=UTF-8&song={song}"
        return self._request("GET", target, "1.0", {})

    def judge(self, answer: bytes) -> bool:
        """Does this answer to `request` let the sound begin, as a whole (True) or as far as it goes (False)?

        Raises UsageError where the password is wrong, FailureError for all else that is a refusal.
        """
        for code, reason in _statuses(answer):
            if code == 401:
                raise UsageError(f"{self.name} refuses the password of {self.user!r}")
            if code >= 300:
                raise FailureError(f"{self.name} refuses the source: {_said(answer) or reason} ({code})")
            if code >= 200:
                return True
        return False

    def _request(self, method: str, target: str, version: str, headers: Mapping[str, str]) -> bytes:
        known = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        lines = [
            f"{method} {target} HTTP/{version}",
            f"Host: {self._authority}",
            f"Authorization: Basic {known}",
            "User-Agent: safa-stream",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def continues(answer: bytes) -> bool:
    """Has the server said that the sound may come, before its last word?"""
    return any(code == 100 for code, _ in _statuses(answer))


def title_taken(answer: bytes) -> bool:
    """Did a mount take the title?"""
    return _UPDATED in answer.decode(errors="replace")


def _statuses(answer: bytes) -> list[tuple[int, str]]:
    """Every status line of what came so far."""
    return [(int(code), reason or "") for code, reason in _STATUS.findall(answer.decode(errors="replace"))]


def _said(answer: bytes) -> str:
    """A refusal's own words."""
    body = answer.decode(errors="replace").rpartition("\r\n\r\n")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())[:100]


def _encoding(shown: str, path: str, options: Mapping[str, str]) -> Encoding:
    named = options.get("format") or path.rpartition(".")[2].lower()
    if named not in FORMATS:
        raise UsageError(f"{shown}: the mount's name must end in .flac, .opus or .mp3, or format= say which")
    bits, rate = options.get("bits"), options.get("bitrate")
    if bits is not None and (named != "flac" or bits not in ("16", "24")):
        raise UsageError(f"{shown}: option 'bits' must be 16 or 24, and is for flac only, not {bits!r:.40}")
    if rate is not None and (named not in BIT_RATES or not rate.isdecimal() or not 16 <= int(rate) <= 510):
        raise UsageError(f"{shown}: option 'bitrate' must be 16 to 510 kbit/s, for opus and mp3, not {rate!r:.40}")
    return Encoding(named, int(bits or 24), int(rate) if rate else BIT_RATES.get(named, 0))
