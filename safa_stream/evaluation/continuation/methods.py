"""The rows of the study: ways to go on, by the names that `--methods` takes, and the joint canvases beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from safa_stream.continuation import StreamPlan
from safa_stream.errors import UsageError
from safa_stream.evaluation.continuation.apart import Apart
from safa_stream.evaluation.continuation.fifo import Queue
from safa_stream.evaluation.continuation.ground import Ground, Live
from safa_stream.evaluation.continuation.lookahead import BOTH_WAYS, LookAhead
from safa_stream.evaluation.continuation.outpainting import Outpainting
from safa_stream.swap import DEFAULT_SCHEDULE, SwapSchedule

#: What the project ships, and the yardstick.
SHIPPED, JOINT = "stream", "joint"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to go on: what it is, how it is begun, and its steady cost in views denoised for each hop.

    opens: None for a joint canvas, which is made at once by `join`, a method of `joint.JointPlan`. apart: what it gives
    are whole views, to be decoded one by one and faded.
    """

    name: str
    about: str
    opens: Callable[[Ground], Live] | None
    cost: float = 1.0
    join: str = ""
    apart: bool = False

    @property
    def live(self) -> bool:
        """Whether it goes on without an end."""
        return self.opens is not None


def _stream(
    schedule: SwapSchedule = DEFAULT_SCHEDULE,
    method: str = "safa",
    ahead: int = 0,
    given: int = 1,
    between: SwapSchedule = BOTH_WAYS,
    level: float = 0.0,
) -> Callable[[Ground], Live]:
    def opens(ground: Ground) -> Live:
        plan = StreamPlan(ground.layout, ground.table, schedule, seed=ground.seed, method=method)
        return LookAhead(ground, plan, ahead, given, between, level)

    return opens


def _queue(ahead: bool = False, levelled: bool = False) -> Callable[[Ground], Live]:
    def opens(ground: Ground) -> Live:
        # Half a hop: every second block ends where a view of the others does, and a pass costs what look-ahead costs.
        alignment = ground.layout.alignment
        return Queue(ground, max(alignment, ground.layout.hop // 2 // alignment * alignment), ahead, levelled)

    return opens


_CUT = replace(DEFAULT_SCHEDULE, context=False)
_BLIND = SwapSchedule("alternate", context=False)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(SHIPPED, "the default: the cut runs left, the model is told what it keeps", _stream()),
        Method("self", "the default without the reference", _stream(method="safa-self")),
        Method("level-0.6", "the default, held to the reference's mean for 0.6 of the steps", _stream(level=0.6)),
        Method("level-1", "the default, held to the reference's mean for all steps", _stream(level=1.0)),
        Method("one-sided", "the paper's swap, w = 1, one-sided", _stream(_BLIND)),
        Method("cached", "all overlap frames from the past", _stream(SwapSchedule("cached", context=False))),
        Method("stream-average", "the overlap averaged with the past", _stream(method="average")),
        Method("ahead-1", "the default, one view ahead, w = 1 between the unfinished", _stream(ahead=1), 2.0),
        Method("ahead-2", "the default, two views ahead, w = 1 between the unfinished", _stream(ahead=2), 3.0),
        Method("ahead-1-cut", "one view ahead, the default's cut between too", _stream(ahead=1, between=_CUT), 2.0),
        Method("one-sided-ahead-1", "the paper's swap, one view ahead", _stream(_BLIND, ahead=1), 2.0),
        Method("pairs", "two views at once, both given, w = 1 between them", _stream(ahead=1, given=2)),
        Method(
            "pairs-cut",
            "two views at once, both given, the default's cut between",
            _stream(ahead=1, given=2, between=_CUT),
        ),
        Method("queue", "FIFO, a level a block, what is around as it is", _queue(), 2.0),
        Method("queue-ahead", "FIFO with look-ahead denoising: only cleaner frames around", _queue(ahead=True), 2.0),
        Method(
            "queue-levelled",
            "FIFO with look-ahead denoising, what is around at the block's level",
            _queue(ahead=True, levelled=True),
            2.0,
        ),
        Method("outpaint", "RePaint: the known overlap re-noised at every step", Outpainting),
        Method("outpaint-again", "RePaint, every step made twice", lambda ground: Outpainting(ground, again=1), 1.83),
        Method("outpaint-context", "RePaint, the model told what is known", lambda g: Outpainting(g, context=True)),
        Method("independent", "views of their own, cross-faded as sound", Apart, apart=True),
        Method(JOINT, "joint SaFa, w = 1: the whole canvas at once", None, join="safa"),
        Method("joint-average", "MultiDiffusion: the whole canvas at once", None, join="average"),
    )
}


def chosen(names: tuple[str, ...]) -> tuple[Method, ...]:
    """Methods by name, always the shipped one; all where none is named. Raises UsageError for an unknown one."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(f"no method is called {', '.join(unknown)}; --methods takes {', '.join(METHODS)}")
    return tuple(method for name, method in METHODS.items() if not names or name in names or name == SHIPPED)
