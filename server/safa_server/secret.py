"""What opens a session: a token that its client keeps, and of which the server keeps no more than a hash.

A token has 192 random bits, so nobody finds it by trying, and plain SHA-256 is enough: what slows guessing down (a
salt, a key, many rounds) is for words that people choose. Whoever has the state folder can read hashes, and steer
nothing with them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace

#: Tokens of one session that stay good, newest last. A server that goes on with its own session adds one for its links.
MOST_TOKENS = 16


def new_token() -> str:
    """A secret of 192 bits, fit for an address."""
    return secrets.token_urlsafe(24)


def digest_of(token: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Secret:
    """digests: of the tokens that open the session; token: the newest in clear, None where only its hash is known."""

    digests: tuple[str, ...]
    token: str | None = field(default=None, repr=False)

    @classmethod
    def new(cls) -> Secret:
        """With a fresh token."""
        return cls(()).renewed()

    @classmethod
    def of(cls, token: str) -> Secret:
        """With a token that exists already."""
        return cls((digest_of(token),), token)

    def renewed(self) -> Secret:
        """With one more token; earlier ones stay good, as clients have them."""
        token = new_token()
        return replace(self, digests=(*self.digests, digest_of(token))[-MOST_TOKENS:], token=token)

    def opens(self, given: str | None) -> bool:
        """Is this one of the tokens? Takes as long whichever it is."""
        if not given:
            return False
        found, digest = False, digest_of(given)
        for known in self.digests:
            found |= hmac.compare_digest(digest, known)
        return found
