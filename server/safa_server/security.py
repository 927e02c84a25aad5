"""Who may talk to the server: tokens, browsers' origins, host names, TLS.

Bound to loopback, the server needs no token, and answers only to loopback names: a page from elsewhere whose name was
made to point at 127.0.0.1 gets nothing. Beyond loopback a token is required, and so it is where there are tenants. A
second one, the listen token, lets its holders hear sessions and no more. Tenants have tokens of their own.
"""

from __future__ import annotations

import hmac
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from safa_server.principal import NOBODY, OPERATOR, Access, Principal
from safa_server.tenants.register import Register
from safa_stream.errors import UsageError

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_loopback(host: str) -> bool:
    """Is this address or name only reachable from this machine?"""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def same(given: str | None, secret: str | None) -> bool:
    """Are both there and alike? Takes as long wherever they differ."""
    if not given or not secret:
        return False
    return hmac.compare_digest(given.encode(errors="surrogatepass"), secret.encode())


@dataclass(frozen=True, slots=True)
class Security:
    """token: what clients need to know, None for loopback only; listen_token: what those need who only listen, None
    where all know the other one; origins: further pages that may connect, "*" for all; hosts: names by which the server
    may be called, None for any; tenants: who else has tokens, None where the server is all of one party."""

    token: str | None = None
    listen_token: str | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None
    tenants: Register | None = None

    @classmethod
    def of(
        cls,
        host: str,
        token: str | None = None,
        origins: tuple[str, ...] = (),
        listen_token: str | None = None,
        tenants: Register | None = None,
    ) -> Security:
        """The rules of a server that is bound to `host`; beyond loopback it needs a token, and with tenants, as who has
        none would be the operator. A listen token needs another one beside it: alone it would keep nobody from
        steering. Raises UsageError."""
        loopback = is_loopback(host)
        if not loopback and not token:
            raise UsageError(
                f"host {host!r} can be reached from other machines: set a token, or bind to 127.0.0.1 instead"
            )
        if tenants is not None and not token:
            raise UsageError("a server with tenants needs a token of its own: who needs none could do everything")
        for secret, what in ((token, "token"), (listen_token, "listen token")):
            if secret is not None and (len(secret) < 8 or not secret.isascii() or not secret.isprintable()):
                raise UsageError(f"the {what} must have at least 8 characters, printable ASCII only")
        if listen_token is not None and token is None:
            raise UsageError(
                "a listen token needs a token beside it: without one, whoever reaches the server may open sessions"
            )
        if same(listen_token, token):
            raise UsageError("token and listen token must differ: whoever has the listen token may not steer")
        for origin in origins:
            if origin != "*" and (urlsplit(origin).scheme not in _PORTS or not urlsplit(origin).netloc):
                raise UsageError(f"origin {origin!r} must be like https://example.org, or * for all")
        return cls(token, listen_token, origins, ("localhost",) if loopback else None, tenants)

    def who(self, given: str | None) -> Principal:
        """Who gave this token (None: none)."""
        if self.token is None or same(given, self.token):
            return OPERATOR
        if same(given, self.listen_token):
            return Principal(Access.LISTEN)
        if not given:
            return NOBODY
        if self.tenants is not None:
            return self.tenants.who(given)
        return Principal(Access.NONE, refusal="the token is wrong")

    def knows(self, given: str | None) -> bool:
        """Is this a token of somebody who may do anything here?"""
        return self.who(given).access is not Access.NONE

    def standing(self, principal: Principal) -> str | None:
        """Why somebody who was let in has to go, None while they may stay."""
        return None if self.tenants is None else self.tenants.standing(principal)

    def knows_host(self, header: str | None) -> bool:
        """May the server be called by the name in the Host header? Without a header it is no browser."""
        if self.hosts is None or header is None:
            return True
        name = _split(f"//{header}")
        host = name.hostname if name else None
        return host is not None and (is_loopback(host) or host in self.hosts or host in self._origin_hosts())

    def trusts(self, origin: str | None, host: str | None) -> bool:
        """May a page of this Origin connect? Its own server's pages always may; without an Origin it is no browser."""
        if origin is None or "*" in self.origins:
            return True
        return any(_place(origin) == _place(known) is not None for known in self.origins) or _is_same(origin, host)

    def _origin_hosts(self) -> set[str | None]:
        return {urlsplit(origin).hostname for origin in self.origins if origin != "*"}


def token_in(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The token that a request carries: "Authorization: Bearer TOKEN" or ?token=TOKEN; None where it has none."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip()
    return query.get("token") or None


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """For serving TLS 1.2 and later. key: None where it is in the certificate's file. Raises UsageError."""
    for path, what in ((certificate, "certificate"), (key, "key")):
        if path is not None and not path.is_file():
            raise UsageError(f"the TLS {what} {path} is not a file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a pass phrase would ask on the terminal; an empty one makes it an error instead.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        about = (error.reason or str(error)).lower().replace("_", " ")
        raise UsageError(
            f"the TLS certificate {certificate} and key {key or certificate} cannot be used: {about}"
        ) from None
    except OSError as error:
        raise UsageError(f"the TLS files cannot be read: {error.strerror}") from None
    return context


def _split(address: str) -> SplitResult | None:
    try:
        found = urlsplit(address)
        _ = found.port
    except ValueError:
        return None
    return found


def _place(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin, None where it has none (such as "null")."""
    found = _split(origin)
    if found is None or found.scheme not in _PORTS or not found.hostname:
        return None
    return found.scheme, found.hostname, found.port or _PORTS[found.scheme]


def _is_same(origin: str, host: str | None) -> bool:
    place = _place(origin)
    called = _split(f"//{host}") if host else None
    if place is None or called is None:
        return False
    return place[1:] == (called.hostname, called.port or _PORTS[place[0]])
