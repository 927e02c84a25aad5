"""What pip would install with this project and all of its users' extras: versions, files and who needs whom.

Nothing is installed. The versions are those of `constraints.txt` where it names them, else the newest that there are;
the files are those for the machine and the Python that this runs on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
#: What works on this project takes is no part of what its users get.
NOT_FOR_USERS = ("dev",)


@dataclass(frozen=True, slots=True)
class Dependency:
    """name: as PyPI writes it in addresses; file: that pip chose; sha256: of it; requires: names of others here."""

    name: str
    version: str
    licence: str | None
    summary: str
    file: str
    sha256: str | None
    requires: tuple[str, ...]


def project() -> tuple[str, tuple[str, ...]]:
    """The project's name, and the extras that are for its users."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table["name"], tuple(extra for extra in table["optional-dependencies"] if extra not in NOT_FOR_USERS)


def report_of(what: str, kept: Path | None = None) -> dict[str, Any]:
    """pip's report on installing this, such as "dist/x.whl[cpu]"; with `kept` the one in that file, which is written
    where there is none. Ends the program where pip cannot say."""
    if kept is not None and kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    options = ["--dry-run", "--ignore-installed", "--quiet", "--disable-pip-version-check", "--report", "-"]
    command = [sys.executable, "-m", "pip", "install", *options, *constraint, what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"pip cannot resolve {what}:\n{done.stderr}")
    if kept is not None:
        kept.write_text(done.stdout, encoding="utf-8")
    return dict(json.loads(done.stdout))


def dependencies(report: Mapping[str, Any], root: str, extras: Sequence[str]) -> tuple[Dependency, ...]:
    """What a report holds, the root as well, by name."""
    items = {str(canonicalize_name(item["metadata"]["name"])): item for item in report["install"]}
    needed = _needed(items, report["environment"], canonicalize_name(root), extras)
    return tuple(_dependency(name, items[name], needed.get(name, ())) for name in sorted(items))


def _needed(
    items: Mapping[str, Any], environment: Mapping[str, str], root: str, extras: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Whom each needs. Which of a package's extras are wanted is known once all who need it are."""
    wanted: dict[str, set[str]] = {root: set(extras)}
    needs: dict[str, set[str]] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        for line in items[name]["metadata"].get("requires_dist", []):
            requirement = Requirement(line)
            other = canonicalize_name(requirement.name)
            chosen = ("", *wanted[name])
            if other not in items or not _applies(requirement, environment, chosen):
                continue
            needs.setdefault(name, set()).add(other)
            known = wanted.get(other)
            if known is None or not requirement.extras <= known:
                wanted[other] = (known or set()) | requirement.extras
                waiting.append(other)
    return {name: tuple(sorted(others - {name})) for name, others in needs.items()}


def _applies(requirement: Requirement, environment: Mapping[str, str], extras: Sequence[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in extras)


def _dependency(name: str, item: Mapping[str, Any], requires: Sequence[str]) -> Dependency:
    about, download = item["metadata"], item["download_info"]
    return Dependency(
        name,
        about["version"],
        _licence(about),
        about.get("summary", ""),
        download["url"].rpartition("/")[2],
        download.get("archive_info", {}).get("hashes", {}).get("sha256"),
        tuple(requires),
    )


def _licence(about: Mapping[str, Any]) -> str | None:
    """As the package says it; older pips do not tell the newest way to say it, so an installed copy is asked, too."""
    classified = [line.rpartition(" :: ")[2] for line in about.get("classifier", []) if line.startswith("License ::")]
    said = about.get("license_expression") or _installed(about) or about.get("license") or " AND ".join(classified)
    first = (said or "").strip().splitlines()
    return first[0].strip() if first else None


def _installed(about: Mapping[str, Any]) -> str | None:
    try:
        found: Any = metadata.metadata(about["name"])
    except metadata.PackageNotFoundError:
        return None
    return found.get("License-Expression") if found["Version"] == about["version"] else None
