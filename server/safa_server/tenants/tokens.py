"""Tenants' tokens: JSON Web Tokens (RFC 7519), signed by a key that their header names; PyJWT does the work.

    {"alg": "HS256", "kid": KEY} {"sub": TENANT, "jti": ID, "iat": ..., "exp": ..., "scope": "all" | "listen"}

The key decides the algorithm, never the token, and the key alone says whose token it is: `sub` has to agree. `nbf` is
looked at where it is there; other claims mean nothing here.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from safa_server.principal import Access, Grant, Principal
from safa_server.tenants.book import Book, Key, Tenant
from safa_stream.errors import UsageError

Scope = Literal["all", "listen"]
SCOPES: Mapping[str, Access] = {"all": Access.ALL, "listen": Access.LISTEN}
LONGEST_TOKEN = 4096
#: The last second of the year 9999.
LATEST = 253_402_300_799
LONGEST_ID = 128
#: Times are judged by `Book.standing`, which judges those who are here as well.
_UNJUDGED = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}


def jwt() -> ModuleType:
    """PyJWT. Raises UsageError where it is not installed."""
    try:
        import cryptography  # noqa: F401
        import jwt as library
    except ImportError:
        raise UsageError('tenants need PyJWT and cryptography: pip install "safa-stream[tenants]"') from None
    return library


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was made. text: the token itself, a secret."""

    text: str
    grant: Grant
    scope: Scope


def issue(
    tenant: Tenant, key: Key, scope: Scope, lifetime: float, now: float, private_key: str | None = None
) -> Issued:
    """A new token, good from `now` (Unix time) for `lifetime` seconds. private_key: PEM, for EdDSA, whose public key
    alone is in the book. Raises UsageError."""
    if not 1 <= lifetime <= tenant.token_seconds:
        raise UsageError(
            f"a token of {tenant.name!r} lives 1 to {tenant.token_seconds:g} s (token_seconds), not {lifetime:g}"
        )
    if key.algorithm == "EdDSA" and private_key is None:
        raise UsageError(f"key {key.id!r} is the public half; its private key has to be given to sign with it")
    begins = int(now)
    grant = Grant(tenant.name, key.id, secrets.token_urlsafe(12), begins, begins, begins + math.ceil(lifetime))
    claims = {"sub": tenant.name, "jti": grant.id, "iat": grant.issued, "exp": grant.expires, "scope": scope}
    library = jwt()
    signer = key.material if private_key is None else private_key
    try:
        text: str = library.encode(claims, signer, algorithm=key.algorithm, headers={"kid": key.id})
        library.decode(text, key.material, algorithms=[key.algorithm], options=_UNJUDGED)
    except library.InvalidSignatureError:
        raise UsageError(f"that private key is not the one of key {key.id!r}") from None
    except (library.PyJWTError, ValueError, TypeError):
        raise UsageError(f"key {key.id!r} cannot sign with what was given as its private key") from None
    return Issued(text, grant, scope)


def check_public_key(pem: str) -> None:
    """Raises UsageError where this is no public key for EdDSA."""
    library = jwt()
    try:
        key = library.get_algorithm_by_name("EdDSA").prepare_key(pem)
    except (library.PyJWTError, ValueError, TypeError):
        key = None
    if key is None or hasattr(key, "private_bytes"):
        raise UsageError("'public' must be an Ed25519 public key as PEM (-----BEGIN PUBLIC KEY-----)")


def identify(book: Book, text: str, now: float) -> Principal:
    """Who shows this token: somebody without access, and why, where it is not good. now: Unix time.

    Reasons beyond "wrong" are told only to who has a token that one of the book's keys signed.
    """
    wrong = Principal(Access.NONE, refusal="the token is wrong")
    if len(text) > LONGEST_TOKEN or text.count(".") != 2:
        return wrong
    library = jwt()
    try:
        found = book.key(str(library.get_unverified_header(text).get("kid")))
        if found is None:
            return wrong
        claims = library.decode(text, found[1].material, algorithms=[found[1].algorithm], options=_UNJUDGED)
    except (library.PyJWTError, ValueError, TypeError, RecursionError):
        return wrong
    grant, scope = _grant(found[1].id, claims), claims.get("scope")
    if grant is None or not isinstance(scope, str) or scope not in SCOPES:
        return Principal(Access.NONE, refusal="the token lacks one of sub, jti, iat, exp, scope, or has a wrong one")
    reason = book.standing(grant, now)
    if reason is not None:
        return Principal(Access.NONE, refusal=reason)
    return Principal(SCOPES[scope], grant.tenant, grant)


def unverified(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token, whoever signed it. Raises UsageError where it is none."""
    library = jwt()
    try:
        return (
            dict(library.get_unverified_header(text)),
            dict(library.decode(text, options={"verify_signature": False})),
        )
    except (library.PyJWTError, ValueError, TypeError, RecursionError):
        raise UsageError("that is no token of a tenant (a JSON Web Token)") from None


def _grant(key: str, claims: Mapping[str, Any]) -> Grant | None:
    tenant, id = claims.get("sub"), claims.get("jti")
    issued, expires = _time(claims.get("iat")), _time(claims.get("exp"))
    begins = _time(claims.get("nbf", 0))
    if not isinstance(tenant, str) or not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID:
        return None
    if issued is None or begins is None or expires is None:
        return None
    return Grant(tenant, key, id, issued, max(begins, issued), expires)


def _time(value: Any) -> float | None:
    """Unix time, None where a claim holds none."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST
    return value if known else None
