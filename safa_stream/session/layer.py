"""One layer of a session: what it is told, what it has, the view that is being made, and what is heard of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from safa_stream.continuation import StreamPlan
from safa_stream.decode import crossfade
from safa_stream.session import sound as sounds
from safa_stream.session.bed import SECONDS, Bed, bed_of
from safa_stream.session.guard import Alarm, Guard, watch
from safa_stream.session.sound import Making, Sound
from safa_stream.session.stereo import first_pair
from safa_stream.session.timeline import Timeline
from safa_stream.session.work import Aim, Finished, Work
from safa_stream.types import FloatArray

#: One sound leads over into another within so many seconds.
FADE_SECONDS = 0.03
#: After a bed the layer's own sound comes back once so many seconds of it are there.
RETURN_SECONDS = 1.0
#: What was heard before is gone back to once so many seconds of it and of what follows are there.
BACK_SECONDS = 2.0
#: A frame beside the right one will do for a change at a time: a tempo that is followed never stands quite still.
NEAR = 1
#: A view that is held firmly to its reference takes it in for this share of the steps.
FIRM_RATIO = 0.6


@dataclass(frozen=True, slots=True)
class Settings:
    """How views are made. None: as the session's own, and where that is None too, as the model's default."""

    steps: int | None = None
    guidance: float | None = None
    reference_ratio: float | None = None
    hops: str | None = None

    def over(self, other: Settings) -> Settings:
        """These, and the other's where these are None."""
        mine = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(other, **mine)


@dataclass(slots=True, eq=False)
class Layer:
    """Mutable; its session is its only user.

    waits: the number of the command that will let it be heard, while that waits; cut_at: the frame that a cut need not
    come before, None for one as soon as may be; foretold: from which frame on its
    sound was told of commands that still wait, by their numbers.
    """

    number: int
    plan: StreamPlan
    timeline: Timeline
    sound: Sound
    phase: float = 0.0
    ramp: int = 0
    waits: int | None = None
    aim: Aim = Aim.NEXT
    cut_at: int | None = None
    foretold: dict[int, float] = field(default_factory=dict)
    back_sample: int = 0
    pending: Sound | None = None
    firm: bool = False
    heard_from: int | None = None
    work: Work | None = None
    bed: Bed | None = None
    bed_return: int | None = None
    ends_at: int | None = None
    guard: Guard = field(default_factory=Guard)
    own: Settings = field(default_factory=lambda: Settings())

    @property
    def hop(self) -> int:
        """Frames that a view adds."""
        return self.plan.layout.hop

    def frame_at(self, position: int, samples_per_frame: int) -> int:
        """The frame that sounds at a session sample."""
        return (position - self.sound.origin) // samples_per_frame

    def playhead(self, position: int) -> int:
        """The session sample at which the layer's own clock stands: a bed stops it."""
        return position if self.bed_return is None else min(position, self.bed_return)

    def next_frame(self) -> int:
        """The frame at which the next view begins, if it follows the last."""
        return self.sound.views.frame(self.plan)

    def taken(self, finished: Finished, position: int, rate: int) -> bool:
        """Go on with a finished view; False for one that was to begin right after the playhead and comes too late to be
        heard: it is wanted again. `position`: the session's next sample."""
        work, made, fade = finished.work, finished.sound, round(FADE_SECONDS * rate)
        self.work = None
        if work.aim is Aim.CUT:
            since, made = max(position, self.sound.origin + made.start), sounds.spliced(self.sound, made)
            if self.bed is None and made.end - position < round(RETURN_SECONDS * rate):
                self.aim, self.cut_at = Aim.CUT, work.order.cut_at
                return False
            # From a bed the layer comes back by itself, to what was made by then.
            self.sound = made if self.bed else sounds.led_over(self.sound.slice(since, fade), made, since)
        elif work.aim is Aim.BACK:
            made = replace(made, origin=position - self.back_sample)
            if made.end - position < round(BACK_SECONDS * rate):
                self.pending, self.aim = made, Aim.BACK
            else:
                heard = self.sound if self.bed is None else self.bed
                self.sound = sounds.led_over(heard.slice(position, fade), made, position)
                self.pending, self.bed, self.bed_return = None, None, None
        else:
            # A bed may have moved the clock while the view was made.
            self.sound = replace(made, origin=self.sound.origin)
            if self.heard_from is None:
                self._begin(position)
        self.firm, self.foretold = False, work.told_with(self.foretold)
        return True

    def recalled(self, number: int) -> float | None:
        """The frame from which on its sound was told of a command whose time has come now; None if it was not."""
        early = None if self.work is None else self.work.foretold.pop(number, None)
        return self.foretold.pop(number, early)

    def watched(self, finished: Finished, rate: int) -> Alarm | None:
        """Show the guard what a view added."""
        before, after = finished.work.base, finished.sound
        added = after.samples[:, before.samples.shape[1] :]
        if added.shape[1] < rate:
            return None
        self.guard, alarm = watch(self.guard, first_pair(added), rate)
        return alarm

    def _begin(self, position: int) -> None:
        """Start to be heard: at the session's beginning where it began with it, else now; at its hop phase."""
        ahead = round(self.phase * self.sound.samples.shape[1])
        self.sound = replace(self.sound, origin=position - ahead)
        self.heard_from = position

    def ready(self, position: int, rate: int) -> int:
        """Samples from a position on that can be heard for certain, with room for a fade to a bed."""
        if self.heard_from is None:
            return 0
        return max(0, self.sound.end - position - round(FADE_SECONDS * rate))

    def lead(self, position: int) -> int:
        """Samples from a position on that the layer has, 0 while it is not heard."""
        return 0 if self.heard_from is None else max(0, self.sound.end - position)

    def making(self, position: int, samples_per_frame: int) -> Making | None:
        """What made the sound at a session sample; None while there is none."""
        take = sounds.back(self.sound, self.frame_at(self.playhead(position), samples_per_frame))
        if take is None and self.sound.takes:
            take = self.sound.takes[-1]
        return None if take is None else take.making

    def hear(self, position: int, count: int, rate: int) -> tuple[FloatArray, int | None]:
        """[channels, count] of the layer, and the number of samples of a bed that has just ended, if one has."""
        if self.bed is not None:
            return self._hear_bed(position, count, rate)
        own = self.sound.slice(position, count)
        if self.sound.end - position - count >= round(FADE_SECONDS * rate):
            return own, None
        oldest = max(self.sound.begin, position - round(SECONDS * rate))
        self.bed = bed_of(self.sound.slice(oldest, max(0, position - oldest)), position, rate)
        self.bed_return = position + count
        return crossfade(own, self.bed.slice(position, count)), None

    def _hear_bed(self, position: int, count: int, rate: int) -> tuple[FloatArray, int | None]:
        assert self.bed is not None and self.bed_return is not None
        bed = self.bed.slice(position, count)
        if self.sound.end - self.bed_return < round(RETURN_SECONDS * rate):
            return bed, None
        # Nothing that was made is lost: the layer's clock is put back by what the bed took.
        lasted = position - self.bed.since
        late = position - self.bed_return
        self.sound = replace(self.sound, origin=self.sound.origin + late)
        self.bed = self.bed_return = None
        return crossfade(bed, self.sound.slice(position, count)), lasted
