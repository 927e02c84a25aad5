"""The one place where rendering meets the engine: a scene's sound in pieces, with progress, until done or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from safa_stream import engine
from safa_stream.models.interface import Model
from safa_stream.scene import Scene
from safa_stream.types import FloatArray

#: A joint canvas is handed on in pieces of so many samples.
PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a render is, in seconds of sound and of time; what in the prompts meant nothing to the model."""

    done: float
    total: float
    elapsed: float
    unknown_words: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Seconds of sound made in a second."""
        return self.done / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds of time until it is done, None while that is not known."""
        return (self.total - self.done) / self.real_time_factor if self.done > 0 and self.elapsed > 0 else None


class Source:
    """A scene's sound at the model's rate. `interrupted` says afterwards whether all of it was made.

    stop: asked after every piece and, in mode joint, after every solver step. A KeyboardInterrupt counts as a stop.
    likeness: see `engine.whole`.
    """

    def __init__(
        self,
        model: Model,
        scene: Scene,
        seconds: float,
        report: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        likeness: Any = None,
    ) -> None:
        self.model, self.scene, self.seconds, self.likeness = model, scene, seconds, likeness
        self.interrupted = False
        self._report, self._stop = report, stop
        self._began = time.perf_counter()
        self._stream = engine.chunks(model, scene, seconds) if scene.mode == "stream" else None
        if self._stream is not None:
            self.unknown_words = self._stream.unknown_words
        else:
            self.unknown_words = model.encode(scene.prompts, scene.negative, scene.seed).unknown_words
        self._tell(0.0)

    @property
    def elapsed(self) -> float:
        """Seconds of time since it began."""
        return time.perf_counter() - self._began

    def pieces(self) -> Iterator[FloatArray]:
        """Pieces [channels, N] in order."""
        if self._stream is None:
            canvas = self.canvas()
            if canvas is not None:
                yield from (canvas[:, start : start + PIECE] for start in range(0, canvas.shape[1], PIECE))
            return
        done = 0
        while True:
            try:
                chunk = next(self._stream, None)
            except KeyboardInterrupt:
                self.interrupted = True
                return
            if chunk is None:
                return
            yield chunk.samples
            done += chunk.samples.shape[1]
            self._tell(done / chunk.sample_rate)
            if done < round(self.seconds * chunk.sample_rate) and self._stop is not None and self._stop():
                self.interrupted = True
                return

    def canvas(self) -> FloatArray | None:
        """All of a joint scene, None where it was stopped before it was done."""
        try:
            return engine.whole(self.model, self.scene, self.seconds, self._step, self.likeness)
        except KeyboardInterrupt:
            self.interrupted = True
            return None

    def _step(self, done: int, steps: int) -> None:
        self._tell(self.seconds * done / steps)
        if self._stop is not None and self._stop():
            raise KeyboardInterrupt

    def _tell(self, done: float) -> None:
        if self._report is not None:
            self._report(Progress(done, self.seconds, self.elapsed, self.unknown_words))
