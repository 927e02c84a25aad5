"""Tokens of a server's tenants: make keys, issue tokens, look into them, revoke them.

The tenants file is that of `safa-stream serve --tenants FILE`; docs/security.md has one. Issuing needs the file alone
for keys of HS256, and the private half beside it (--private-key) for keys of EdDSA. Tokens are read from standard input
or a file: what stands on a command line can be seen by other users.

examples:
  safa-stream token key museum
  safa-stream token key museum --algorithm EdDSA --private-key museum.pem
  safa-stream token issue museum --tenants tenants.toml --lifetime 8h
  safa-stream token issue museum --tenants tenants.toml --scope listen --lifetime 7d --json
  safa-stream token inspect --tenants tenants.toml < token.txt
  safa-stream token revoke --tenants tenants.toml --id 9n1kq3Zr0bXJ7c2T
  safa-stream token revoke --tenants tenants.toml --tenant museum --issued-before now
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli.values import duration
from safa_stream.errors import OutputError, UsageError

if TYPE_CHECKING:
    from safa_server.tenants.book import Book

HELP = "issue, inspect and revoke the tokens of a server's tenants"
EXTRAS = "tenants"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's actions and their options."""
    actions = parser.add_subparsers(metavar="ACTION", title="actions", required=True, dest="action")
    key = actions.add_parser("key", help="make a key, and print what the tenants file says of it")
    key.add_argument("tenant", metavar="TENANT")
    key.add_argument("--algorithm", choices=("HS256", "EdDSA"), default="HS256", help="default: HS256")
    key.add_argument("--id", metavar="ID", help="the key's id (default: tenant and date)")
    key.add_argument("--private-key", type=Path, metavar="FILE", help="EdDSA: where to write the private half")
    issue = actions.add_parser("issue", help="issue a token")
    issue.add_argument("tenant", metavar="TENANT")
    issue.add_argument("--lifetime", type=duration, default=86_400.0, metavar="TIME", help="30m, 8h, 7d (default: 24h)")
    issue.add_argument("--scope", choices=("all", "listen"), default="all", help="default: all")
    issue.add_argument("--key", metavar="ID", help="which key signs (default: the tenant's last)")
    issue.add_argument("--private-key", type=Path, metavar="FILE", help="EdDSA: the key's private half (PEM)")
    inspect = actions.add_parser("inspect", help="say what a token says, and whether it is good")
    inspect.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: standard input")
    revoke = actions.add_parser("revoke", help="end a token, or all that were issued before a time")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="ID", help="a token's id, as issue and inspect say it")
    which.add_argument("--token", type=Path, metavar="FILE", help="a file with the token; - is standard input")
    which.add_argument("--issued-before", metavar="TIME", help="now, or a time such as 2026-11-29T12:00:00Z")
    revoke.add_argument("--tenant", metavar="TENANT", help="whose, with --issued-before (default: of all tenants)")
    for action in (issue, inspect, revoke):
        action.add_argument(
            "--tenants", type=Path, default=os.environ.get("SAFA_TENANTS"), metavar="FILE", help="default: SAFA_TENANTS"
        )
    for action in (key, issue, inspect, revoke):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    if options.action == "key":
        return _key(options)
    return {"issue": _issue, "inspect": _inspect, "revoke": _revoke}[options.action](options)


def _key(options: argparse.Namespace) -> int:
    from safa_server.tenants.keys import new_key

    made = new_key(options.tenant, options.algorithm, options.id, time.time())
    if made.private_key is not None:
        if options.private_key is None:
            raise UsageError("a key of EdDSA has a private half: say where it goes, --private-key FILE")
        _write_secret(options.private_key, made.private_key)
    told = {"tenant": options.tenant, "id": made.key.id, "algorithm": made.key.algorithm, "toml": made.toml}
    print(json.dumps(told) if options.json else made.toml, end="\n" if options.json else "")
    return 0


def _issue(options: argparse.Namespace) -> int:
    from safa_server.tenants.tokens import issue

    tenant = _book(options).tenants.get(options.tenant)
    if tenant is None:
        raise UsageError(f"the tenants file has no tenant {options.tenant!r}")
    wanted = [key for key in tenant.keys if options.key in (None, key.id)]
    if not wanted:
        raise UsageError(f"tenant {tenant.name!r} has no key{'' if options.key is None else f' {options.key!r}'}")
    private = None if options.private_key is None else _text(options.private_key)
    made = issue(tenant, wanted[-1], options.scope, options.lifetime, time.time(), private)
    if not options.json:
        print(made.text)
        print(f"id {made.grant.id}, good until {_shown(made.grant.expires)}", file=sys.stderr)
        return 0
    grant = made.grant
    about = {"tenant": grant.tenant, "scope": made.scope, "key": grant.key, "id": grant.id}
    print(json.dumps({"token": made.text, **about, "issued": grant.issued, "expires": grant.expires}))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from safa_server.principal import Access
    from safa_server.tenants.tokens import identify, unverified

    text = _text(options.file)
    header, claims = unverified(text)
    found = identify(_book(options), text, time.time())
    good = found.access is not Access.NONE
    told: dict[str, Any] = {
        "good": good,
        "reason": None if good else found.refusal,
        "tenant": claims.get("sub"),
        "scope": claims.get("scope"),
        "key": header.get("kid"),
        "algorithm": header.get("alg"),
        "id": claims.get("jti"),
        "issued": claims.get("iat"),
        "not_before": claims.get("nbf"),
        "expires": claims.get("exp"),
    }
    if options.json:
        print(json.dumps(told))
    else:
        print("good" if good else f"not good: {found.refusal}")
        for name in ("tenant", "scope", "key", "algorithm", "id"):
            print(f"{name:9}  {told[name]}")
        for name in ("issued", "expires"):
            print(f"{name:9}  {_shown(told[name])}")
    return 0 if good else 1


def _revoke(options: argparse.Namespace) -> int:
    from safa_server.tenants.book import MOST_REVOKED, Revocation
    from safa_server.tenants.book_file import beside, revoke
    from safa_server.tenants.tokens import unverified

    book = _book(options)
    if options.tenant is not None and options.issued_before is None:
        raise UsageError("--tenant goes with --issued-before; an id is one token's")
    if options.tenant is not None and options.tenant not in book.tenants:
        raise UsageError(f"the tenants file has no tenant {options.tenant!r}")
    id = options.id
    if options.token is not None:
        id = unverified(_text(None if str(options.token) == "-" else options.token))[1].get("jti")
        if not isinstance(id, str):
            raise UsageError("that token has no id (jti): revoke all that were issued before a time instead")
    entry = Revocation(id=id) if options.issued_before is None else Revocation(None, options.tenant, _time(options))
    if len(book.revoked.entries) >= MOST_REVOKED:
        raise UsageError(f"{MOST_REVOKED} revocations are kept already: take out those of tokens that have expired")
    revoke(options.tenants, entry)
    # That it can be read: a server goes on with the old list otherwise.
    _book(options)
    told = {"id": entry.id, "tenant": entry.tenant, "issued_before": entry.issued_before}
    place = beside(options.tenants)
    what = f"token {entry.id}" if entry.id is not None else f"tokens issued before {_shown(entry.issued_before)}"
    print(json.dumps({**told, "file": str(place)}) if options.json else f"revoked {what} in {place}")
    return 0


def _book(options: argparse.Namespace) -> Book:
    from safa_server.tenants.book_file import read_book

    if options.tenants is None:
        raise UsageError("which tenants file? --tenants FILE, or the variable SAFA_TENANTS")
    options.tenants = Path(options.tenants)
    return read_book(options.tenants)


def _text(path: Path | None) -> str:
    try:
        return (sys.stdin.read() if path is None else path.read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path or 'standard input'}: {getattr(error, 'strerror', 'no text')}") from None


def _time(options: argparse.Namespace) -> float:
    if options.issued_before == "now":
        return time.time()
    try:
        found = datetime.fromisoformat(options.issued_before)
    except ValueError:
        said = f"--issued-before {options.issued_before!r} is no time: write 2026-11-29T12:00:00Z, or now"
        raise UsageError(said) from None
    return found.astimezone(UTC).timestamp() if found.tzinfo else found.replace(tzinfo=UTC).timestamp()


def _shown(value: Any) -> str:
    from safa_server.tenants.book import shown

    return shown(value) if isinstance(value, int | float) and 0 <= value < 2.5e11 else str(value)


def _write_secret(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
