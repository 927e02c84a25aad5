"""A cluster of several models: sessions are, stay and are taken over where theirs is served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_server.client import SafaClient
from safa_server.cluster import directory as rules
from safa_server.cluster.directory import EngineFacts, only, place
from safa_server.settings import Settings
from safa_stream.errors import ClusterError, UsageError
from safa_stream.session.livescene import LiveScene
from tests.cluster.rig import Cluster, cluster, listen
from tests.server.ws_rig import run


def scene(model: str | None) -> dict[str, Any]:
    value = LiveScene.from_value("low").as_dict()
    return {**{name: one for name, one in value.items() if name != "model"}, **({"model": model} if model else {})}


async def served(up: Cluster, session: str) -> str:
    """The model of the engine that has a session."""
    return (await up.port_of(session)).engine.settings.model


@pytest.mark.parametrize(
    "named, serves", [("other", "other"), ("builtin", "builtin"), (None, "builtin"), ("x", "builtin")]
)
def test_a_session_is_made_by_the_model_that_its_scene_names(tmp_path: Path, named: str | None, serves: str) -> None:
    """One that the cluster does not have is its first one, as at a single server."""

    async def test() -> None:
        async with cluster(tmp_path, engines=1, more=(("other", 1),)) as up, SafaClient.connect(up.url) as client:
            session = (await client.open(scene(named), lead=2.0))["session"]
            assert await served(up, session) == serves
            await listen(client, 0.2)
            with pytest.raises(ClusterError, match="no other engine"):
                await up.head.move(session)
            another = next(name for name, port in up.ports.items() if port.engine.settings.model != serves)
            with pytest.raises(ClusterError, match="no other engine"):
                await up.head.move(session, another)

    run(test())


def test_an_engine_that_is_lost_is_replaced_by_one_of_its_model(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path, engines=2, patience=0.4, more=(("other", 1),)) as up:
            async with SafaClient.connect(up.url) as client:
                session = (await client.open(scene("other"), lead=2.0, ahead=2.0))["session"]
                heard = [await listen(client, 1.0)]
                lost = await up.port_of(session)
                lost.frozen = True
                async with asyncio.timeout(30):
                    while await up.port_of(session) is lost:
                        await asyncio.sleep(0.02)
                assert await served(up, session) == "other"
                heard.append(await listen(client, 2.0))
                assert client.lost == 0
                up.check(session, np.concatenate(heard, axis=1))
                serving = [one["serves"] for one in (await up.head.status())["engines"].values()]
                assert sorted(serving) == ["builtin", "builtin", "other"]

    run(test())


def test_a_session_that_was_lost_before_it_was_told_of_is_its_models_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path, engines=1, more=(("other", 2),)) as up:
            lost, heir = [name for name, port in up.ports.items() if port.engine.settings.model == "other"]
            asked = asyncio.get_running_loop().create_future()

            async def adopt(session_id: str, epoch: int, due: int | None) -> None:
                asked.set_result(session_id)

            setattr(up.ports[heir], "adopt", adopt)  # noqa: B010
            await up.head._lost(lost, RuntimeError("gone"))
            await up.head.broken("unheard-of", lost, 1, 0.0)
            assert await asyncio.wait_for(asked, 5) == "unheard-of"

    run(test())


def test_a_model_of_which_no_engine_begins_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(ClusterError, match="no engine of broken could be started: no such model"):
            async with cluster(tmp_path, engines=1, more=(("broken", 1),)):
                pass

    run(test())


def test_an_engine_of_another_model_has_no_room_for_it() -> None:
    found = rules.Directory()
    for name, serves, room in (("a", "builtin", 9), ("b", "other", 1)):
        found, _ = rules.reported(found, name, EngineFacts(f"ws://{name}", serves, room, 0, {}, serves), 0.0)
    assert place(only(found, "builtin"), 2) == "a" and place(only(found, "other"), 1) == "b"
    assert place(only(found, "other"), 2) is None


def test_further_models_are_read_from_the_settings() -> None:
    settings = Settings(cluster="local", more_models=("cvssp/audioldm2=2", "/models/glacier=1"))
    assert settings.further_models == (("cvssp/audioldm2", 2), ("/models/glacier", 1))
    for wrong in (("x",), ("x=0",), ("=1",), ("x=two",), ("builtin=1",), ("x=1", "x=2")):
        with pytest.raises(UsageError, match="more_models"):
            Settings(cluster="local", more_models=wrong)
    with pytest.raises(UsageError, match="a single server has one model"):
        Settings(more_models=("x=1",))
