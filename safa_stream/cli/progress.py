"""Progress of a render on standard error: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from safa_stream.cli.values import clock

if TYPE_CHECKING:
    from safa_stream.rendering.source import Progress

TERMINAL_SECONDS, PLAIN_SECONDS = 0.2, 15.0


class StatusLine:
    """`show` it what is going on as often as that changes; `end` before anything else is printed."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic() if not self._terminal else 0.0
        self._width = 0

    def show(self, line: str) -> None:
        """Print a line where the last one is old enough."""
        now = time.monotonic()
        if self.quiet or now - self._last < (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS):
            return
        self._last = now
        if self._terminal:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line of a terminal."""
        if self._terminal and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


class ProgressLine(StatusLine):
    """The line of a render: call it with every Progress."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._warned = False

    def __call__(self, progress: Progress) -> None:
        if progress.unknown_words and not self._warned:
            self._warned = True
            self.end()
            words = ", ".join(progress.unknown_words)
            print(f"safa-stream: these words mean nothing to the model: {words}", file=sys.stderr)
        self.show(_line(progress))


def _line(progress: Progress) -> str:
    share = 100 * progress.done / progress.total
    line = f"{clock(progress.done)} of {clock(progress.total)}  {share:3.0f} %"
    if progress.left is not None:
        line += f"  {clock(progress.left)} left  {progress.real_time_factor:.1f} x real time"
    return line
