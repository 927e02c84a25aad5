from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from safa_server import loop_errors


@pytest.mark.parametrize(("error", "lines"), [(OSError(errno.ENOTCONN, "gone"), 0), (ValueError("a mistake"), 1)])
def test_only_what_no_client_causes_is_logged(error: Exception, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        def callback() -> None:
            raise error

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(loop_errors.handle)
        loop.call_soon(callback)
        await asyncio.sleep(0)

    asyncio.run(fail())
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == lines
