"""A session as a director sees it: which layers it has, and what it would refuse."""

from __future__ import annotations

from safa_stream.session.messages import AddLayer, Command, Mix, Prompt, RemoveLayer


class Session:
    """Fails for a command that a session would refuse, and where it has more than `most` layers at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.began = most, 0
        self._there: set[int] = set()
        self._fading: dict[int, float] = {}

    def take(self, now: float, command: Command) -> None:
        """A command at a time in seconds."""
        for layer in [layer for layer, end in self._fading.items() if end <= now]:
            del self._fading[layer]
        where = f"{now:.0f} s: {command}"
        match command:
            case AddLayer(layer=int(layer)):
                assert layer not in self._there and layer not in self._fading, f"taken: {where}"
                self._there.add(layer)
                self.began += 1
                assert len(self._there) + len(self._fading) <= self.most, f"too many at a time: {where}"
            case RemoveLayer(layer=layer):
                assert layer in self._there, f"not there: {where}"
                self._there.remove(layer)
                self._fading[layer] = now + command.ramp
            case Prompt(layer=layer):
                assert layer in self._there, f"not there: {where}"
            case Mix(layer=None):
                pass
            case Mix(layer=int(layer)):
                assert layer in self._there, f"not there: {where}"
            case _:
                raise AssertionError(f"a director does not say that: {where}")
