"""Parts of the page for themselves: safa.js reads frames as the server packs them, the worklet's ring plays them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from safa_server import header

if TYPE_CHECKING:
    from playwright.sync_api import Page

Script = list[tuple[str, int]]

HERE = Path(__file__).parent
RATE = 48_000


class TestFrames:
    """safa.js reads what the server packs."""

    @pytest.mark.parametrize(("name", "scale"), [("f32", 0.0), ("s16", 2.0**-15), ("s24", 2.0**-23)])
    def test_samples_and_header(self, still_page: Page, name: str, scale: float) -> None:
        values = np.random.default_rng(1).uniform(-1, 1, (480, 2))
        payload = {
            "f32": lambda: values.astype("<f4").tobytes(),
            "s16": lambda: np.round(values * 32767).astype("<i2").tobytes(),
            "s24": lambda: b"".join(
                int(v).to_bytes(3, "little", signed=True) for v in np.round(values.ravel() * 8388607)
            ),
        }[name]()
        time = header.BeatTime(-2.125, 97.5, 3.0)
        head = header.Header(name, 2, 44_100, 480, 2**40, -960, 2**62 + 1, 7, len(payload), 0, time)
        frame = header.pack(head, payload)
        got = still_page.evaluate(
            """async (text) => {
                const { parseFrame } = await import("/safa.js");
                const frame = parseFrame(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
                return { ...frame, clock: String(frame.clock), samples: Array.from(frame.samples) };
            }""",
            base64.b64encode(frame).decode(),
        )
        assert np.array_equal(np.array(got.pop("samples"), np.float32).reshape(-1, 2).T, header.samples(head, payload))
        assert got == {
            "sequence": 2**40, "start": -960, "frames": 480, "channels": 2, "rate": 44_100, "clock": str(2**62 + 1),
            "provenance": 7, "lost": 0, "beat": -2.125, "bpm": 97.5, "beatsPerBar": 3,
        }  # fmt: skip

    @pytest.mark.parametrize(
        "damage", ["text[0] ^= 1", "text[4] = 1", "text = text.slice(0, 63)", "text = text.slice(0, 76)"]
    )
    def test_what_is_no_frame_is_refused_in_one_line(self, still_page: Page, damage: str) -> None:
        time = header.BeatTime(0.0, 120.0, 4.0)
        frame = header.pack(header.Header("f32", 1, RATE, 4, 0, 0, 0, 0, 16, 0, time), b"\0" * 16)
        reason = still_page.evaluate(
            f"""async (bytes) => {{
                const {{ parseFrame }} = await import("/safa.js");
                let text = Uint8Array.from(bytes);
                {damage};
                try {{
                    parseFrame(text.buffer);
                    return "";
                }} catch (error) {{
                    return `${{error.name}}: ${{error.message}}`;
                }}
            }}""",
            list(frame),
        )
        assert reason.startswith("SafaError: ") and "\n" not in reason


class TestWorklet:
    """The ring on the audio thread, driven quantum by quantum."""

    def drive(self, page: Page, script: Script, target: int = 480) -> tuple[list[float], dict[str, int]]:
        got = page.evaluate((HERE / "drive.js").read_text(), {"target": target, "script": script})
        return got["heard"], got["report"]

    def test_it_waits_for_the_target_then_plays_every_sample_once(self, still_page: Page) -> None:
        heard, _ = self.drive(still_page, [("write", 400), ("play", 3), ("write", 560), ("play", 8)])
        rise = 4 * 128
        assert heard[: 3 * 128] == [0.0] * 384 and all(0 <= value < 1 for value in heard[384:rise])
        assert heard[rise:] == [float(n) for n in range(1, len(heard) - rise + 1)]

    def test_running_dry_is_counted_and_nothing_is_lost(self, still_page: Page) -> None:
        script = [("write", 500), ("play", 6), ("write", 480), ("play", 4)]
        heard, report = self.drive(still_page, script)
        own = [value for value in heard if value >= 1 and value == int(value)]
        assert own[:500] == [float(n) for n in range(1, 501)]
        place = heard.index(501.0)
        assert heard[place : place + 384] == [float(n) for n in range(501, 885)]
        dry = place - (128 + 500)
        # The rest was played on, and then it ran dry a second time.
        assert report["underruns"] == 2 and report["played"] == 980 and report["missing"] > dry > 0
        fall = np.abs(np.diff(heard[128 + 499 : 128 + 520]))
        assert fall.max() <= 500 * 0.031, "a gap begins without a jump"

    def test_too_much_is_skipped_with_a_join_and_counted(self, still_page: Page) -> None:
        heard, report = self.drive(still_page, [("write", 480), ("play", 2), ("write", 2880), ("play", 8)])
        assert report["skipped"] == 480 - 128 + 2880 - 480
        assert max(np.diff(heard[128:])) < 40, "no jump of the sound"
        assert heard[5 * 128] == int(heard[5 * 128]) > 0

    def test_a_smaller_target_is_reached_at_once(self, still_page: Page) -> None:
        script = [("write", 2000), ("play", 2), ("target", 600), ("play", 1)]
        _, report = self.drive(still_page, script, target=1800)
        assert report["skipped"] == 2000 - 128 - 600

    def test_more_than_the_ring_holds_costs_no_memory(self, still_page: Page) -> None:
        _, report = self.drive(still_page, [("write", 960)] * 30)
        assert report["buffered"] + report["played"] + report["skipped"] == 30 * 960
