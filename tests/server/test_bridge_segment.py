"""The bridge's side of the memory that it shares with a plugin, and the folder where both meet."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safa_server.bridge import segment as s
from safa_server.bridge.claim import open_segment
from safa_server.bridge.folder import plugin_folder, prepare
from safa_server.bridge.service import Bridge, BridgeSettings
from safa_stream.cli.main import main
from safa_stream.errors import FailureError, UsageError
from tests.server.plugin_memory import PluginMemory


def counted(count: int, first: int = 0) -> np.ndarray:
    frames = np.arange(first, first + count, dtype=np.float32)
    return np.stack([frames, -frames], axis=1)


class TestSound:
    def test_frames_arrive_in_order_around_the_ring_s_end(self) -> None:
        plugin = PluginMemory(1)
        segment, sent = plugin.segment(), 0
        for count in (s.FRAMES - 100, 300, 960, 5):
            segment.write(counted(count, sent))
            sent += count
            assert segment.written == sent
            assert np.array_equal(plugin.read(count), counted(count, sent - count))

    def test_more_than_the_plugin_has_room_for_is_refused_and_overwrites_nothing(self) -> None:
        plugin = PluginMemory(1)
        segment = plugin.segment()
        segment.write(counted(s.FRAMES))
        with pytest.raises(s.SegmentError, match="more sound came than was asked for"):
            segment.write(counted(1))
        assert np.array_equal(plugin.read(10), counted(10))

    def test_a_cut_says_what_is_not_to_be_heard_and_what_rate_follows(self) -> None:
        plugin = PluginMemory(1)
        segment = plugin.segment()
        segment.write(counted(500))
        segment.cut(44_100)
        assert (plugin.wide[18], plugin.narrow[40]) == (500, 44_100)
        # A plugin that waits in `run` has not moved on to it yet; the bridge asks for sound from there all the same.
        assert segment.plugin().read == 500


class TestEvents:
    def test_each_is_read_once_around_the_ring_s_end(self) -> None:
        plugin = PluginMemory(1)
        segment = plugin.segment()
        for turn in range(3):
            for number in range(s.EVENTS - 1):
                plugin.push(number, s.PARAMETER, number % 25, turn, 0.0, 0.0)
            found = list(segment.events())
            assert [event.index for event in found] == list(range(s.EVENTS - 1))
            assert {event.a for event in found} == {float(turn)}
        assert not list(segment.events())

    def test_what_happened_before_the_bridge_came_is_said_anew_and_not_read(self) -> None:
        plugin = PluginMemory(1)
        plugin.push(1, s.PARAMETER, 0, 1.0, 0.0, 0.0)
        segment = plugin.segment()
        segment.attach(77)
        assert not list(segment.events())
        assert (plugin.narrow[41], segment.status) == (77, s.CONNECTING)


class TestTexts:
    def test_states_come_once_each_time_that_the_host_sets_them(self) -> None:
        plugin = PluginMemory(1)
        segment = plugin.segment()
        assert segment.states() is None
        plugin.set_states(prompts="rain\nbirds", scene="{}")
        assert segment.states() == {"prompts": "rain\nbirds", "scene": "{}"}
        assert segment.states() is None

    def test_the_scene_is_newer_than_the_states_once_it_was_told_after_them(self) -> None:
        plugin = PluginMemory(1)
        segment = plugin.segment()
        segment.tell_scene("one")
        plugin.set_states(scene="two")
        assert not segment.states_taken
        segment.states()
        segment.tell_scene("three")
        assert segment.states_taken and segment.scene() == "three"

    def test_a_scene_that_no_project_can_hold_is_refused(self) -> None:
        with pytest.raises(s.SegmentError, match="a project can hold 65535"):
            PluginMemory(1).segment().tell_scene("x" * s.TEXT)


class TestOther:
    @pytest.mark.parametrize(
        ("memory", "said"),
        [
            (b"", "too short"),
            (b"RIFF" * 100, "no plugin's segment"),
            (bytes(PluginMemory(1, version=9).memory), "the plugin speaks version 9, this bridge 1"),
            (bytes(PluginMemory(1).memory[:5000]), "has 5000 bytes"),
        ],
    )
    def test_what_is_no_segment_is_refused_in_a_line(self, memory: bytes, said: str) -> None:
        with pytest.raises(s.SegmentError, match=said):
            s.Segment(memoryview(bytearray(memory)))

    def test_one_bridge_serves_a_segment(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safa"
        path.write_bytes(PluginMemory(os.getpid()).memory)
        _, claim = open_segment(path)
        with pytest.raises(s.SegmentError, match="another bridge"):
            open_segment(path)
        claim.close()
        open_segment(path)[1].close()

    def test_the_plugins_folder_is_the_user_s_own(self, tmp_path: Path) -> None:
        assert plugin_folder({"SAFA_PLUGIN_FOLDER": "/x", "XDG_RUNTIME_DIR": "/y"}) == Path("/x")
        assert plugin_folder({"XDG_RUNTIME_DIR": "/y"}) == Path("/y/safa-stream-plugins")
        prepare(tmp_path / "a/b")
        assert (tmp_path / "a/b").stat().st_mode & 0o77 == 0
        (tmp_path / "file").write_text("")
        with pytest.raises(FailureError, match="cannot make the plugins' folder"):
            prepare(tmp_path / "file/b")


class TestService:
    def test_a_segment_whose_host_is_gone_is_removed_and_others_are_left_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (tmp_path / "gone.safa").write_bytes(PluginMemory(gone.pid).memory)
        (tmp_path / "other.safa").write_bytes(b"something else")
        (tmp_path / "here.safa").write_bytes(PluginMemory(os.getpid()).memory)

        async def look() -> None:
            stop = asyncio.Event()
            # A port that nothing listens on: no server is reached, and none is started.
            running = asyncio.create_task(Bridge(BridgeSettings(tmp_path, "ws://127.0.0.1:9/ws")).run(stop))
            await asyncio.sleep(0.5)
            stop.set()
            await running

        with caplog.at_level(logging.INFO, "safa_server.bridge"):
            asyncio.run(look())
        assert {path.name for path in tmp_path.iterdir()} == {"here.safa", "other.safa"}
        said = [record.getMessage() for record in caplog.records]
        assert said.count("other.safa: it is no plugin's segment: too short") == 1
        assert "gone.safa: its host is gone, it is removed" in said

    def test_what_is_wrong_with_its_files_and_flags_is_said_in_a_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("rain:0.5")
        with pytest.raises(UsageError, match="leave ':' out"):
            Bridge(BridgeSettings(tmp_path, "ws://127.0.0.1:9/ws", prompts=prompts))
        assert main(["bridge", "--url", "ws://127.0.0.1:9/ws", "--", "--osc-port", "-1"]) == 2
        assert main(["bridge", "--scene", str(tmp_path / "none.json"), "--url", "ws://127.0.0.1:9/ws"]) == 2
        assert "cannot read the scene" in capsys.readouterr().err
