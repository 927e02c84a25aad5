"""Tell the local network where OSC and OSCQuery are, with zeroconf (DNS-SD), so that tools find the server."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from safa_server.security import is_loopback
from safa_stream.errors import UsageError

if TYPE_CHECKING:
    from zeroconf import ServiceInfo

OSC, OSCQUERY = "_osc._udp.local.", "_oscjson._tcp.local."


def wanted(host: str, asked: bool | None) -> bool:
    """Whether to announce: as it was asked for, and where nothing was said, where others can reach the server."""
    return not is_loopback(host) if asked is None else asked


@asynccontextmanager
async def announced(
    name: str, host: str, osc_port: int, query_port: int | None, interfaces: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """Announce while the context lasts. interfaces: addresses to announce on, None for all.

    Raises UsageError where zeroconf is not installed or the network does not let it.
    """
    try:
        from zeroconf import NonUniqueNameException
        from zeroconf.asyncio import AsyncZeroconf
    except ImportError:
        raise UsageError('announcing OSC needs zeroconf: pip install "safa-stream[discovery]"') from None
    try:
        responder = AsyncZeroconf() if interfaces is None else AsyncZeroconf(interfaces=list(interfaces))
    except OSError as error:
        raise UsageError(f"OSC cannot be announced: {error}") from None
    services = _services(name, host, osc_port, query_port)
    try:
        for service in services:
            await (await responder.async_register_service(service, allow_name_change=True))
        yield
    except NonUniqueNameException:
        raise UsageError(f"OSC cannot be announced: another server is called {name!r}; choose another name") from None
    finally:
        await responder.async_unregister_all_services()
        await responder.async_close()


def _services(name: str, host: str, osc_port: int, query_port: int | None) -> list[ServiceInfo]:
    from zeroconf import ServiceInfo

    addresses = _addresses(host)
    label = name.replace(".", "-")[:40]
    server = f"{label.replace(' ', '-')}-{osc_port}.local."
    ports = [(OSC, osc_port)] + ([(OSCQUERY, query_port)] if query_port is not None else [])
    return [
        ServiceInfo(
            kind, f"{label}.{kind}", parsed_addresses=addresses, port=port, server=server, properties={"txtvers": "1"}
        )
        for kind, port in ports
    ]


def _addresses(host: str) -> list[str]:
    """Numeric addresses that a bound host can be reached at."""
    if host == "localhost":
        return ["127.0.0.1"]
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return [str(address)]
    import ifaddr

    found = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    return [ip for ip in found if not is_loopback(ip)] or [socket.gethostbyname("localhost")]
