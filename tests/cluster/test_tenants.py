"""A tenant's quotas hold for the whole cluster, whichever engines and front ends it comes to."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from safa_server.client import Refused, SafaClient
from safa_server.cluster.front import front_end
from safa_server.limits import Limits
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import AddLayer
from tests.cluster.rig import SECRET, Cluster, cluster
from tests.server.tenants_rig import Tenancy
from tests.server.ws_rig import quiet_log, run


async def apart(up: Cluster, sessions: list[str]) -> None:
    """Each session at an engine of its own, and every engine knows what there is at the others."""
    targets = list(up.ports)
    for session, target in zip(sessions, targets, strict=True):
        if await up.port_of(session) is not up.ports[target]:
            await up.head.move(session, target)
    for port in up.ports.values():
        async with asyncio.timeout(10):
            while port.engine._allowances.elsewhere("a").sessions != len(sessions) - 1:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("quota", ["layers", "listeners"])
def test_what_a_tenant_has_at_other_engines_counts(tmp_path: Path, quota: str) -> None:
    tenancy = Tenancy(tmp_path, **{quota: 3})
    token = tenancy.token("a")

    async def test() -> None:
        async with cluster(tmp_path / "state", security=tenancy.security) as up, AsyncExitStack() as stack:
            one, two, more, other = [
                await stack.enter_async_context(SafaClient.connect(up.url, token)) for _ in range(4)
            ]
            sessions = [(await client.open("low", lead=2.0))["session"] for client in (one, two)]
            await apart(up, sessions)

            async def take(client: SafaClient) -> None:
                if quota == "layers":
                    await client.send(AddLayer(prompts=parse_prompts("high")))
                else:
                    await (more if client is one else other).join(sessions[client is two])

            await take(one)
            second = await up.port_of(sessions[1])
            async with asyncio.timeout(10):
                while getattr(second.engine._allowances.elsewhere("a"), quota) != 2:
                    await asyncio.sleep(0.02)
            with pytest.raises(Refused, match=f"quota '{quota}'") as refused:
                await take(two)
            assert refused.value.answer["code"] == "quota"

    with quiet_log():
        run(test())


def test_sessions_that_are_opened_at_all_front_ends_count(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path, opens_per_minute=2)
    token = tenancy.token("a")

    async def test() -> None:
        async with cluster(tmp_path / "state", security=tenancy.security) as up, AsyncExitStack() as stack:
            door = front_end("127.0.0.1", 0, up.head, SECRET, tenancy.security, Limits(), "other")
            urls = [up.url, f"ws://127.0.0.1:{await stack.enter_async_context(door)}/ws"]
            for url in urls:
                await (await stack.enter_async_context(SafaClient.connect(url, token))).open("low")
            for url in urls:
                with pytest.raises(Refused, match="quota 'opens_per_minute'") as refused:
                    await (await stack.enter_async_context(SafaClient.connect(url, token))).open("low")
                assert refused.value.answer["retry_after"] > 10.0
            # The other tenant has nothing to do with it.
            await (await stack.enter_async_context(SafaClient.connect(urls[0], tenancy.token("b")))).open("low")

    with quiet_log():
        run(test())
