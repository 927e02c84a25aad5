"""`safa-stream`: one line a command here, one file a command beside this one.

A command's file has `HELP`, `add_arguments(parser)` and `run(options) -> exit code`; it imports what does the work
inside `run`, so that help comes at once. `EXTRAS` names what has to be installed for it where that is more than "cpu".
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from safa_stream import __version__
from safa_stream.cli.making import INTERRUPTED
from safa_stream.errors import SafaError

#: In the order of the help text.
COMMANDS = (
    "render",
    "panorama",
    "play",
    "serve",
    "token",
    "direct",
    "bridge",
    "replay",
    "sounds",
    "models",
    "devices",
    "info",
    "doctor",
    "calibrate",
    "train",
    "convert",
    "export",
    "eval",
    "bench",
    "study",
)

DESCRIPTION = "Endless soundscapes from words, made on this machine."
EPILOG = """\
examples:
  safa-stream render "rain on a tent, distant thunder:0.4" --duration 60 --out tent.wav
  safa-stream render "crickets" --at 1:00 "frogs by a pond" --duration 2:00 --out night.flac
  safa-stream play "campfire, wind:0.3"
  safa-stream serve
  safa-stream sounds
  safa-stream info tent.wav

exit codes: 0 done, 1 failed, 2 the request cannot be, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug, extras = "--debug" in words, "cpu"
    try:
        options = build_parser(next((word for word in words if word in COMMANDS), None)).parse_args(words)
        if "run" not in options:
            build_parser().print_help()
            return 2
        extras = options.extras
        return int(options.run(options))
    except SafaError as error:
        return _failed(error, str(error), error.exit_code, debug)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said, and Python must not try at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        return _failed(error, "interrupted", INTERRUPTED, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(error, where + (error.strerror or str(error)), 1, debug)
    except MemoryError as error:
        return _failed(error, "out of memory; use a shorter duration or mode stream", 1, debug)
    except ImportError as error:
        return _failed(error, f'{error}; install what is missing: pip install "safa-stream[{extras}]"', 1, debug)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, and where help is, instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser with every command's options, or with those of one command only."""
    parser = Parser(
        prog="safa-stream",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"safa-stream {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name in COMMANDS if command is None else (command,):
        module = import_module(f"safa_stream.cli.{name}")
        added = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.add_argument("--debug", action="store_true", help="show the whole trace of an error")
        module.add_arguments(added)
        added.set_defaults(run=module.run, extras=getattr(module, "EXTRAS", "cpu"))
    return parser


def _failed(error: BaseException, said: str, code: int, debug: bool) -> int:
    if debug:
        raise error
    print("safa-stream: " + " ".join(said.split()), file=sys.stderr)
    return code
