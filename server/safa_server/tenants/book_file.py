"""The tenants file (TOML), and the list of revocations beside it, read strictly: what is wrong is named in one line.

    leeway_seconds = 10
    [tenants.museum]
    sessions = 4                        # quotas; what is left out has its default
    [[tenants.museum.keys]]
    id = "museum-2026-11"
    algorithm = "HS256"
    secret = "..."                      # 32 characters at least; the text itself is the key
    [[tenants.museum.keys]]
    id = "museum-2027-01"
    algorithm = "EdDSA"
    public = "-----BEGIN PUBLIC KEY----- ..."
    [[revoked]]
    id = "..."                          # of one token
    [[revoked]]
    tenant = "museum"                   # all that were issued before; without a tenant, those of all
    issued_before = 2026-11-29T12:00:00Z

For tenants.toml the list beside it is tenants.revoked.toml, with nothing but [[revoked]]: `safa-stream token revoke`
appends to it. Errors never hold a value that could be a secret.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_type_hints

from safa_server.tenants.book import (
    ALGORITHMS,
    KEY_ID,
    LEAST_SECRET_BYTES,
    MONTH,
    MOST_KEYS,
    MOST_REVOKED,
    MOST_TENANTS,
    NAME,
    Book,
    Key,
    Revocation,
    Revoked,
    Tenant,
)
from safa_server.tenants.quotas import Quotas
from safa_server.tenants.tokens import LONGEST_ID, check_public_key
from safa_stream.errors import OutputError, UsageError

LARGEST_FILE = 32 * 1024 * 1024
LARGEST_LEEWAY = 300.0
_QUOTAS = get_type_hints(Quotas)


def read_book(path: Path) -> Book:
    """Tenants from their file and the revocations beside it. Raises UsageError naming the file and the field."""
    table, more = _table(path), beside(path)
    try:
        _known(table, ("leeway_seconds", "tenants", "revoked"), "the file")
        named = _named_tables(table.get("tenants", {}), "tenants")
        if not named:
            raise UsageError("there are no tenants: each needs a table, [tenants.NAME]")
        if len(named) > MOST_TENANTS:
            raise UsageError(f"{len(named)} tenants are too many, at most {MOST_TENANTS}")
        leeway = _number(table.get("leeway_seconds", 10.0), 0.0, LARGEST_LEEWAY, "leeway_seconds")
        tenants = [_tenant(name, values) for name, values in named.items()]
        revoked = [*_revocations(table)]
        book = Book(tenants, Revoked(revoked), leeway)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if not more.exists():
        return book
    table = _table(more)
    try:
        _known(table, ("revoked",), "the file")
        return Book(tenants, Revoked([*revoked, *_revocations(table)]), leeway)
    except UsageError as error:
        raise UsageError(f"{more}: {error}") from None


def beside(path: Path) -> Path:
    """Where the list of revocations of a tenants file is."""
    return path.with_name(f"{path.stem}.revoked{path.suffix or '.toml'}")


def revoke(path: Path, entry: Revocation) -> None:
    """Add to the list beside a tenants file. Raises OutputError.

    One write at the end of the file: two commands at once lose nothing, and a reader that sees half of it reads again.
    """
    lines = ["", "[[revoked]]"]
    if entry.id is not None:
        lines.append(f"id = {json.dumps(entry.id)}")
    if entry.tenant is not None:
        lines.append(f"tenant = {json.dumps(entry.tenant)}")
    if entry.issued_before is not None:
        lines.append(f"issued_before = {datetime.fromtimestamp(entry.issued_before, UTC).isoformat()}")
    place = beside(path)
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, ("\n".join(lines) + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror}") from error


def _table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened:
            data = opened.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise UsageError(f"{path} is larger than {LARGEST_FILE} bytes")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = "" if isinstance(error, RecursionError) else f": {error}"
        raise UsageError(f"{path} is not TOML{where}") from None


def _tenant(name: str, table: Mapping[str, Any]) -> Tenant:
    where = f"tenants.{name}"
    if not NAME.fullmatch(name):
        raise UsageError(f"tenant {name[:70]!r} must be called by small letters, digits and dashes, 63 at most")
    quotas = tuple(one.name for one in fields(Quotas))
    _known(table, (*quotas, "token_seconds", "keys"), where)
    listed = table.get("keys")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UsageError(f"{where}: keys must be tables, [[{where}.keys]]")
    if len(listed) > MOST_KEYS:
        raise UsageError(f"{where} has {len(listed)} keys, at most {MOST_KEYS}")
    found: dict[str, Any] = {}
    for quota in quotas:
        if quota in table:
            whole = _QUOTAS[quota] is int
            number = _number(table[quota], 0.0, 1e9, f"{where}: {quota}", whole)
            found[quota] = int(number) if whole else number
    try:
        kept = Quotas(**found)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    life = _number(table.get("token_seconds", MONTH), 1.0, 1e9, f"{where}: token_seconds")
    keys = tuple(_key(one, f"{where}: key {number}") for number, one in enumerate(listed, 1))
    return Tenant(name=name, keys=keys, quotas=kept, token_seconds=life)


def _key(table: Mapping[str, Any], where: str) -> Key:
    id, algorithm = table.get("id"), table.get("algorithm")
    if not isinstance(id, str) or not KEY_ID.fullmatch(id):
        raise UsageError(f"{where}: 'id' must be 1 to 64 of letters, digits, '.', '_' and '-'")
    if algorithm not in ALGORITHMS:
        raise UsageError(f"{where}: 'algorithm' must be {' or '.join(ALGORITHMS)}")
    material = "secret" if algorithm == "HS256" else "public"
    _known(table, ("id", "algorithm", material), where)
    given = table.get(material)
    if not isinstance(given, str):
        raise UsageError(f"{where}: {material!r} must be a text")
    if algorithm == "HS256" and len(given.encode()) < LEAST_SECRET_BYTES:
        raise UsageError(f"{where}: 'secret' must have at least {LEAST_SECRET_BYTES} characters")
    if algorithm == "HS256" and given.lstrip().startswith("-----BEGIN"):
        raise UsageError(f"{where}: 'secret' is a PEM file, which is for algorithm EdDSA")
    if algorithm == "EdDSA":
        try:
            check_public_key(given)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return Key(id, algorithm, given)


def _revocations(table: Mapping[str, Any]) -> Iterator[Revocation]:
    listed = table.get("revoked", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UsageError("revoked must be tables, [[revoked]]")
    if len(listed) > MOST_REVOKED:
        raise UsageError(f"{len(listed)} revocations are too many, at most {MOST_REVOKED}")
    for number, one in enumerate(listed, 1):
        yield _revocation(one, f"revoked {number}")


def _revocation(table: Mapping[str, Any], where: str) -> Revocation:
    _known(table, ("id", "tenant", "issued_before"), where)
    id, tenant, before = table.get("id"), table.get("tenant"), table.get("issued_before")
    if (id is None) == (before is None):
        raise UsageError(f"{where}: needs either 'id' or 'issued_before'")
    if id is not None and (not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID or tenant is not None):
        raise UsageError(f"{where}: 'id' must be a token's, and stands alone")
    if tenant is not None and (not isinstance(tenant, str) or not NAME.fullmatch(tenant)):
        raise UsageError(f"{where}: 'tenant' must be a tenant's name")
    if before is None:
        return Revocation(id=id)
    if not isinstance(before, date):
        raise UsageError(f"{where}: 'issued_before' must be a time such as 2026-11-29T12:00:00Z")
    if not isinstance(before, datetime) or before.tzinfo is None:
        raise UsageError(f"{where}: 'issued_before' must say its time zone, as 2026-11-29T12:00:00Z does")
    return Revocation(tenant=tenant, issued_before=before.timestamp())


def _named_tables(value: Any, where: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise UsageError(f"{where} must be tables, [{where}.NAME]")
    return value


def _known(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in names:
            raise UsageError(f"{where}: unknown field {name[:40]!r}; known: {', '.join(names)}")


def _number(value: Any, least: float, most: float, where: str, whole: bool = False) -> float:
    kinds: Any = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        raise UsageError(f"{where} must be a {'whole ' if whole else ''}number from {least:g} to {most:g}")
    return float(value)
