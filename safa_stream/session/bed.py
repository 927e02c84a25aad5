"""The standby bed: what a layer played last, as a loop that can go on while its own sound is late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safa_stream.decode import crossfade
from safa_stream.types import FloatArray

#: A bed is made of so many seconds, its loop closed over FADE_SECONDS.
SECONDS, FADE_SECONDS = 5.0, 1.5
#: A bed that nobody relieves fades away after so long.
PATIENCE_SECONDS, AWAY_SECONDS = 30.0, 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Bed:
    """`loop` [channels, N] is heard from session sample `since` on, its sample 0 first."""

    loop: FloatArray
    since: int
    rate: int

    def slice(self, position: int, count: int) -> FloatArray:
        """[channels, count] from a session sample on."""
        if not self.loop.shape[1]:
            return np.zeros((self.loop.shape[0], count), np.float32)
        at = position - self.since + np.arange(count)
        late = (at - PATIENCE_SECONDS * self.rate) / (AWAY_SECONDS * self.rate)
        return np.asarray(self.loop[:, at % self.loop.shape[1]] * np.clip(1.0 - late, 0.0, 1.0).astype(np.float32))


def bed_of(heard: FloatArray, since: int, rate: int) -> Bed:
    """A bed from the sound [channels, N] that was heard up to `since`; its end leads over into its beginning."""
    wanted = round(SECONDS * rate)
    material = heard[:, -wanted:]
    fade = min(round(FADE_SECONDS * rate), material.shape[1] // 3)
    if fade < 1:
        return Bed(material[:, :0], since, rate)
    # Backwards in time nothing would fit the sound that is left; so the loop begins inside the material, where its end
    # was faded into what came before its beginning.
    body = material[:, fade:].copy()
    body[:, -fade:] = crossfade(material[:, -fade:], material[:, :fade])
    return Bed(body, since, rate)
