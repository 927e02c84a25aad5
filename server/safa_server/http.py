"""HTTP on the server's port: the page, health, metrics, the protocol's schema, loops to download. Pure but for files.

A request is a value and so is the answer; websocket.py carries both. PROTOCOL.md "HTTP".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from safa_server.metrics import CONTENT_TYPE, Registry
from safa_server.principal import Access, Principal
from safa_server.security import Security, token_in
from safa_server.station import Station
from safa_stream.errors import UsageError

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
CONTENT_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": JSON,
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": TEXT,
    ".md": "text/markdown; charset=utf-8",
}
#: What a page of this server may do: run its own scripts and talk to its own server, nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; worker-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LARGEST_FILE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """method: "GET"; target: path and query as they came; headers: names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Without the query, percent signs decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """Names and values after "?"; of one that comes twice the last."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True, max_num_fields=100))


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What to answer. The length of `body` is declared also where HEAD leaves the body out."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def all_headers(self) -> tuple[tuple[str, str], ...]:
        """With what every answer carries."""
        return (
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("X-Content-Type-Options", "nosniff"),
            # The address may hold a token.
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Connection", "close"),
            *self.headers,
        )


class Sessions(Protocol):
    """What pages ask of a server's sessions."""

    draining: bool

    def all(self) -> Sequence[Station]: ...

    def find(self, session_id: str) -> Station | None: ...


@dataclass(frozen=True, slots=True)
class Http:
    """The server's pages.

    folder: of the static page; ready: why the server is not ready yet, None once it is; protocol: the content of
    /protocol.json; osc: the table of OSC addresses as "html" or as "json", None where there is no OSC; sdp: the
    content of /rtp.sdp, None where the server sends no RTP.
    """

    stations: Sessions
    security: Security
    metrics: Registry
    folder: Path
    ready: Callable[[], str | None]
    protocol: Callable[[], object]
    osc: Callable[[Literal["html", "json"]], str] | None = None
    sdp: Callable[[], str | None] = lambda: None

    def respond(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request, whatever it is; never raises for what a client sent."""
        response = self._respond(request)
        self.metrics.add("safa_http_requests_total", status=str(response.status.value))
        return response

    def _respond(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", (("Allow", "GET, HEAD"),))
        try:
            path, query = request.path, request.query
            urlsplit(request.target)
        except ValueError:
            return refusal(HTTPStatus.BAD_REQUEST, "the address cannot be read")
        if not self.security.knows_host(request.headers.get("host")):
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server is not known by that name")
        if path == "/healthz":
            return HttpResponse(HTTPStatus.OK, TEXT, b"ok\n")
        if path == "/readyz":
            return self._readiness()
        given = token_in(request.headers, query)
        who = self.security.who(given)
        if path.startswith("/sessions/"):
            return self._loop(path.split("/")[2:], who, given)
        if path not in ("/metrics", "/protocol.json", "/osc", "/rtp.sdp"):
            return self._file(path)
        if who.access is Access.NONE:
            return unauthorized(who.refusal)
        if path == "/protocol.json":
            return _json(self.protocol())
        if path == "/rtp.sdp":
            described = self.sdp()
            if described is None:
                return refusal(HTTPStatus.NOT_FOUND, "this server sends no RTP")
            return HttpResponse(HTTPStatus.OK, "application/sdp", described.encode(), (("Cache-Control", "no-cache"),))
        if not who.operates:
            return forbidden() if who.tenant is None else operators_only()
        if path == "/metrics":
            return HttpResponse(HTTPStatus.OK, CONTENT_TYPE, self.metrics.text().encode())
        return self._osc("text/html" in request.headers.get("accept", ""))

    def _readiness(self) -> HttpResponse:
        reason = "the server is shutting down" if self.stations.draining else self.ready()
        if reason is None:
            # How busy the server is concerns no tenant.
            counted = {} if self.security.tenants else {"sessions": len(self.stations.all())}
            return _json({"ready": True, **counted})
        return _json({"ready": False, "reason": reason}, HTTPStatus.SERVICE_UNAVAILABLE)

    def _osc(self, html: bool) -> HttpResponse:
        if self.osc is None:
            return refusal(HTTPStatus.NOT_FOUND, "this server has no OSC")
        if html:
            page = self.osc("html").encode()
            return HttpResponse(HTTPStatus.OK, CONTENT_TYPES[".html"], page, (("Content-Security-Policy", POLICY),))
        return HttpResponse(HTTPStatus.OK, JSON, self.osc("json").encode())

    def _loop(self, parts: list[str], who: Principal, given: str | None) -> HttpResponse:
        """/sessions/ID/loops/NAME.wav; the session's own token opens it as well, and that of who listens."""
        station = self.stations.find(parts[0])
        if station is not None and not who.may_join(station.tenant, station.secret.opens(given)):
            station = None
        if station is None and who.access is Access.NONE:
            return unauthorized(who.refusal)
        if station is None or len(parts) != 3 or parts[1] != "loops" or not parts[2].endswith(".wav"):
            return refusal(HTTPStatus.NOT_FOUND, "there is no such session or loop")
        name = parts[2].removesuffix(".wav")
        try:
            file = station.loop(name)
        except UsageError:
            return refusal(HTTPStatus.NOT_FOUND, "there is no such loop")
        safe = "".join(letter for letter in name if letter.isascii() and (letter.isalnum() or letter in "-_"))
        return HttpResponse(
            HTTPStatus.OK,
            "audio/wav",
            file,
            (("Content-Disposition", f'attachment; filename="loop-{safe}.wav"'), ("Cache-Control", "no-store")),
        )

    def _file(self, path: str) -> HttpResponse:
        missing = refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        if "\0" in path or "\\" in path or any(part.startswith(".") for part in path.split("/")):
            return missing
        root = self.folder.resolve()
        try:
            file = (root / (path.lstrip("/") or "index.html")).resolve()
            content_type = CONTENT_TYPES.get(file.suffix.lower())
            if content_type is None or not file.is_relative_to(root) or not file.is_file():
                return missing
            if file.stat().st_size > LARGEST_FILE:
                return missing
            body = file.read_bytes()
        except (OSError, ValueError, RuntimeError):
            return missing
        return HttpResponse(
            HTTPStatus.OK,
            content_type,
            body,
            (("Content-Security-Policy", POLICY), ("Cache-Control", "no-cache")),
        )


def refusal(status: HTTPStatus, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> HttpResponse:
    """An answer that says no, in one line."""
    return HttpResponse(status, TEXT, f"{status.value} {status.phrase}: {reason}\n".encode(), headers)


def unauthorized(reason: str) -> HttpResponse:
    """A token is wanted, or the one given is not good."""
    return refusal(
        HTTPStatus.UNAUTHORIZED,
        f'{reason}: "Authorization: Bearer TOKEN" or ?token=TOKEN',
        (("WWW-Authenticate", "Bearer"),),
    )


def forbidden() -> HttpResponse:
    """The listen token is right, and not enough."""
    return refusal(HTTPStatus.FORBIDDEN, "the listen token hears sessions, and nothing else")


def operators_only() -> HttpResponse:
    """A tenant's token is right, and the place is not a tenant's."""
    return refusal(HTTPStatus.FORBIDDEN, "this is for the server's operator")


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    return HttpResponse(status, JSON, json.dumps(value, ensure_ascii=False).encode(), (("Cache-Control", "no-cache"),))
