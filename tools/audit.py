"""Look up known vulnerabilities of everything that the wheel's extras bring: pip-audit, against OSV (osv.dev).

python -m tools.audit [--service URL] [--exceptions FILE]

Fails where one is found that no exception covers. Exceptions are in tools/audit.toml, each with its reason and the day
up to which it holds. Where the service cannot be reached, that is said in a line, and nothing fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tools.dependencies import ROOT, Dependency, dependencies, project, report_of

SERVICE = "https://api.osv.dev/v1/query"
EXCEPTIONS = ROOT / "tools" / "audit.toml"
REACH_SECONDS, ASK_SECONDS = 15, 60


@dataclass(frozen=True, slots=True)
class Exempt:
    """A vulnerability that is known and does no harm here, up to and with a day."""

    id: str
    package: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Found:
    """A vulnerability. ids: all of its names; fixed_in: versions without it."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]


def read_exceptions(path: Path) -> tuple[Exempt, ...]:
    """The exceptions of a file. Ends the program where one lacks a field."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    kinds = {"id": str, "package": str, "reason": str, "until": date}
    for number, one in enumerate(table.get("exception", []), 1):
        if set(one) != set(kinds) or not all(isinstance(one[name], kind) and one[name] for name, kind in kinds.items()):
            raise SystemExit(f"{path}: exception {number} must have {', '.join(kinds)} (a date), and nothing else")
    return tuple(Exempt(**one) for one in table.get("exception", []))


def requirements(found: Sequence[Dependency], root: str) -> str:
    """As pip-audit takes them. What a build is called behind "+" is no matter of the advisories."""
    return "".join(f"{one.name}=={one.version.partition('+')[0]}\n" for one in found if one.name != root)


def found_in(report: Mapping[str, Any]) -> Iterator[Found]:
    """What pip-audit found, from its JSON."""
    for one in report["dependencies"]:
        for hole in one.get("vulns", []):
            ids = (hole["id"], *hole.get("aliases", []))
            yield Found(one["name"], one["version"], ids, tuple(hole.get("fix_versions", [])))


def judged(found: Sequence[Found], exceptions: Sequence[Exempt], today: date) -> tuple[list[str], list[str]]:
    """(failures, notes) in lines: what no exception covers, and exceptions that hold or are of no use any more."""
    failures, notes, used = [], [], set()
    for hole in found:
        covering = [one for one in exceptions if one.id in hole.ids and one.package == hole.package]
        fixed = f", fixed in {', '.join(hole.fixed_in)}" if hole.fixed_in else ", not fixed yet"
        what = f"{hole.package} {hole.version}: {' = '.join(hole.ids)}{fixed}"
        used.update(covering)
        good = [one for one in covering if today <= one.until]
        if good:
            notes.append(f"excepted until {good[0].until}: {what}: {good[0].reason}")
        elif covering:
            failures.append(f"{what}; its exception has ended on {covering[0].until}")
        else:
            failures.append(what)
    idle = [one for one in exceptions if one not in used]
    return failures, [*notes, *(f"exception {one.id} for {one.package} covers nothing (any more)" for one in idle)]


def unreachable(service: str) -> str | None:
    """Why the service cannot be asked, None where it can: it is asked about a version of pip with known holes."""
    question = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "9.0.1"}
    request = urllib.request.Request(service, json.dumps(question).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=REACH_SECONDS) as answer:
            return None if json.load(answer).get("vulns") else "it does not know pip 9.0.1 to be vulnerable"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, AttributeError) as error:
        return str(error) or type(error).__name__


def ask(listed: str, service: str) -> dict[str, Any]:
    """pip-audit's answer on requirements. Ends the program where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(listed, encoding="utf-8")
        options = ["--requirement", str(file), "--no-deps", "--disable-pip", "--format", "json", "--aliases", "on"]
        options += ["--vulnerability-service", "osv", "--osv-url", service, "--timeout", str(ASK_SECONDS)]
        command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"pip-audit failed:\n{done.stderr[-2000:]}") from None
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", default=SERVICE, metavar="URL", help=f"default: {SERVICE}")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS, metavar="FILE")
    parser.add_argument("--report", type=Path, metavar="FILE", help="pip's report, where there is one already")
    options = parser.parse_args(arguments)
    exceptions = read_exceptions(options.exceptions)
    reason = unreachable(options.service)
    if reason is not None:
        print(f"not audited: {options.service} cannot be asked for vulnerabilities: {reason}")
        return 0
    name, extras = project()
    report = report_of(f"{ROOT}[{','.join(extras)}]", options.report)
    answer = ask(requirements(dependencies(report, name, extras), name), options.service)
    failures, notes = judged(list(found_in(answer)), exceptions, date.today())
    skipped = [one["name"] for one in answer["dependencies"] if "skip_reason" in one]
    for line in notes:
        print(line)
    for line in failures:
        print(f"VULNERABLE {line}")
    about = f", {len(skipped)} not known there: {', '.join(skipped)}" if skipped else ""
    print(f"{len(answer['dependencies'])} packages audited{about}; vulnerable: {len(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
