"""List the sounds that a model knows.

Prompts are free words: they lead to the nearest of these sounds and their mixtures.

examples:
  safa-stream sounds
  safa-stream sounds --model my-model --json
"""

from __future__ import annotations

import argparse
import json

HELP = "the sounds that the model knows, with words that lead to them"
#: What one could write for the built-in model's sounds; a model of one's own shows its names.
CAPTIONS = {
    "rain": "rain on a tent, steady drizzle",
    "thunder": "distant thunder, rolling thunderstorm",
    "wind": "wind in the trees, howling gusts",
    "ocean": "waves on a pebble beach, surf",
    "stream": "a brook over stones, small waterfall",
    "birds": "forest birds at dawn, songbirds",
    "crickets": "crickets on a summer night",
    "frogs": "frogs by a pond",
    "fire": "campfire, crackling fireplace",
    "hotspring": "hot spring, bubbling mud",
    "underwater": "underwater, deep sea",
    "whale": "whale song",
    "cave": "drips in a cave",
    "drone": "dark drone, soft pad",
    "bells": "church bells, wind chimes",
    "cafe": "busy café, murmur of voices",
    "city": "city traffic at night",
    "train": "inside a train, rails",
    "machinery": "factory hum, engines",
    "boat": "creaking boat, harbour",
    "snow": "steps in fresh snow",
    "wolves": "wolves howling",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--model", default="builtin", metavar="NAME", help="builtin, a model's folder, or an id")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    from safa_stream.models import load

    facts = load(options.model).facts
    captions = {sound: CAPTIONS.get(sound, "") for sound in facts.sounds}
    if options.json:
        print(json.dumps({"model": facts.name, "version": facts.version, "sounds": captions}, ensure_ascii=False))
        return 0
    if not facts.sounds:
        print(f"{facts.name} {facts.version} has no list of sounds: it takes any words")
        return 0
    print(f"{facts.name} {facts.version} knows {len(facts.sounds)} sounds and their mixtures:")
    width = max(map(len, facts.sounds), default=0)
    for sound, caption in captions.items():
        print(f"  {sound:{width}}  {caption}".rstrip())
    return 0
