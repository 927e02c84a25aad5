"""What goes wrong in the event loop itself, where nobody can catch it."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

log = logging.getLogger("safa_server")

#: A client is gone. asyncio raises these in its own callbacks, such as the shutdown of a socket after the last bytes.
GONE = frozenset({errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT})


def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for event loops: clients that vanish are no errors of the server's, all else is logged."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in GONE:
        log.debug("a client was gone: %s", error)
    else:
        loop.default_exception_handler(context)
