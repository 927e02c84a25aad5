"""New keys for tenants, and how the tenants file says them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from safa_server.tenants.book import KEY_ID, NAME, Algorithm, Key
from safa_server.tenants.tokens import jwt
from safa_stream.errors import UsageError


@dataclass(frozen=True, slots=True)
class NewKey:
    """toml: for the tenants file; private_key: PEM, of EdDSA: for whoever issues tokens, not for the server."""

    key: Key
    toml: str = field(repr=False)
    private_key: str | None = field(default=None, repr=False)


def new_key(tenant: str, algorithm: Algorithm, id: str | None, now: float) -> NewKey:
    """A key for a tenant. id: None for tenant, date and a few random letters. Raises UsageError."""
    if not NAME.fullmatch(tenant):
        raise UsageError(f"tenant {tenant[:70]!r} must be called by small letters, digits and dashes, 63 at most")
    day = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    id = f"{tenant[:40]}-{day}-{secrets.token_hex(3)}" if id is None else id
    if not KEY_ID.fullmatch(id):
        raise UsageError(f"key id {id[:70]!r} must be 1 to 64 of letters, digits, '.', '_' and '-'")
    if algorithm == "HS256":
        secret = secrets.token_urlsafe(32)
        return NewKey(Key(id, algorithm, secret), _toml(tenant, id, algorithm, f"secret = {json.dumps(secret)}"))
    public, private = _pair()
    return NewKey(Key(id, algorithm, public), _toml(tenant, id, algorithm, f'public = """\n{public}"""'), private)


def _toml(tenant: str, id: str, algorithm: str, material: str) -> str:
    return f"[[tenants.{tenant}.keys]]\nid = {json.dumps(id)}\nalgorithm = {json.dumps(algorithm)}\n{material}\n"


def _pair() -> tuple[str, str]:
    """Public and private key of Ed25519, as PEM."""
    jwt()
    from cryptography.hazmat.primitives import serialization as as_
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(as_.Encoding.PEM, as_.PublicFormat.SubjectPublicKeyInfo)
    secret = private.private_bytes(as_.Encoding.PEM, as_.PrivateFormat.PKCS8, as_.NoEncryption())
    return public.decode(), secret.decode()
