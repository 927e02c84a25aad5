"""Play a sound that does not end: raw 32-bit float samples on standard output, for any player that reads a pipe.

python examples/chunks_to_a_player.py "campfire" | ffplay -f f32le -ar 48000 -ch_layout stereo -i -
python examples/chunks_to_a_player.py "campfire" | aplay -f FLOAT_LE -r 48000 -c 2
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import safa_stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="campfire")
    parser.add_argument("--seconds", type=float, help="stop after so long (default: never)")
    options = parser.parse_args()

    scene = safa_stream.Scene.from_prompt(options.prompt)
    for chunk in safa_stream.chunks(safa_stream.load_model(), scene, options.seconds):
        # Chunks are as the model made them. `render` levels loudness and peaks; here they are only kept in range.
        samples = np.clip(chunk.samples, -1, 1)
        print(f"from {chunk.start / chunk.sample_rate:.1f} s: {chunk.seconds:.1f} s", file=sys.stderr)
        sys.stdout.buffer.write(samples.T.astype("<f4").tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
