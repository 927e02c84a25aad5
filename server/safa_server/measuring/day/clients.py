"""The day's clients: one that hears its programme from morning to night, one that hears live sound, and guests."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from safa_server.blocks import BLOCK
from safa_server.client import Received, Refused, SafaClient
from safa_server.control import Close, Grant
from safa_server.measuring.day.hearing import Heard
from safa_server.measuring.day.model import FACTS
from safa_stream.errors import FailureError, SafaError
from safa_stream.scene import WeightedPrompt
from safa_stream.session.messages import AddLayer, Command, Configure, Mix, Prompt, RemoveLayer, Reseed

RATE = FACTS.sample_rate
#: Seconds of sound that a client grants at a time, and so much is granted ahead at least. What is on its way to it when
#: an engine is lost is no more than both, and less than sessions remember (PAST_SECONDS).
GRANT, AHEAD = 10.0, 10.0
#: A session that was granted sound gives none for so long, wall seconds: it has forgotten the grant. One that does so
#: again and again is lost.
STALLED, STALLS = 20.0, 5
#: A guest that is refused asks again after so long, so often.
ASK_AGAIN, ASKS = 0.25, 40
#: What was not granted would come within so long.
MOMENT = 0.05
#: Whoever listens to the programme looks so often whether it is over, wall seconds.
PATIENT = 1.0
#: Seconds of sound that a guest stays.
STAYS = (10.0, 40.0)


@dataclass(slots=True)
class Puller:
    """A client whose grants let its session go on, as fast as it takes what comes. counts: of what went wrong;
    until: the sample up to which it hears; over: whether it has, or can no more."""

    client: SafaClient
    heard: Heard = field(default_factory=Heard)
    counts: Counter[str] = field(default_factory=Counter)
    until: int = 1 << 62
    over: bool = False
    _granted: int = 0
    _resumed: int = 0

    @property
    def session(self) -> str:
        """Its session's id."""
        return str(self.client.opened["session"])

    @property
    def position(self) -> int:
        """The next sample to be heard."""
        return self.heard.account.next_start

    async def hear(self, until: int) -> None:
        """Hear the session up to a sample. Raises FailureError where it is lost."""
        self.until = until
        await self._grant(until)
        frames = aiter(self.client)
        waiting, stalls = asyncio.ensure_future(anext(frames)), 0
        try:
            while self.position < until:
                done, _ = await asyncio.wait((waiting,), timeout=STALLED)
                if not done:
                    stalls += 1
                    self.counts["stalls"] += 1
                    if stalls == STALLS:
                        raise FailureError(f"the session gave no sound for {STALLS * STALLED:g} s")
                    self._granted = self.heard.account.samples
                else:
                    self.heard.take(self.client, waiting.result())
                    waiting = asyncio.ensure_future(anext(frames))
                await self._grant(until)
        except StopAsyncIteration:
            raise FailureError("the session was closed by somebody else") from None
        finally:
            self.over = True
            waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, SafaError):
                await waiting

    async def _grant(self, until: int) -> None:
        """Never more than up to `until`: what comes beyond was not asked for."""
        if self.client.resumed > self._resumed:
            # A grant may have been lost with the engine, on the way there.
            self._resumed = self.client.resumed
            self._granted = self.client.opened["position"] + self.client.opened["credit"]
        left = self._granted - self.heard.account.samples
        most = until - self.heard.account.samples - left
        if left > AHEAD * RATE or most <= 0:
            return
        samples = min(most, round(GRANT * RATE))
        with suppress(FailureError):
            await self.client.send(Grant(samples=samples))
            self._granted += samples


async def _next(client: SafaClient, seconds: float = PATIENT) -> Received | None:
    """The next frame, None where none comes so soon. Raises FailureError where the session is lost."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(client)
    except TimeoutError:
        return None
    except StopAsyncIteration:
        raise FailureError("the session was closed by somebody else") from None


async def _comes_more(client: SafaClient) -> bool:
    """Does a client get a frame within a moment?"""
    with suppress(FailureError):
        return await _next(client, MOMENT) is not None
    return False


@asynccontextmanager
async def opened(url: str, scene: str, counts: Counter[str], **fields: object) -> AsyncIterator[Puller]:
    """A session that its client's grants drive."""
    async with _entered(url, lambda client: client.open(scene, **fields), counts) as client:
        yield Puller(client, counts=counts)


@asynccontextmanager
async def joined(url: str, session: str, counts: Counter[str]) -> AsyncIterator[SafaClient]:
    """A client that listens to a session of somebody else."""
    async with _entered(url, lambda client: client.join(session, format="f32"), counts) as client:
        yield client


@asynccontextmanager
async def _entered(url: str, enter: Callable[[SafaClient], object], counts: Counter[str]) -> AsyncIterator[SafaClient]:
    """A client that is in a session, after as many tries as it takes. Raises FailureError."""
    for number in range(ASKS):
        last = number == ASKS - 1
        async with SafaClient.connect(url) as client:
            try:
                await enter(client)  # type: ignore[misc]
            except (Refused, FailureError) as error:
                counts["refused"] += 1
                if last:
                    raise FailureError(f"refused {ASKS} times: {error}") from None
            else:
                yield client
                return
        await asyncio.sleep(ASK_AGAIN)


class Conductor:
    """Changes the programme's scene now and then, as its random numbers say; remembers which layers there are."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._layers = {0}

    async def change(self, client: SafaClient) -> bool:
        """One change; whether it was answered."""
        command = self._next()
        try:
            await client.send(command)
        except FailureError:
            self._layers = await self._there(client)
            return False
        if isinstance(command, AddLayer) and command.layer is not None:
            self._layers.add(command.layer)
        if isinstance(command, RemoveLayer):
            self._layers.discard(command.layer)
        return True

    async def _there(self, client: SafaClient) -> set[int]:
        """The layers that there are, once the client is connected again. Raises FailureError where it never is."""
        for _ in range(ASKS):
            with suppress(FailureError):
                return {int(layer["layer"]) for layer in (await client.state())["layers"]}
            await asyncio.sleep(ASK_AGAIN)
        raise FailureError("the session's state cannot be asked for")

    def _next(self) -> Command:
        chance = self._chance
        layer = chance.choice(sorted(self._layers))
        free = sorted({0, 1} - self._layers)
        prompts = tuple(WeightedPrompt(text, 1.0) for text in chance.sample(FACTS.sounds, chance.randint(1, 2)))
        kinds: list[Command] = [
            Prompt(prompts=prompts, layer=layer, morph=chance.uniform(0.0, 8.0)),
            Prompt(prompts=prompts, layer=layer, now=True),
            Mix(layer=layer, gain=chance.uniform(-12.0, 0.0), pan=chance.uniform(-1.0, 1.0), ramp=1.0),
            Reseed(layer=layer, seed=chance.randrange(2**31)),
            Configure(layer=layer, guidance=chance.uniform(1.0, 2.0)),
        ]
        kinds += [AddLayer(prompts=prompts, layer=free[0], seed=chance.randrange(2**31))] * 2 if free else []
        kinds += [RemoveLayer(layer=layer)] * 2 if len(self._layers) > 1 else []
        return chance.choice(kinds)


@dataclass(frozen=True, slots=True)
class Guest:
    """Comes when the programme is at a sample; opens a session or joins the programme, stays so many seconds of sound,
    and says goodbye or is just gone."""

    at: int
    opens: bool
    seconds: float
    rude: bool


def guests(chance: random.Random, number: int, until: int) -> list[Guest]:
    """So many, in the order in which they come, all before a sample of the programme."""
    drawn = [
        Guest(chance.randrange(until), chance.random() < 0.4, chance.uniform(*STAYS), chance.random() < 0.1)
        for _ in range(number)
    ]
    return sorted((replace(one, at=max(RATE, one.at)) for one in drawn), key=lambda one: one.at)


async def visit(guest: Guest, url: str, programme: Puller, counts: Counter[str]) -> tuple[str, Heard]:
    """A guest's stay: the session that it heard, and what. Who listens to the programme stays no longer than that.

    Raises FailureError where it was refused or lost its session.
    """
    samples = round(guest.seconds * RATE / BLOCK) * BLOCK
    if guest.opens:
        async with opened(url, "rain, wind:0.5", counts, pacing="pull", format="f32", lead=5.0) as puller:
            await puller.hear(samples)
            counts["frames_not_granted"] += await _comes_more(puller.client)
            if not guest.rude:
                with suppress(FailureError):
                    await puller.client.send(Close())
            return puller.session, puller.heard
    heard = Heard()
    async with joined(url, programme.session, counts) as client:
        while heard.account.samples < samples:
            frame = await _next(client)
            if frame is not None:
                heard.take(client, frame)
            elif programme.over:
                break
    return programme.session, heard
