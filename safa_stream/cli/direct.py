"""Let a programme direct a live session: by time of day, chance, and what sensors say over OSC: for installations.

The programme is a TOML file; examples/installation has one that explains itself. Times need not be waited for:
--rehearse prints what would be said when, --speed plays days in minutes.

examples:
  safa-stream serve --prompt "wind" --device default --ready-file ready.json
  safa-stream direct programme.toml --ready-file ready.json
  safa-stream direct programme.toml --link "http://127.0.0.1:8600/#session=...&token=...&control=1" --speed 600
  safa-stream direct programme.toml --rehearse 24h --from 2026-12-24T18:00
"""

from __future__ import annotations

import argparse
import math
from datetime import datetime
from pathlib import Path

from safa_stream.cli.values import duration, positive
from safa_stream.errors import UsageError

HELP = "an installation: a session directed by a programme"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("programme", type=Path, metavar="PROGRAMME", help="what is to happen when (TOML)")
    where = parser.add_argument_group("the session")
    where.add_argument("--ready-file", type=Path, metavar="FILE", help="the server's; read anew whenever it is lost")
    where.add_argument("--link", metavar="URL", help="or a link to steer, as the page's Share makes it")
    sensors = parser.add_argument_group("sensors")
    sensors.add_argument("--osc-host", default="127.0.0.1", metavar="ADDRESS",
                         help="address to take OSC on (default 127.0.0.1)")  # fmt: skip
    sensors.add_argument("--osc-port", type=int, default=9700, metavar="PORT", help="its UDP port (default 9700)")
    sensors.add_argument("--sensor-log", type=Path, metavar="FILE", help="add what they said to this file")
    trying = parser.add_argument_group("trying it out")
    trying.add_argument("--speed", type=positive, default=1.0, metavar="N", help="run the programme N times as fast")
    trying.add_argument("--rehearse", type=duration, metavar="TIME", help="print what would be said, and end")
    trying.add_argument("--from", dest="begin", type=_moment, metavar="DATE", help="its begin (default: now)")
    trying.add_argument("--sensors", type=Path, metavar="FILE", help="a rehearsal's sensor log")
    parser.add_argument("--quiet", action="store_true", help="log warnings only")


def run(options: argparse.Namespace) -> int:
    """Direct until SIGTERM or Ctrl-C, or rehearse."""
    from safa_server.direction.programme_file import read_programme

    programme = read_programme(options.programme)
    if options.rehearse is not None:
        from safa_server.direction.rehearsal import read_log, rehearse, shown

        begin = datetime.now(programme.zone) if options.begin is None else options.begin.replace(tzinfo=programme.zone)
        start = math.floor(begin.timestamp())
        heard = [] if options.sensors is None else read_log(options.sensors)
        for now, command in rehearse(programme, start, options.rehearse, heard):
            print(f"{datetime.fromtimestamp(now, programme.zone):%a %d %H:%M:%S}  {shown(command)}")
        return 0
    if (options.ready_file is None) == (options.link is None):
        raise UsageError("which session? give --ready-file FILE or --link URL")
    if options.begin is not None or options.sensors is not None:
        raise UsageError("--from and --sensors belong to --rehearse")
    _direct(options)
    return 0


def _direct(options: argparse.Namespace) -> None:
    from safa_server.direction.installation import Place, direct
    from safa_server.direction.link import link_in, read_link
    from safa_server.direction.programme_file import read_programme
    from safa_server.serve import set_up_logging

    set_up_logging("warning" if options.quiet else "info", as_json=False)
    fixed = None if options.link is None else read_link(options.link)
    direct(
        read_programme(options.programme),
        lambda: fixed or link_in(options.ready_file),
        Place(options.osc_host, options.osc_port, options.sensor_log),
        options.speed,
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: write 2026-12-24T18:00") from None
