"""A scene that changes on the way, kept as a file that others can render again.

python examples/scene_through_a_night.py --seconds 180
safa-stream render --scene night.json --duration 180 --out again.flac
"""

from __future__ import annotations

import argparse
from pathlib import Path

import safa_stream
from safa_stream.scene import PromptChange, parse_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--scene", type=Path, default=Path("night.json"))
    parser.add_argument("--out", type=Path, default=Path("night.flac"))
    options = parser.parse_args()

    third = options.seconds / 3
    scene = safa_stream.Scene.from_prompt(
        "crickets, wind in the trees:0.3",
        seed=11,
        changes=(
            PromptChange(at=third, prompts=parse_prompts("frogs by a pond, crickets:0.5"), morph=third / 4),
            PromptChange(at=2 * third, prompts=parse_prompts("forest birds at dawn"), morph=third / 2),
        ),
    )
    options.scene.write_text(scene.to_json() + "\n", encoding="utf-8")
    assert safa_stream.Scene.from_json(options.scene.read_text(encoding="utf-8")) == scene

    result = safa_stream.render(scene, options.seconds, options.out, force=True)
    print(f"{options.scene} and {result.file}: {result.seconds:.0f} s")


if __name__ == "__main__":
    main()
