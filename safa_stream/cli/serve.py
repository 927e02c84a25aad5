"""Serve live soundscapes: a page to play and steer, WebSocket, OSC, and what speaks Lyria RealTime.

Listens on this machine only, unless told otherwise; beyond it a token is needed, and made up where none is given.
Every option is also a variable (SAFA_PORT) and a key of the settings file (port), where limits have a table, [limits].

examples:
  safa-stream serve
  safa-stream serve --prompt "rain on a tent" --device default
  safa-stream serve --prompt "rain on a tent" --icecast icecast://HOST:8000/live.flac --rtp 239.1.2.3:5004
  safa-stream serve --host 0.0.0.0 --tls-cert fullchain.pem --tls-key key.pem --state /var/lib/safa
  safa-stream serve --host 0.0.0.0 --tls-cert fullchain.pem --tls-key key.pem --tenants tenants.toml
  safa-stream serve --state sessions --restore
  safa-stream serve --port 0 --ready-file ready.json
  safa-stream serve --cluster local --engines 2 --state sessions
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safa_server.address import Address

HELP = "a live server: page, WebSocket, OSC"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options: one for every setting."""
    from dataclasses import MISSING, fields
    from typing import get_args, get_type_hints

    from safa_server.settings import Settings

    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (TOML)")
    hints = get_type_hints(Settings)
    for one in fields(Settings):
        if one.name == "limits":
            continue
        assert one.default is not MISSING
        flag, about = f"--{one.name.replace('_', '-')}", _help(one.default, one.metadata["help"])
        kinds = [kind for kind in (get_args(hints[one.name]) or (hints[one.name],)) if kind is not type(None)]
        options: dict[str, Any] = {"dest": one.name, "default": argparse.SUPPRESS, "help": about}
        if bool in kinds:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = one.metadata["metavar"]
            options["type"] = _texts if hints[one.name] == tuple[str, ...] else kinds[0]
        parser.add_argument(flag, **options)
    parser.add_argument("--quiet", action="store_true", help="do not print where the server is")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from safa_server.serve import set_up_logging
    from safa_server.settings import environment, read_settings

    ours = {"config", "quiet", "debug", "run", "extras"}
    flags = {name: value for name, value in vars(options).items() if name not in ours}
    settings = read_settings(flags, environment(), options.config)
    set_up_logging(settings.log_level, settings.log_json)
    if settings.cluster is None:
        from safa_server.serve import run as serve
    else:
        from safa_server.cluster.serve import run as serve
    serve(settings, lambda address: None if options.quiet else _say(address))
    return 0


def _say(address: Address) -> None:
    print(f"page       {address.url}")
    if address.listen_url is not None:
        print(f"listen     {address.listen_url}")
    scheme = "wss" if address.tls else "ws"
    print(f"WebSocket  {scheme}://{address.host}:{address.port}/ws")
    if address.osc_port is not None:
        print(f"OSC        {address.host}:{address.osc_port} (UDP)")
    print("Ctrl-C stops the server", flush=True)
    sys.stdout.flush()


def _texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _help(default: Any, text: str) -> str:
    shown = default not in (None, (), False) and "default" not in text
    return f"{text} (default: {default})" if shown else text
