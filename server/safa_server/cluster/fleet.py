"""The engines of a cluster: which there are, which models they serve, and how more of them are begun."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

from safa_server.cluster import directory as rules
from safa_server.cluster.directory import Directory
from safa_server.cluster.ports import EnginePort
from safa_stream.errors import ClusterError
from safa_stream.models import BUILTIN

#: How long an engine may take to begin, seconds.
START_SECONDS = 120.0

#: Begins an engine of a name for a model; it answers once it can be asked for facts.
Launch = Callable[[str, str], Awaitable[EnginePort]]


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """least, most: engines of the first model that there are; patience: seconds without a report after which an engine
    is given up; even: whether sessions are moved from full engines to empty ones; model: the first one, for scenes that
    name none of the cluster's; more: further models, and how many engines each has."""

    least: int = 1
    most: int = 1
    patience: float = rules.PATIENCE
    even: bool = True
    model: str = BUILTIN
    more: tuple[tuple[str, int], ...] = ()


class Fleet:
    """See the module. ports: the engines by name; served: their models, of those that are gone as well; pools: by
    model, how many engines there are at least and at most."""

    def __init__(self, launch: Launch, settings: HeadSettings) -> None:
        self.ports: dict[str, EnginePort] = {}
        self.served: dict[str, str] = {}
        self.pools = {settings.model: (settings.least, settings.most)}
        self.pools |= {model: (count, count) for model, count in settings.more}
        self._first, self._launch = settings.model, launch
        self._starting: Counter[str] = Counter()
        self._numbers = itertools.count(1)

    def skip(self, names: Iterable[str]) -> None:
        """No new engine is to have such a name, nor a number before its."""
        numbers = [name.rpartition("-")[2] for name in names]
        self._numbers = itertools.count(max([int(number) for number in numbers if number.isdecimal()], default=0) + 1)

    def model_for(self, wanted: str | None) -> str:
        """The model of a scene that names `wanted`: as at a single server, one that is not there is the first."""
        return wanted if wanted in self.pools else self._first

    async def begin(self, model: str, join: Callable[[str, EnginePort], Awaitable[None]]) -> None:
        """One more engine of a model, which `join` then takes in. Raises ClusterError, and what the two raise."""
        self._starting[model] += 1
        try:
            name = next(name for number in self._numbers if (name := f"engine-{number}") not in self.ports)
            async with asyncio.timeout(START_SECONDS):
                await join(name, await self._launch(name, model))
        except TimeoutError:
            raise ClusterError(f"an engine of {model} did not begin within {START_SECONDS:g} s") from None
        finally:
            self._starting[model] -= 1

    def number(self, directory: Directory, model: str, without: Collection[str] = ()) -> int:
        """How many engines a model has that take sessions, those that begin among them."""
        there = rules.only(directory, model).engines
        able = [name for name, one in there.items() if not one.leaving and name not in without]
        return len(able) + self._starting[model]

    def missing(self, directory: Directory) -> list[str]:
        """Models of engines that there are too few of, each as often as one is missing."""
        return [model for model, (least, _) in self.pools.items() for _ in range(least - self.number(directory, model))]
