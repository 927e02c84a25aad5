"""The log of the WebSocket library, as this server's: one line a message, no traces, and never a secret."""

from __future__ import annotations

import logging
import sys
from typing import Any


class Quiet(logging.LoggerAdapter[logging.Logger]):
    """The library's log as one-line messages at INFO: a client that misbehaves is no error of the server.

    What it says for debugging holds every header and message, and with them the tokens: that is never written.
    """

    def isEnabledFor(self, level: int) -> bool:
        """Not for debugging, whatever the server's own level is."""
        return level >= logging.INFO and super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Write a message, with the kind of its error."""
        given = kwargs.pop("exc_info", None)
        error = sys.exc_info()[1] if given is True else given
        about = f": {type(error).__name__}" if isinstance(error, BaseException) else ""
        super().log(min(level, logging.INFO), f"{msg}{about}", *args)


def keep_secrets_out() -> None:
    """The same for the library's own loggers, which clients use, whatever the level of all others is."""
    logging.getLogger("websockets").setLevel(logging.INFO)
