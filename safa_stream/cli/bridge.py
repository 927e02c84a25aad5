"""Give the plugin in a host its sessions: connect to a running server, or start one, and feed plugins that come.

One bridge serves all plugins of a user; the plugin itself is in examples/plugin. Prompts are the six slots of a plugin,
in a text file, one a line; lines after "[2]" are for the plugin whose parameter Number is 2. The file is read again
when it changes.

examples:
  safa-stream bridge
  safa-stream bridge --prompts prompts.txt
  safa-stream bridge --url wss://studio.local:8600/ws --token TOKEN
  safa-stream bridge --port 8700 -- --osc-port -1 --state sessions
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from safa_stream.errors import SceneError, UsageError

HELP = "feed the plugin in DAWs and other hosts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--url", help="the server's WebSocket (default: this machine's, which is started if need be)")
    parser.add_argument("--port", type=int, default=8600, help="this machine's server's port (default: 8600)")
    parser.add_argument(
        "--token",
        default=os.environ.get("SAFA_TOKEN"),
        help="the server's token (default: SAFA_TOKEN, which other users do not see)",
    )
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="texts of the prompt slots, read when it changes")
    parser.add_argument("--scene", type=Path, metavar="FILE", help="what a plugin begins with whose project has none")
    parser.add_argument(
        "--lead", type=float, metavar="SECONDS", help="sound that the server keeps ahead, 2 to 60; less changes sooner"
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where plugins and bridge meet")
    parser.add_argument("--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("serve", nargs="*", metavar="-- FLAGS", help="flags of the server that is started")


def run(options: argparse.Namespace) -> int:
    """Serve plugins until SIGTERM or Ctrl-C."""
    from safa_server.bridge.folder import plugin_folder
    from safa_server.bridge.service import BridgeSettings
    from safa_server.bridge.service import run as serve_plugins
    from safa_server.serve import set_up_logging
    from safa_stream.session.livescene import LiveScene

    if options.url is not None and options.serve:
        raise UsageError("flags of the server that is started cannot be given with --url, which starts none")
    scene = None
    if options.scene is not None:
        try:
            scene = LiveScene.from_value(json.loads(options.scene.read_text(encoding="utf-8")))
        except OSError as error:
            raise SceneError(f"cannot read the scene {options.scene}: {error.strerror}") from None
        except ValueError as error:
            raise SceneError(f"the scene {options.scene} is not JSON: {error}") from None
    set_up_logging("warning" if options.quiet else "info", False)
    serve_plugins(
        BridgeSettings(
            options.folder or plugin_folder(),
            options.url,
            options.port,
            options.token,
            tuple(options.serve),
            scene,
            options.prompts,
            options.lead,
        )
    )
    return 0
