"""A real icecast2 on loopback."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.clients.programs import program
from tests.server.certificates import make_certificates

PATIENCE = 60.0
PASSWORD = "open/sesame %:@"


@dataclass(slots=True)
class Icecast:
    """A real icecast2 on loopback, its source's password PASSWORD; on another port with TLS."""

    folder: Path
    port: int = field(default_factory=lambda: free_tcp_port())
    tls_port: int = field(default_factory=lambda: free_tcp_port())
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = self.folder / "icecast.xml"
        made, both = make_certificates(self.folder), self.folder / "both.pem"
        both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
        ports = {"port": self.port, "tls_port": self.tls_port}
        settings.write_text(_SETTINGS.format(**ports, certificate=both, password=PASSWORD, user=_user()))
        self.process = subprocess.Popen(
            [program("icecast2"), "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE
        while self.sources() is None:
            assert self.process.poll() is None and time.monotonic() < end, "icecast2 does not answer"
            time.sleep(0.05)

    def pull_out(self) -> None:
        """It is gone without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def url(self, mount: str) -> str:
        """Where listeners hear a mount."""
        return f"http://127.0.0.1:{self.port}/{mount}"

    def source(self, mount: str, tls: bool = False) -> str:
        """What a server is told to send it, without user and password."""
        return f"icecasts://127.0.0.1:{self.tls_port}/{mount}" if tls else f"icecast://127.0.0.1:{self.port}/{mount}"

    @property
    def trusted(self) -> dict[str, str]:
        """The variable by which OpenSSL trusts it."""
        return {"SSL_CERT_FILE": str(self.folder / "authority.pem")}

    def sources(self) -> dict[str, dict[str, Any]] | None:
        """What it says of each mount, by name; None where it does not answer."""
        try:
            told = json.loads(urlopen(self.url("status-json.xsl"), timeout=2).read())["icestats"].get("source", [])
        except (OSError, ValueError):  # in its first moments it tells half of what it knows
            return None
        listed = told if isinstance(told, list) else [told]
        return {str(one["listenurl"]).rpartition("/")[2]: one for one in listed}


@contextmanager
def icecast() -> Iterator[Icecast]:
    """One for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        # It reads its certificate when it is root no more, and pytest's own folders are for root alone.
        os.chmod(folder, 0o755)
        server = Icecast(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.pull_out()


def free_tcp_port() -> int:
    """A TCP port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user() -> str:
    """Icecast does not run as root: whom it is to be instead."""
    return "<changeowner><user>nobody</user><group>nogroup</group></changeowner>" if getpass.getuser() == "root" else ""


_SETTINGS = """
<icecast>
  <hostname>localhost</hostname><location>here</location><admin>nobody@localhost</admin>
  <limits><sources>8</sources><source-timeout>5</source-timeout><burst-size>0</burst-size></limits>
  <authentication>
    <source-password>{password}</source-password>
    <admin-user>admin</admin-user><admin-password>not-that-of-the-source</admin-password>
  </authentication>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <listen-socket><port>{tls_port}</port><bind-address>127.0.0.1</bind-address><ssl>1</ssl></listen-socket>
  <paths>
    <basedir>/usr/share/icecast2</basedir><logdir>/tmp</logdir>
    <ssl-certificate>{certificate}</ssl-certificate>
    <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot>
  </paths>
  <logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>2</loglevel></logging>
  <security><chroot>0</chroot>{user}</security>
</icecast>
"""
