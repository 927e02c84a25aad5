"""A session as bytes and back: what goes on from a snapshot equals what would have gone on without it.

The bytes are a safetensors file (no code in it); what is not an array is JSON in its header. Views in the making are
there as their orders: they begin again at their first step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from safa_stream.errors import SafaError, SnapshotError
from safa_stream.models.interface import Model
from safa_stream.session import layer_tensors, mixing, safety
from safa_stream.session.codec import command_from_json, command_to_json
from safa_stream.session.journal import Mark
from safa_stream.session.layer import Settings
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.session.state import State, Waiting
from safa_stream.session.tempo import Grid
from safa_stream.trajectory import AnyNumpy, Tensors

FORMAT, KEY, STEM = "safa-session-snapshot-3", "safa_session", "stem/"
#: Where reading begins without a mark.
BEGINNING = Mark()
_PLAIN = ("sequence", "commands", "lines", "frozen", "scenes", "prepared")


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A session as it stood: taken in a moment, while nobody else uses it, and packed at leisure."""

    tensors: Tensors
    about: dict[str, Any]

    @property
    def lines(self) -> int:
        """How many lines of the session's own its journal has to have for all that is in here."""
        return int(self.about["lines"])

    def pack(self) -> bytes:
        """The snapshot's bytes."""
        # Made contiguous, as safetensors writes others wrongly; numpy would give numbers a dimension on the way.
        packed = {k: np.ascontiguousarray(v) if v.ndim else v for k, v in self.tensors.items()}
        return bytes(safetensors_numpy.save(packed, {KEY: json.dumps(self.about)}))


def capture(session: Session, mark: Mark = BEGINNING) -> Captured:
    """All that is needed to go on from here. A session replaces its arrays and never alters them.

    mark: a place in the session's journal that lies before what this does not hold, so that reading can begin there.
    """
    state = session.state
    # The journal's lines so far are what this holds: none of them may change any more.
    state.moment = None
    tensors: Tensors = {**state.mix.to_tensors("mix/"), **state.limiting.to_tensors("limit/")}
    tensors |= {f"{STEM}{number}": stem for number, stem in state.stems.items()}
    about: dict[str, Any] = {
        "format": FORMAT,
        "model": f"{state.model.facts.name} {state.model.facts.version}",
        "position": session.position,
        "journal": asdict(mark),
        "scene": state.scene.as_dict(),
        "settings": asdict(state.settings),
        "grid": state.grid.as_dict(),
        **{name: copy(getattr(state, name)) for name in _PLAIN},
        "waiting": [_waiting_out(one) for one in state.waiting],
        "held_back": [_waiting_out(one) for one in state.held_back],
        "layers": {str(n): layer_tensors.layer_out(state, layer, tensors) for n, layer in state.layers.items()},
    }
    return Captured(tensors, about)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot says of itself. position: the next sample; mark: where to begin in the journal."""

    position: int
    mark: Mark


def facts_of(data: bytes) -> Facts:
    """What stands in a snapshot's head. Raises SnapshotError where it is damaged or of another format."""
    with _reading():
        about = _about(data)
        return Facts(about["position"], Mark(**about["journal"]))


def restore(model: Model, data: bytes) -> Session:
    """The session that was saved; its views in the making begin again.

    Raises SnapshotError where the bytes are damaged or of another model or version.
    """
    with _reading():
        tensors, about = safetensors_numpy.load(data), _about(data)
        wanted = f"{model.facts.name} {model.facts.version}"
        if about["model"] != wanted:
            raise SnapshotError(f"the session's snapshot is of model {about['model']}, this is {wanted}")
        return Session(_state(model, about, tensors))


def extra(data: bytes, name: str) -> tuple[AnyNumpy | None, dict[str, Any]]:
    """An array that whoever saved a session laid beside it, None where there is none; and what the snapshot says of
    itself. Raises SnapshotError."""
    with _reading():
        return safetensors_numpy.load(data).get(name), _about(data)


def marked(data: bytes, mark: Mark) -> bytes:
    """The same snapshot, for a journal that has another place for what it does not hold. Raises SnapshotError."""
    with _reading():
        size = int.from_bytes(data[:8], "little")
        header, about = json.loads(data[8 : 8 + size]), _about(data)
        header["__metadata__"][KEY] = json.dumps({**about, "journal": asdict(mark)})
        # Tensors' places count from the end of the head, which has to be a multiple of eight bytes.
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head + data[8 + size :]


def _about(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    about: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
    if about["format"] != FORMAT:
        raise SnapshotError(f"the session's snapshot is not of the format {FORMAT}")
    return about


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever a damaged file makes go wrong is a SnapshotError."""
    try:
        yield
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SnapshotError(f"the session's snapshot is damaged: {type(error).__name__}: {error}") from error
    except SnapshotError:
        raise
    except SafaError as error:
        raise SnapshotError(f"the session's snapshot is damaged: {error}") from error


def _state(model: Model, about: dict[str, Any], tensors: Mapping[str, AnyNumpy]) -> State:
    state = State.of(model, LiveScene.from_value(about["scene"]))
    for name in _PLAIN:
        setattr(state, name, about[name])
    state.settings = Settings(**about["settings"])
    state.grid = Grid.from_dict(about["grid"])
    state.waiting = [_waiting_in(one) for one in about["waiting"]]
    state.held_back = [_waiting_in(one) for one in about["held_back"]]
    state.mix = mixing.MixState.from_tensors(tensors, "mix/")
    state.limiting = safety.LimiterState.from_tensors(tensors, "limit/")
    state.stems = {
        int(name.removeprefix(STEM)): np.asarray(stem, np.float32)
        for name, stem in tensors.items()
        if name.startswith(STEM)
    }
    for number, values in about["layers"].items():
        layer_tensors.layer_in(state, int(number), values, tensors)
    return state


def _waiting_out(waiting: Waiting) -> dict[str, Any]:
    command = command_to_json(waiting.command)
    return {"at": waiting.at, "number": waiting.number, "command": command, "line": waiting.line}


def _waiting_in(values: dict[str, Any]) -> Waiting:
    return Waiting(values["at"], values["number"], command_from_json(values["command"]), values["line"])
