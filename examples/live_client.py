"""Play a live session from a running server to whatever reads raw samples, and steer it on the way.

    safa-stream serve &
    python examples/live_client.py "rain on a tent" --then campfire | ffplay -f f32le -ar 48000 -ac 2 -

Needs `pip install "safa-stream[cpu]"`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from safa_server.client import SafaClient
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import Prompt


async def main(options: argparse.Namespace) -> None:
    """Listen for so many seconds; half-way change the prompt at once."""
    async with SafaClient.connect(options.url, options.token) as client:
        await client.open(options.prompt)
        heard, changed = 0.0, False
        async for frame in client:
            sys.stdout.buffer.write(frame.samples().T.tobytes())
            heard += frame.header.frames / frame.header.rate
            if not changed and heard > options.seconds / 2:
                await client.send(Prompt(prompts=parse_prompts(options.then), now=True, morph=1.0))
                changed = True
            if heard >= options.seconds:
                break
    print(f"{heard:.1f} s heard, {client.lost} samples lost", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="rain on a tent")
    parser.add_argument("--then", default="campfire", help="the prompt of the second half")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--url", default="ws://127.0.0.1:8600/ws")
    parser.add_argument("--token")
    asyncio.run(main(parser.parse_args()))
