"""One session's sound and events to all who listen by WebSocket: encoded once, kept for who comes back, none waits.

    block ──► Feed (one an encoding: encoder + ring of frames) ──► Listener (a place in the ring) ──► its connection

Who falls more than `queue_seconds` behind loses the oldest frames and is told which samples. In pull pacing the credits
of the first controlling listener drive the session; they are handed on only while that listener keeps up, so it loses
nothing: generation waits for it.
"""

from __future__ import annotations

import asyncio
import time

from safa_server import opus
from safa_server.blocks import BLOCK, Block
from safa_server.encoding import Encoding
from safa_server.feed import Feed
from safa_server.limits import Limits
from safa_server.listener import Listener, Outlet, Sent
from safa_server.metrics import Registry
from safa_server.requests import BURST_SECONDS
from safa_server.station import Station
from safa_server.wire import write
from safa_stream.errors import UsageError
from safa_stream.session.messages import Event

#: How soon a client that had no room is tried again.
RETRY_SECONDS = 0.01
LARGEST_CREDIT = 2**62


class Fanout:
    """All listeners of one station. Lives on the event loop."""

    def __init__(self, station: Station, limits: Limits, metrics: Registry) -> None:
        self.station = station
        self.empty_since = station.clock()
        self._limits = limits
        self._metrics = metrics
        self._feeds: dict[Encoding, Feed] = {}
        self._listeners: list[Listener] = []
        self._granted = 0
        self._left = 0
        self._waiting = 0
        self._retry: asyncio.TimerHandle | None = None
        self._unsubscribe = (station.on_block(self._on_block), station.on_event(self._on_event))

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who listens now, the longest first."""
        return tuple(self._listeners)

    @property
    def credit(self) -> int:
        """Samples that were granted and have not left the session."""
        return self._waiting + self._granted - self._left if self.station.by_grant else 0

    @property
    def ring_bytes(self) -> int:
        """What all rings hold."""
        return sum(feed.bytes for feed in self._feeds.values())

    def attach(self, outlet: Outlet, encoding: Encoding, control: bool, after: int | None = None) -> Listener:
        """Begin to listen, after frame `after` or from now on. Nothing is sent before the next `pump`.

        Raises UsageError where there are too many listeners or encodings, or `after` has not been sent yet.
        """
        if len(self._listeners) >= self._limits.listeners:
            raise UsageError(f"the session has {len(self._listeners)} listeners, the most that it takes")
        if after is not None:
            self.station.reach(_block_of(after, encoding, self.station.rate))
            self.station.live.heard()
        listener = Listener(outlet, self._feed(encoding), self._limits, control, self._beyond_burst())
        listener.place(after)
        self._listeners.append(listener)
        self._choose_driver()
        self._metrics.add("safa_listeners")
        return listener

    def detach(self, listener: Listener) -> None:
        """Stop listening; the feed stays for a while, so that the listener can resume."""
        self._listeners.remove(listener)
        self._choose_driver()
        listener.feed.unheard_since = self.empty_since = self.station.clock()
        self._metrics.add("safa_listeners", -1)

    def grant(self, listener: Listener, samples: int) -> None:
        """Let so many more samples leave, in pacing pull and host. Raises UsageError where somebody else drives."""
        if not self.station.by_grant:
            raise UsageError("grant is for sessions with pacing 'pull' or 'host'; this one runs by the clock")
        if not listener.drives:
            raise UsageError("another client's grants drive this session: the first that controls it")
        self._waiting = min(self._waiting + samples, LARGEST_CREDIT)
        self._hand_on()

    def sweep(self, now: float) -> None:
        """Let go of feeds that nobody has heard for longer than a resumption may take."""
        heard = {id(listener.feed) for listener in self._listeners}
        for encoding, feed in list(self._feeds.items()):
            if id(feed) not in heard and now - feed.unheard_since > self._limits.resume_seconds:
                del self._feeds[encoding]
        if now - self.station.opened_at > self._limits.resume_seconds:
            self.station.past = None
        self._choose_layers()

    def close(self) -> None:
        """Let go of the station."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._retry is not None:
            self._retry.cancel()
        self._feeds.clear()

    def tell(self, message: str) -> None:
        """Send a text to all."""
        for listener in self._listeners:
            listener.tell(message)
        self.pump()

    def pump(self) -> Sent:
        """Send every listener what there is and what it has room for; try again soon for those that had none."""
        sent, behind = Sent(), False
        for listener in self._listeners:
            behind |= listener.serve(sent)
        if behind and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._again)
        if sent.frames:
            self._metrics.add("safa_frames_sent_total", sent.frames)
            self._metrics.add("safa_frame_bytes_sent_total", sent.bytes)
        if sent.dropped:
            self._metrics.add("safa_samples_dropped_total", sent.dropped)
        self._hand_on()
        return sent

    def _again(self) -> None:
        self._retry = None
        self.pump()

    def _on_block(self, block: Block) -> None:
        began = time.perf_counter()
        for feed in self._feeds.values():
            feed.push(block)
        self._left += block.samples.shape[1]
        if self._feeds:
            self._metrics.observe("safa_encode_seconds", time.perf_counter() - began)
        sent, station = self.pump(), self.station
        if self._listeners:
            station.observer.wrote(station.live, block, sent, len(self._listeners), time.perf_counter() - began)

    def _on_event(self, event: Event) -> None:
        self.tell(write(event))

    def _feed(self, encoding: Encoding) -> Feed:
        if encoding in self._feeds:
            return self._feeds[encoding]
        unheard = [known for known in self._feeds if all(one.feed.encoding != known for one in self._listeners)]
        if len(self._feeds) >= self._limits.encodings and not unheard:
            listed = ", ".join(map(str, self._feeds))
            raise UsageError(f"the session is sent in {len(self._feeds)} formats already; choose one of them: {listed}")
        kept = self._limits.resume_seconds + self._limits.queue_seconds
        feed = Feed(encoding, self.station.rate, kept, self._limits.ring_bytes, self.station.clock())
        if len(self._feeds) >= self._limits.encodings:
            del self._feeds[min(unheard, key=lambda known: self._feeds[known].unheard_since)]
        for block in self.station.past or ():
            if encoding.layer is None or encoding.layer in block.layers:
                feed.push(block)
        self._feeds[encoding] = feed
        self._choose_layers()
        return feed

    def _beyond_burst(self) -> float:
        """Seconds that are sent before their time, beyond what all sessions' are: to take them takes longer."""
        return max(0.0, self.station.ahead - BURST_SECONDS)

    def _choose_layers(self) -> None:
        """Layers are taken apart only as long as somebody hears them, or may come back to."""
        self.station.apart = frozenset(known.layer for known in self._feeds if known.layer is not None)

    def _choose_driver(self) -> None:
        """Where grants drive, those of the first that controls the session do, and nobody else's."""
        driver = self._driver()
        for listener in self._listeners:
            listener.drives = listener is driver

    def _driver(self) -> Listener | None:
        if not self.station.by_grant:
            return None
        return next((listener for listener in self._listeners if listener.control), None)

    def _hand_on(self) -> None:
        """Grant the station what the driving listener granted, as far as it keeps up with what it has."""
        driver = self._driver() if self._waiting else None
        if driver is None:
            return
        ahead = self._granted - self._left + driver.feed.session_samples(driver.behind)
        samples = min(self._waiting, int(self._limits.queue_seconds * self.station.rate) - ahead)
        if samples > 0:
            self._waiting -= samples
            self._granted += samples
            self.station.grant(samples)


def _block_of(frame: int, encoding: Encoding, rate: int) -> int:
    """The block that a frame ends in."""
    return frame if encoding.format != "opus" else ((frame + 1) * opus.PACKET * rate // opus.RATE - 1) // BLOCK
