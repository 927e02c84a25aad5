"""Who may say what to the OSC server, and how often. No sockets.

Beyond loopback a peer gives the server's token first. Until then it gets no answer that is longer than its question, so
that a forged sender's address makes this server amplify nothing.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable

from safa_server.bucket import Bucket
from safa_server.security import is_loopback, same

#: Peers that are remembered; the one that was silent longest goes first.
LARGEST_PEERS = 256
#: A peer that said nothing for so long gives its token again.
FORGET_SECONDS = 600.0


class Rates:
    """Packets a second by host, and of all hosts together. Hosts beyond LARGEST_PEERS are forgotten, oldest first."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._all = Bucket(8 * rate, 8 * burst, 8 * burst, now)
        self._hosts: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, host: str, now: float) -> bool:
        """Whether a packet of `host` is within its rate and within that of all."""
        bucket = self._hosts.pop(host, None) or Bucket(self._rate, self._burst, self._burst, now)
        self._hosts[host] = bucket
        if len(self._hosts) > LARGEST_PEERS:
            self._hosts.popitem(last=False)
        return bucket.take(now) and self._all.take(now)


class Gate:
    """Which peers have given the token. With token None all may speak."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._known: OrderedDict[Hashable, float] = OrderedDict()

    def open_to(self, peer: Hashable, now: float) -> bool:
        """Whether a peer may speak; a known one is remembered from now on."""
        if self._token is None:
            return True
        until = self._known.get(peer, -math.inf)
        if until < now:
            return False
        self._remember(peer, until if until == math.inf else now + FORGET_SECONDS)
        return True

    def admit(self, peer: Hashable, token: str, now: float, connected: bool) -> bool:
        """Whether the token is right; then the peer is known, one that is connected for as long as it stays so."""
        if self._token is not None and not same(token, self._token):
            return False
        self._remember(peer, math.inf if connected else now + FORGET_SECONDS)
        return True

    def trust(self, peer: Hashable) -> None:
        """A connection that has given the token by other means."""
        self._remember(peer, math.inf)

    def forget(self, peer: Hashable) -> None:
        """A connection has ended."""
        self._known.pop(peer, None)

    def _remember(self, peer: Hashable, until: float) -> None:
        self._known[peer] = until
        self._known.move_to_end(peer)
        if len(self._known) > LARGEST_PEERS:
            self._known.popitem(last=False)


def same_host(one: str, other: str) -> bool:
    """Whether two numeric addresses are the same machine; all of loopback is."""
    return one == other or (is_loopback(one) and is_loopback(other))


def plain_address(host: str) -> str:
    """A numeric address as its own family writes it: IPv4 that came through an IPv6 socket as IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
