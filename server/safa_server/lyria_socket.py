"""The Lyria RealTime endpoint: one connection, one station while it plays. docs/lyria.md says what its clients can do.

client ─► read_message ─► station (prompts, configuration, playback)
client ◄─ Outbox ◄─ chunks of CHUNK_SECONDS ◄─ blocks of 20 ms
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from safa_server import header, lyria, lyria_session
from safa_server.blocks import Block
from safa_server.encoding import Encoder, Encoding
from safa_server.lyria import ClientContent, ClientMessage, ConfigUpdate, LyriaPrompt, MusicConfig, Playback, Setup
from safa_server.outlet import Pace
from safa_server.requests import OpenRequest
from safa_server.runner import AdmissionError
from safa_server.station import Station
from safa_server.stations import Stations
from safa_server.tenants.quotas import QuotaError
from safa_server.websocket import Route
from safa_stream.errors import PromptError, SafaError, UsageError
from safa_stream.session.messages import Command, Prompt, Reseed

log = logging.getLogger("safa_server.lyria")

Value = TypeVar("Value")

#: Close codes of RFC 6455: the server goes away; bad data; not allowed; the server's own fault; come again later.
GONE, BAD_DATA, NOT_ALLOWED, OWN_FAULT, LATER = 1001, 1007, 1008, 1011, 1013
LONGEST_REASON = 123
#: Words, reasons and reported names are kept for so many texts of a client.
LARGEST_MEMORY = 256
#: New prompts are gone over to within so many seconds.
MORPH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class LyriaSettings:
    """chunk_seconds: of sound a message; Google's own server sends 2, short ones are heard sooner. unsent_seconds: how
    far a client may fall behind before its oldest sound is dropped. setup_seconds: for its first message.
    messages_per_second: more wait.
    """

    chunk_seconds: float = 0.2
    unsent_seconds: float = 5.0
    setup_seconds: float = 10.0
    messages_per_second: float = 50.0


def lyria_route(stations: Stations, settings: LyriaSettings) -> Route:
    """The endpoint for the server's port, which asks for the key; sessions are those of the tenant whose it is."""
    return Route(
        lyria.is_lyria,
        lambda connection, who: serve_lyria(connection, stations, settings, who.tenant),
        lambda asked: lyria.key_of(asked.target, asked.headers.get("x-goog-api-key")) or None,
    )


async def serve_lyria(
    connection: ServerConnection, stations: Stations, settings: LyriaSettings, tenant: str | None = None
) -> None:
    """Serve a connection to one of the endpoint's addresses (`lyria.is_lyria`) until it ends, and close it."""
    code, reason = 1000, ""
    player = _Player(connection, stations, settings, tenant)
    sending = asyncio.create_task(player.send(), name="lyria sender")
    try:
        await player.obey()
    except UsageError as error:
        code, reason = BAD_DATA, str(error)
    except (AdmissionError, QuotaError) as error:
        code, reason = LATER, f"{error}; try again in {error.retry_after:g} s"
    except TimeoutError:
        code, reason = NOT_ALLOWED, f"no setup within {settings.setup_seconds:g} s"
    except SafaError as error:
        code, reason = OWN_FAULT, str(error)
    except ConnectionClosed:
        pass
    finally:
        player.leave()
        sending.cancel()
        await asyncio.wait([sending])
    if reason:
        log.info("lyria connection closed with %d: %s", code, reason)
    await connection.close(code, _short(reason))


@dataclass(slots=True, eq=False)
class Outbox:
    """Messages that wait for the client: few, and the oldest sound goes first where it reads too slowly."""

    largest: int
    sound: deque[str] = field(default_factory=deque)
    other: deque[str] = field(default_factory=lambda: deque(maxlen=LARGEST_MEMORY))
    dropped: int = 0
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put_sound(self, message: str) -> bool:
        """Whether there was room; if not, an older message went."""
        full = len(self.sound) >= self.largest
        if full:
            self.sound.popleft()
            self.dropped += 1
        self.sound.append(message)
        self.filled.set()
        return not full

    def put_other(self, message: str) -> None:
        """A message that overtakes the sound."""
        self.other.append(message)
        self.filled.set()

    def take(self) -> str | None:
        """The next message, None where none waits."""
        if self.other:
            return self.other.popleft()
        if self.sound:
            return self.sound.popleft()
        self.filled.clear()
        return None


class _Player:
    """What one client asked for, and the station that plays it."""

    def __init__(
        self, connection: ServerConnection, stations: Stations, settings: LyriaSettings, tenant: str | None
    ) -> None:
        self._connection, self._stations, self._settings, self._tenant = connection, stations, settings, tenant
        self._model = stations.runner.model
        self._outbox = Outbox(max(1, round(settings.unsent_seconds / settings.chunk_seconds)))
        self._prompts: tuple[LyriaPrompt, ...] = ()
        self._config = MusicConfig()
        self._seed = 0
        self._wanted = False
        self._station: Station | None = None
        self._encoder: Encoder | None = None
        self._frames: list[bytes] = []
        self._source: Mapping[str, object] | None = None
        self._told: dict[str, str] = {}
        self._judged: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._reported: set[str] = set()
        self._warnings: list[str] = []

    # What the client says ------------------------------------------------------------------------------------------

    async def obey(self) -> None:
        """Read and carry out messages until the client leaves. Raises UsageError and SafaError to close with."""
        async with asyncio.timeout(self._settings.setup_seconds):
            first = lyria.read_message(await self._connection.recv())
        if not isinstance(first, Setup):
            raise UsageError("the first message must be setup")
        self._outbox.put_other(lyria.setup_complete())
        pace = Pace(self._settings.messages_per_second)
        async for message in self._connection:
            await pace.wait()
            await self._carry_out(lyria.read_message(message))

    async def _carry_out(self, message: ClientMessage) -> None:
        match message:
            case Setup():
                raise UsageError("setup comes once, as the first message")
            case ClientContent():
                await self._set_prompts(message)
            case ConfigUpdate():
                self._configure(message)
            case Playback.PLAY:
                self._wanted = True
                await self._play()
            case Playback.PAUSE:
                self._wanted = False
                if self._station is not None:
                    self._station.pause()
                    self._flush()
            case Playback.STOP:
                self._wanted = False
                self.leave()
            case Playback.RESET_CONTEXT:
                self._reset()

    async def _set_prompts(self, content: ClientContent) -> None:
        for name in content.strange:
            self._warn_once(f"field {name[:40]!r} of a prompt is not known and was passed over")
        kept = tuple(prompt for prompt in content.prompts if self._is_playable(prompt))
        if not kept:
            return
        self._prompts = kept
        for prompt in kept:
            _remember(self._told, lyria_session.session_prompt(prompt).text, prompt.text)
        if self._station is not None:
            prompts = tuple(lyria_session.session_prompt(prompt) for prompt in kept)
            self._submit(Prompt(prompts=prompts, layer=lyria_session.LAYER, morph=MORPH_SECONDS, now=True))
        elif self._wanted:
            await self._play()

    def _is_playable(self, prompt: LyriaPrompt) -> bool:
        """Whether a prompt means something to the model; the client is told where it does not."""
        if prompt.text not in self._judged:
            try:
                found = "", self._model.encode((lyria_session.session_prompt(prompt),), (), 0).unknown_words
            except PromptError as error:
                found = str(error), ()
            _remember(self._judged, prompt.text, found)
        reason, unknown = self._judged[prompt.text]
        if reason:
            self._outbox.put_other(lyria.filtered_prompt(prompt.text, reason))
        for word in unknown:
            self._warn_once(f"the word {word!r} means nothing to the model")
        return not reason

    def _configure(self, update: ConfigUpdate) -> None:
        for name in update.without_meaning():
            self._warn_once(f"musicGenerationConfig.{name} has no meaning here and changes nothing")
        before, self._config = self._config, update.applied_to(self._config)
        if self._station is None:
            return
        for command in lyria_session.commands(before, self._config, self._model.facts.default_guidance):
            self._submit(command)
        if self._config.seed is not None and self._config.seed != before.seed:
            self._seed = self._config.seed

    async def _play(self) -> None:
        if self._station is not None:
            self._station.play()
            return
        if not self._prompts:
            self._warn_once("PLAY without prompts waits for some")
            return
        self._seed = secrets.randbelow(2**31) if self._config.seed is None else self._config.seed
        scene = lyria_session.scene(self._prompts, self._config, self._seed, self._model.facts.default_guidance)
        station = await self._stations.open(OpenRequest(scene, "live", name="lyria", tenant=self._tenant))
        self._station = station
        self._encoder = Encoder(Encoding("s16", lyria.RATE, lyria.CHANNELS), station.rate)
        station.on_block(self._hear)

    def _reset(self) -> None:
        if self._station is not None:
            self._seed = lyria_session.next_seed(self._seed)
            self._submit(Reseed(layer=lyria_session.LAYER, seed=lyria_session.session_seed(self._seed), now=True))

    def _submit(self, command: Command) -> None:
        if self._station is None or self._station.closed:
            return
        try:
            self._station.submit(command)
        except (AdmissionError, QuotaError) as error:
            self._warn_once(f"{command.name} was not carried out: {error}")

    def leave(self) -> None:
        """End the station; prompts and configuration stay."""
        station, self._station = self._station, None
        if station is not None:
            station.close()
            self._flush()

    # What it hears -------------------------------------------------------------------------------------------------

    def _hear(self, block: Block) -> None:
        """Collect a block; a chunk goes out once it is long enough."""
        if self._station is None or self._encoder is None:
            return
        if self._source is None:
            self._source = self._station.provenance(block.provenance)
        self._frames += [frame.data[header.SIZES[header.PLAIN] :] for frame in self._encoder.push(block)]
        if sum(map(len, self._frames)) >= self._settings.chunk_seconds * lyria.RATE * lyria.CHANNELS * 2:
            self._flush()

    def _flush(self) -> None:
        """Send what is collected."""
        samples, self._frames = b"".join(self._frames), []
        source, self._source = self._source, None
        if not samples or source is None:
            return
        prompts, seed = lyria_session.source_of(source, self._told)
        warning, self._warnings = "; ".join(self._warnings), []
        message = lyria.audio_chunk(samples, prompts, replace(self._config, seed=seed), warning)
        if not self._outbox.put_sound(message):
            self._warn_once("this client reads too slowly: the oldest of its sound is dropped")

    async def send(self) -> None:
        """Hand messages to the connection as fast as it takes them; end it where the station has ended."""
        try:
            while True:
                message = self._outbox.take()
                if message is not None:
                    await self._connection.send(message)
                    continue
                try:
                    async with asyncio.timeout(0.5):
                        await self._outbox.filled.wait()
                except TimeoutError:
                    pass
                await self._look_after()
        except ConnectionClosed:
            pass

    async def _look_after(self) -> None:
        station = self._station
        if station is not None and station.failure is not None:
            await self._connection.close(OWN_FAULT, _short(f"the session failed: {station.failure}"))
        elif station is not None and station.closed:
            await self._connection.close(GONE, "the server has ended the session")

    def _warn_once(self, warning: str) -> None:
        """Log it, and let it ride on the next sound; only the first time."""
        if warning in self._reported or len(self._reported) >= LARGEST_MEMORY:
            return
        self._reported.add(warning)
        self._warnings.append(warning)
        log.info("lyria client: %s", warning)


def _remember(memory: dict[str, Value], key: str, value: Value) -> None:
    """Newest last; the oldest goes where too many are kept."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > LARGEST_MEMORY:
        memory.pop(next(iter(memory)))


def _short(reason: str) -> str:
    """What fits into a close frame."""
    raw = reason.encode()
    return reason if len(raw) <= LONGEST_REASON else raw[: LONGEST_REASON - 3].decode(errors="ignore") + "..."
