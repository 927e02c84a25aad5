"""A clearing at night: walk with the arrow keys. Rain is everywhere, the fire and the brook are where they are.

    safa-stream serve
    python examples/pygame/clearing.py

Each layer of one session has a channel of its own, placed by where you stand. What changes the sound itself goes to the
session: R brings the rain closer or sends it away, under the tree it is duller.

Needs `pip install "safa-stream[cpu]" pygame`.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pygame

sys.path.insert(0, str(Path(__file__).parent))

from ears import Ear, Session, start_mixer

from safa_server.sparing import Sparing
from safa_stream.errors import SafaError
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import Mix, Prompt

WIDTH, HEIGHT, SPEED = 640, 400, 160.0
RAIN, FIRE, BROOK = 0, 1, 2
SCENE = {
    "format": "safa-live-1",
    "layers": [
        {"layer": RAIN, "prompts": "steady drizzle"},
        {"layer": FIRE, "prompts": "campfire", "seed": 3},
        {"layer": BROOK, "prompts": "a brook over stones", "seed": 5},
    ],
}
PLACES = {FIRE: (180.0, 260.0), BROOK: (520.0, 120.0)}
TREE, CROWN = (330.0, 160.0), 70.0
NEAR = 60.0
RAINS = ("steady drizzle", "rain on a tent, distant thunder:0.5", "rolling thunderstorm")


@dataclass(frozen=True, slots=True)
class Game:
    """All that the sound depends on. x, y: where you are; storm: which of RAINS it is."""

    x: float = WIDTH / 2
    y: float = HEIGHT / 2
    storm: int = 0


def moved(game: Game, right: float, down: float, seconds: float) -> Game:
    """Where you are after walking."""
    x, y = game.x + right * SPEED * seconds, game.y + down * SPEED * seconds
    return replace(game, x=min(WIDTH, max(0.0, x)), y=min(HEIGHT, max(0.0, y)))


def volumes(game: Game, place: tuple[float, float]) -> tuple[float, float]:
    """How loud a place is left and right: halved with every doubling of the distance, turned by where it lies."""
    across, distance = place[0] - game.x, math.dist(place, (game.x, game.y))
    loud = NEAR / max(NEAR, distance)
    turn = 0.5 + 0.5 * max(-1.0, min(1.0, across / 200.0))
    return loud * min(1.0, math.sqrt(2 * (1 - turn))), loud * min(1.0, math.sqrt(2 * turn))


def shelter(game: Game) -> float:
    """dB that the tree takes from the rain's highs where you stand."""
    return -18.0 * max(0.0, 1 - math.dist(TREE, (game.x, game.y)) / CROWN)


def commands(before: Game | None, game: Game, sparing: Sparing, now: float) -> list[Mix | Prompt]:
    """What to tell the session in this picture: mostly nothing."""
    said: list[Mix | Prompt] = []
    if before is not None and before.storm != game.storm:
        said.append(Prompt(layer=RAIN, prompts=parse_prompts(RAINS[game.storm]), morph=4.0))
    high = round(shelter(game), 2)
    if sparing.due("shelter", high, now):
        said.append(Mix(layer=RAIN, high=high, ramp=sparing.every))
    return said


def draw(screen: pygame.Surface, game: Game) -> None:
    """The clearing from above."""
    screen.fill((14, 22, 18))
    pygame.draw.circle(screen, (24, 60, 34), TREE, CROWN)
    pygame.draw.circle(screen, (230, 120, 40), PLACES[FIRE], 12)
    pygame.draw.circle(screen, (60, 120, 200), PLACES[BROOK], 16)
    pygame.draw.circle(screen, (235, 235, 225), (game.x, game.y), 7)
    pygame.display.flip()


def walking(seconds: float, by_itself: bool) -> tuple[float, float]:
    """Right and down, by the keys or in a circle, past the tree."""
    if by_itself:
        return math.sin(2 * seconds), -math.cos(2 * seconds)
    keys = pygame.key.get_pressed()
    return keys[pygame.K_RIGHT] - keys[pygame.K_LEFT], keys[pygame.K_DOWN] - keys[pygame.K_UP]


def play(session: Session, seconds: float, by_itself: bool) -> str:
    """Play until the window is closed, or so many seconds of sound; what was said and heard, as a line."""
    screen = pygame.display.set_mode((WIDTH, HEIGHT))
    ears = {layer: Ear(layer) for layer in (RAIN, FIRE, BROOK)}
    for layer, ear in ears.items():
        session.listen(ear, layer)
    game, before, sparing, clock = Game(), None, Sparing(every=0.1, least=0.5), pygame.time.Clock()
    now, heard, said, pictures = 0.0, 0.0, 0, 0
    while heard < seconds:
        step = clock.tick(60) / 1000
        now, pictures = now + step, pictures + 1
        heard += step if all(ear.given for ear in ears.values()) else 0.0
        events = pygame.event.get()
        if any(event.type == pygame.QUIT for event in events):
            break
        rain = any(event.type == pygame.KEYDOWN and event.key == pygame.K_r for event in events)
        before, game = game, moved(game, *walking(now, by_itself), step)
        if rain or (by_itself and int(now / 2) != int((now - step) / 2)):
            game = replace(game, storm=(game.storm + 1) % len(RAINS))
        for command in commands(before, game, sparing, now):
            session.say(command)
            said += 1
        for layer, ear in ears.items():
            ear.pump()
            if layer in PLACES:
                ear.channel.set_volume(*volumes(game, PLACES[layer]))
        draw(screen, game)
    gaps = sum(ear.gaps for ear in ears.values())
    return f"{said} commands in {pictures} pictures and {now:.1f} s, {gaps} gaps"


def main() -> None:
    """Open a session and play in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8600/ws")
    parser.add_argument("--token", help="the server's")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of sound")
    parser.add_argument("--by-itself", action="store_true", help="walk in a circle, change the weather every 2 s")
    options = parser.parse_args()
    start_mixer()
    pygame.init()
    session = Session(options.url, options.token)
    try:
        session.open(SCENE)
        print(f"session {session.opened['session']}", flush=True)
        print(play(session, options.seconds, options.by_itself))
        for trouble in session.troubles:
            print(trouble, file=sys.stderr)
    except SafaError as error:
        sys.exit(f"clearing: {error}")
    finally:
        session.close()
        pygame.quit()


if __name__ == "__main__":
    main()
