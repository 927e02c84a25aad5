"""What the server's metrics say of its sound device and its broadcasts."""

from __future__ import annotations

import asyncio

import pytest

from safa_server import observe
from safa_server.device import DeviceStatus
from safa_server.metrics import Registry
from safa_server.radio.broadcast import BroadcastStatus


def test_a_device_is_there_or_away_and_its_troubles_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "SECONDS", 0.01)
    registry, status = Registry(), DeviceStatus(open=True)

    def told() -> tuple[float, ...]:
        names = ("open", "away", "lost_total", "underruns_total")
        return tuple(registry.value(f"safa_device_{name}") for name in names)

    async def watch() -> None:
        nonlocal status
        watching = asyncio.create_task(observe.observe_device(registry, lambda: status))
        for now, expected in (
            (DeviceStatus(open=True, underruns=2), (1, 0, 0, 2)),
            (DeviceStatus(open=False, underruns=2, lost=1), (0, 1, 1, 2)),
            (DeviceStatus(open=True, underruns=5, lost=1), (1, 0, 1, 5)),
        ):
            status = now
            async with asyncio.timeout(10):
                while told() != expected:
                    await asyncio.sleep(0.01)
        watching.cancel()

    assert told() == (0, 0, 0, 0), "a server without a device"
    asyncio.run(watch())


def test_each_broadcast_is_told_apart_and_its_troubles_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "SECONDS", 0.01)
    registry = Registry()
    statuses = [BroadcastStatus("a", True, 960), BroadcastStatus("b")]

    def told(broadcast: str) -> tuple[float, ...]:
        names = ("connected", "lost_total", "samples_sent_total", "samples_dropped_total", "samples_missing_total")
        return tuple(registry.value(f"safa_broadcast_{name}", broadcast=broadcast) for name in names)

    async def watch() -> None:
        watching = asyncio.create_task(observe.observe_broadcasts(registry, lambda: statuses))
        for now in (BroadcastStatus("b", True, 5, 2, 3, 1, 1), BroadcastStatus("b", False, 9, 4, 3, 1, 2)):
            statuses[1] = now
            async with asyncio.timeout(10):
                while told("b") != (now.connected, now.lost, now.sent, now.dropped, now.missing):
                    await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(watch())
    assert told("a") == (1, 0, 960, 0, 0)
