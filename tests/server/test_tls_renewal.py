"""Certificates that are renewed on disk while the server runs."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from pathlib import Path

import pytest

from safa_server.tls import LOOK_SECONDS, Renewing, renewed
from safa_stream.errors import UsageError
from tests.server.certificates import Certificates, make_certificates
from tests.server.ws_rig import Rig, client, run, serving


def made_in(folder: Path) -> Certificates:
    folder.mkdir()
    return make_certificates(folder)


def put(made: Certificates, place: Certificates) -> None:
    """As programs that renew certificates do: each file is there as a whole or not at all."""
    for source, target in ((made.certificate, place.certificate), (made.key, place.key)):
        shutil.copy(source, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)


async def shown(rig: Rig, trusted: Certificates, name: str | None = "localhost") -> bool:
    """Does the server show a certificate that this authority signed? name: that the client asks for, None for none."""
    try:
        context = trusted.client_context()
        context.check_hostname = name is not None
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=context, server_hostname=name or "")
    except ssl.SSLCertVerificationError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_new_connections_get_the_new_certificate(tmp_path: Path, name: str) -> None:
    """By a name, and by an address, for which clients send no name."""
    first, second = made_in(tmp_path / "1"), made_in(tmp_path / "2")
    used = Certificates(first.authority, tmp_path / "used.pem", tmp_path / "used.key")
    put(first, used)

    async def test() -> None:
        async with renewed(used.certificate, used.key, 0.01) as tls, serving(tls=tls) as rig:
            async with client(rig, ssl=first.client_context()) as there_before:
                opened = await there_before.ask("open", scene="low")
                assert await shown(rig, first, name) and not await shown(rig, second, name)
                put(second, used)
                async with asyncio.timeout(20):
                    while not await shown(rig, second, name):
                        await asyncio.sleep(0.01)
                assert not await shown(rig, first, name)
                # Who was connected stays so.
                await there_before.hear(len(there_before.frames) + 5)
                async with client(rig, ssl=second.client_context()) as new:
                    assert (await new.ask("join", session=opened["session"]))["type"] == "opened"

    run(test())


def test_a_broken_one_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = made_in(tmp_path / "1"), made_in(tmp_path / "2")
    used = Certificates(first.authority, tmp_path / "used.pem", tmp_path / "used.key")
    put(first, used)
    renewing = Renewing(used.certificate, used.key)

    async def test() -> None:
        async with serving(tls=renewing.context) as rig:
            assert not renewing.look()
            # The certificate is there, its key not yet: said once, until there is another change.
            shutil.copy(second.certificate, used.certificate)
            assert not renewing.look() and not renewing.look()
            assert await shown(rig, first)
            for broken in ("rubbish", ""):
                used.certificate.write_text(broken)
                assert not renewing.look()
                assert await shown(rig, first)
            used.certificate.unlink()
            assert not renewing.look()
            assert await shown(rig, first)
            put(second, used)
            assert renewing.look()
            assert await shown(rig, second)

    run(test())
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 4 and all("the old one stays" in line for line in errors)
    assert "key values mismatch" in errors[0] and "is not a file" in errors[3]


def test_the_first_one_has_to_be_good(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(UsageError, match="is not a file"):
            async with renewed(tmp_path / "missing.pem", None):
                pass

    run(test())
    assert LOOK_SECONDS <= 60
