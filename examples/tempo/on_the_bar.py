"""Change what is heard on the bars of whatever leads: Ableton Link, a MIDI clock, a client that says `tempo`.

safa-stream serve --link
python examples/tempo/on_the_bar.py "rain on a tent" campfire wind --every "4 bars" | ffplay -f f32le -ar 48000 -ac 2 -

Needs `pip install "safa-stream[cpu,link]"`. Each change is asked for ahead, so it is heard on its line to the frame.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys

from safa_server.client import SafaClient
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import Configure, Prompt


async def main(options: argparse.Namespace) -> None:
    """Listen until so many changes were heard, or for ever."""
    lines = itertools.cycle(options.prompts)
    async with SafaClient.connect(options.url, options.token) as client:
        await client.open(next(lines))
        if options.hops != "free":
            await client.send(Configure(hops=options.hops))
        changes, waiting, words = 0, None, ""
        async for frame in client:
            if options.sound:
                sys.stdout.buffer.write(frame.samples().T.tobytes())
            done = [one for one in client.events if one["type"] in ("applied", "refused") and one["command"] == waiting]
            client.events.clear()
            time = frame.header.time
            if done and time is not None:
                place = f"bar {time.beat / time.beats_per_bar:.2f}, {time.bpm:.1f} BPM"
                print(
                    f"{done[0]['type']} at sample {done[0]['position']}, {place}: {words}", file=sys.stderr, flush=True
                )
                changes, waiting = changes + 1, None
                if changes == options.changes:
                    return
            if waiting is None:
                words = next(lines)
                waiting = await client.send(
                    Prompt(prompts=parse_prompts(words), morph=options.morph, quantise=options.every)
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="+", help="prompt lines, one after the other and again")
    parser.add_argument("--every", default="4 bars", help='lines on which they change: "beat", "bar", "4 bars"')
    parser.add_argument("--hops", default="free", help="lines on which views begin to be heard as well")
    parser.add_argument("--morph", type=float, default=0.0, help="seconds that a change takes, from its line on")
    parser.add_argument("--changes", type=int, help="end after so many")
    parser.add_argument(
        "--sound", action=argparse.BooleanOptionalAction, default=True, help="write the sound to stdout"
    )
    parser.add_argument("--url", default="ws://127.0.0.1:8600/ws")
    parser.add_argument("--token")
    asyncio.run(main(parser.parse_args()))
