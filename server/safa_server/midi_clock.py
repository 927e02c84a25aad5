"""MIDI clock: from 24 ticks a beat, each a little early or late, to a tempo and a beat at any moment. Pure.

A tick's time is where the last ticks say that it should be, moved a little towards where it was (a second-order loop):

    time' = (time + period) + a error        period' = period + b error        error = when it came - (time + period)

With a = 2 (2n - 1) / (n (n + 1)) and b = 6 / (n (n + 1)) the n-th tick's estimate is that of a line through all n by
least squares; n stays at STEADY, so that the line forgets. Errors that go on in one direction mean another tempo: then
the line is begun anew. No tick is ever taken for a lost one: ports lose none, but a busy machine delivers many late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from safa_server.tempo_follow import Reading

TICKS = 24
#: MIDI's real-time messages, and the song position pointer in sixteenths.
CLOCK, START, CONTINUE, STOP, POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
SIXTEENTHS = 4
#: Ticks that the line is laid through at most, and before anything is told.
STEADY, SETTLED = 96, 24
#: After a pause as long as this the clock is a new one.
LONGEST_PAUSE_NS = 500_000_000
#: A tick counts for no more than so many times their spread: a busy machine delivers some late, and then all at once.
OUTLIER = 4.0
#: A tempo has changed where smoothed errors are beyond this, and beyond so many times their spread.
LEAST_CHANGE_NS, CHANGE = 2_000_000, 2.0
_QUICK, _SLOW = 0.1, 0.02


@dataclass(frozen=True, slots=True)
class MidiClock:
    """What is known of a clock, as a value.

    ticks: how many the line is laid through; time, period: of the last tick and between two, ns; beat: of the last
    tick; place: where a sequencer that stopped will go on; lean, spread: errors smoothed, and how far from that they
    are, ns.
    """

    ticks: int = 0
    time: float = 0.0
    period: float = 0.0
    beat: float = 0.0
    playing: bool | None = None
    place: float = 0.0
    lean: float = 0.0
    spread: float = 0.0

    def received(self, message: bytes, at_ns: int) -> MidiClock:
        """The clock after a message that came at a moment; what is no message of a clock changes nothing."""
        match message[:1]:
            case b"\xf8":
                return self._ticked(at_ns)
            case b"\xfa":
                return replace(self, playing=True, beat=-1 / TICKS, place=0.0)
            case b"\xfb":
                return replace(self, playing=True, beat=self.place - 1 / TICKS)
            case b"\xfc":
                return replace(self, playing=False, place=self.beat + 1 / TICKS)
            case b"\xf2" if len(message) == 3:
                return replace(self, place=(message[1] | message[2] << 7) / SIXTEENTHS)
        return self

    def reading(self, at_ns: int) -> Reading | None:
        """Tempo and beat at a moment; None before the clock is known, and when it has stopped ticking."""
        if self.ticks < SETTLED or at_ns - self.time > LONGEST_PAUSE_NS:
            return None
        beat = self.beat + (at_ns - self.time) / self.period / TICKS
        return Reading(60e9 / (TICKS * self.period), beat, self.playing)

    def _ticked(self, at_ns: int) -> MidiClock:
        since, beat = at_ns - self.time, self.beat + 1 / TICKS
        if self.ticks == 0 or abs(since) > LONGEST_PAUSE_NS:
            return self._anew(at_ns)
        if self.ticks == 1:
            return replace(self, ticks=2, time=float(at_ns), period=max(1.0, float(since)), beat=beat)
        n = min(self.ticks + 1, STEADY)
        expected = self.time + self.period
        error = at_ns - expected
        if n > SETTLED:
            most = max(2 * LEAST_CHANGE_NS, OUTLIER * self.spread)
            error = min(max(error, -most), most)
        lean = self.lean + _QUICK * (error - self.lean)
        spread = self.spread + max(_SLOW, 1 / n) * (abs(error - lean) - self.spread)
        if n > 2 * SETTLED and abs(lean) > max(LEAST_CHANGE_NS, CHANGE * spread):
            return self._anew(at_ns)
        time = expected + error * 2 * (2 * n - 1) / (n * (n + 1))
        period = max(1.0, self.period + error * 6 / (n * (n + 1)))
        return replace(self, ticks=n, time=time, period=period, beat=beat, lean=lean, spread=spread)

    def _anew(self, at_ns: int) -> MidiClock:
        return replace(self, ticks=1, time=float(at_ns), beat=self.beat + 1 / TICKS, lean=0.0, spread=0.0)
