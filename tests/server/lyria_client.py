"""Google's own client against a server of ours: plays, steers, pauses, resets, stops, and writes down what it got.

Run by test_lyria.py in a process of its own, for the client takes whom to trust from the environment (SSL_CERT_FILE):

    python lyria_client.py BASE_URL API_VERSION KEY FOLDER

FOLDER/sound.pcm holds all samples, FOLDER/report.json what came when. Nothing here is ours but the list of steps.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google import genai
from google.genai import types

BYTES_A_SECOND = 48_000 * 2 * 2
PATIENCE = 15.0


class Listener:
    """Everything that arrived, in order."""

    def __init__(self) -> None:
        self.sound = bytearray()
        self.chunks: list[dict[str, Any]] = []
        self.filtered: list[dict[str, Any]] = []
        self.other = 0
        self.marks: dict[str, float] = {}

    async def listen(self, session: Any) -> None:
        """Until the connection ends."""
        async for message in session.receive():
            if message.server_content is not None:
                (chunk,) = message.server_content.audio_chunks
                source = chunk.source_metadata
                self.chunks.append(
                    {
                        "time": time.monotonic(),
                        "start": len(self.sound) // 4,
                        "samples": len(chunk.data) // 4,
                        "mime": chunk.mime_type,
                        "prompts": [[p.text, p.weight] for p in source.client_content.weighted_prompts],
                        "config": source.music_generation_config.model_dump(mode="json", exclude_none=True),
                    }
                )
                self.sound += chunk.data
            elif message.filtered_prompt is not None:
                self.filtered.append(message.filtered_prompt.model_dump(mode="json"))
            else:
                self.other += 1

    async def until(self, what: str, done: Callable[[], bool]) -> None:
        """Wait for something to arrive, and mark how many seconds of sound there were then."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE} s for {what}")
            await asyncio.sleep(0.02)
        self.mark(what)

    async def seconds(self, what: str, seconds: float) -> None:
        """Wait for so much more sound."""
        wanted = len(self.sound) + seconds * BYTES_A_SECOND
        await self.until(what, lambda: len(self.sound) >= wanted)

    def mark(self, what: str) -> None:
        """Note how much sound there is now."""
        self.marks[what] = len(self.sound) / BYTES_A_SECOND

    def last(self, name: str) -> Any:
        """A part of the newest chunk's metadata."""
        return self.chunks[-1][name] if self.chunks else None


async def perform(session: Any, listener: Listener) -> None:
    """The steps."""
    rain = types.WeightedPrompt(text="Rain on a tent, close", weight=1.0)
    await session.set_weighted_prompts(prompts=[rain, types.WeightedPrompt(text="zxqvw", weight=0.5)])
    await session.set_music_generation_config(
        config=types.LiveMusicGenerationConfig(bpm=90, temperature=1.0, seed=7, guidance=4.0)
    )
    await session.play()
    await listener.seconds("played", 1.5)

    await session.set_weighted_prompts(prompts=[types.WeightedPrompt(text="crickets at night", weight=2.0)])
    await session.set_music_generation_config(config=types.LiveMusicGenerationConfig(brightness=0.5))
    listener.mark("steered")
    await listener.until("crickets", lambda: listener.last("prompts") == [["crickets at night", 2.0]])
    await listener.seconds("crickets for a while", 3.0)

    await session.pause()
    await asyncio.sleep(0.3)
    listener.mark("paused")
    await asyncio.sleep(0.5)
    listener.mark("still paused")
    await session.play()
    await listener.seconds("resumed", 0.5)

    await session.reset_context()
    listener.mark("reset")
    await listener.until("another seed", lambda: listener.last("config")["seed"] != 7)
    await listener.seconds("went on", 0.3)

    await session.stop()
    await asyncio.sleep(0.3)
    listener.mark("stopped")
    await asyncio.sleep(0.5)
    listener.mark("still stopped")
    await session.play()
    await listener.seconds("played again", 0.4)


async def main(base_url: str, version: str, key: str, folder: Path) -> None:
    """Connect as the samples of the client's documentation do."""
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, api_version=version))
    listener = Listener()
    ended = ""
    async with client.aio.live.music.connect(model="models/lyria-realtime-exp") as session:
        listening = asyncio.create_task(listener.listen(session))
        performing = asyncio.create_task(perform(session, listener))
        await asyncio.wait([listening, performing], return_when=asyncio.FIRST_COMPLETED)
        if not performing.done():
            performing.cancel()
        await session.close()
        await asyncio.wait([listening, performing])
        for task in (listening, performing):
            if not task.cancelled() and task.exception() is not None:
                ended += f"{task.exception()!r} "
    (folder / "sound.pcm").write_bytes(bytes(listener.sound))
    report = {name: getattr(listener, name) for name in ("chunks", "filtered", "other", "marks")}
    (folder / "report.json").write_text(json.dumps({**report, "ended": ended}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
