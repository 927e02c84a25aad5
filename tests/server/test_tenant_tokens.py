"""Tenants as values: their file, their tokens, what they may have; nothing but files is touched."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_server.principal import NOBODY, OPERATOR, Access, Principal
from safa_server.tenants.book import Book, Key, Revocation, Tenant
from safa_server.tenants.book_file import beside, read_book, revoke
from safa_server.tenants.keys import new_key
from safa_server.tenants.quotas import QuotaError, Quotas, Turnstile, Usage, check_layers, check_listener
from safa_server.tenants.register import Register
from safa_server.tenants.tokens import identify, issue
from safa_stream.errors import UsageError
from tests.server.tenants_rig import Tenancy

NOW = 1_800_000_000.0


def book_of(**more: Any) -> tuple[Book, Tenant]:
    tenant = Tenant(name="a", keys=(new_key("a", "HS256", "a-1", NOW).key,), **more)
    return Book([tenant]), tenant


def claims(**other: Any) -> dict[str, Any]:
    said = {"sub": "a", "jti": "one", "iat": int(NOW), "exp": int(NOW) + 60, "scope": "all", **other}
    return {name: value for name, value in said.items() if value is not None}


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_token_says_who_somebody_is(algorithm: Any) -> None:
    made = new_key("a", algorithm, "a-1", NOW)
    tenant = Tenant(name="a", keys=(made.key,))
    for scope, access in (("all", Access.ALL), ("listen", Access.LISTEN)):
        token = issue(tenant, made.key, scope, 60, NOW, made.private_key)  # type: ignore[arg-type]
        found = identify(Book([tenant]), token.text, NOW + 30)
        assert (found.access, found.tenant, found.grant) == (access, "a", token.grant)
        assert not found.operates
    if algorithm == "EdDSA":
        with pytest.raises(UsageError, match="private key has to be given"):
            issue(tenant, made.key, "all", 60, NOW)
        other = new_key("a", "EdDSA", "a-1", NOW).private_key
        with pytest.raises(UsageError, match="is not the one of key 'a-1'"):
            issue(tenant, made.key, "all", 60, NOW, other)


@pytest.mark.parametrize(
    ("said", "at", "reason"),
    [
        ({}, 0.0, None),
        ({}, 69.0, None),  # the leeway is 10 s
        ({}, 71.0, "has expired at 2027-01-15 08:01:00 UTC"),
        ({}, -9.0, None),
        ({}, -11.0, "not valid before"),
        ({"nbf": int(NOW) + 30}, 15.0, "not valid before"),
        ({"nbf": int(NOW) + 30}, 25.0, None),
        ({"exp": int(NOW) + 40 * 86_400}, 0.0, "lives too long"),
        ({"exp": None}, 0.0, "lacks one of"),
        ({"iat": None}, 0.0, "lacks one of"),
        ({"jti": None}, 0.0, "lacks one of"),
        ({"jti": ""}, 0.0, "lacks one of"),
        ({"scope": None}, 0.0, "lacks one of"),
        ({"scope": "root"}, 0.0, "lacks one of"),
        ({"scope": ["all"]}, 0.0, "lacks one of"),
        ({"exp": float("inf")}, 0.0, "lacks one of"),
        ({"exp": True}, 0.0, "lacks one of"),
        ({"sub": "b"}, 0.0, "key of the token is not known"),
        ({"sub": None}, 0.0, "lacks one of"),
        ({"admin": True, "aud": "somebody"}, 0.0, None),
    ],
)
def test_what_a_token_must_say(said: dict[str, Any], at: float, reason: str | None) -> None:
    book, tenant = book_of()
    token = jwt.encode(claims(**said), tenant.keys[0].material, "HS256", {"kid": "a-1"})
    found = identify(book, token, NOW + at)
    assert (found.access is Access.ALL) is (reason is None), found
    if reason is not None:
        assert found.access is Access.NONE and reason in found.refusal


def test_the_key_decides_the_algorithm_and_whose_the_token_is() -> None:
    # As long as HS512 wants it, so that only the algorithm can be what is wrong.
    mine, other = Key("a-1", "HS256", "a-secret" * 8), new_key("b", "HS256", "b-1", NOW)
    pair = new_key("a", "EdDSA", "a-2", NOW)
    book = Book([Tenant(name="a", keys=(mine, pair.key)), Tenant(name="b", keys=(other.key,))])

    def forged(**header: Any) -> str:
        parts = [json.dumps(part).encode() for part in (header, claims())]
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."

    good = jwt.encode(claims(), mine.material, "HS256", {"kid": "a-1"})
    head, body, signature = good.split(".")
    wrong = [
        jwt.encode(claims(), other.key.material, "HS256", {"kid": "b-1"}),  # b signs for a
        jwt.encode(claims(), other.key.material, "HS256", {"kid": "a-1"}),
        jwt.encode(claims(), mine.material, "HS256"),  # no key is named
        jwt.encode(claims(), mine.material, "HS256", {"kid": "A-1"}),
        jwt.encode(claims(), mine.material, "HS512", {"kid": "a-1"}),
        forged(alg="none", kid="a-1"),
        forged(alg="HS256", kid="a-1"),
        forged(alg=["none"], kid={"a": 1}),
        f"{head}.{body}.{signature[:-2]}AA",
        f"{head}.{body}.",
        good + "." + good,
        good + "x" * 5000,
        "..",
        "",
        "no token",
        base64.urlsafe_b64encode(b"[" * 2900).decode() + ".e30.e30",
        base64.urlsafe_b64encode(b'{"a":' * 580).decode() + ".e30.e30",
        "\ud800.\ud800.\ud800",
    ]
    # The public key used as if it were a secret: the classic confusion of algorithms.
    raw = f"{head}.{body}".replace(head, base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"a-2"}').decode().rstrip("="))
    mac = hmac.digest(pair.key.material.encode(), raw.encode(), "sha256")
    wrong.append(f"{raw}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}")
    assert identify(book, good, NOW).tenant == "a"
    for token in wrong:
        assert identify(book, token, NOW).access is Access.NONE, token
    assert identify(book, wrong[0], NOW).refusal == "the key of the token is not known (any more)"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(max_size=60), st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), JSON), JSON)
@settings(max_examples=150, deadline=None)
def test_whatever_is_shown_as_a_token_lets_nobody_in(text: str, header: dict[str, Any], body: Any) -> None:
    book, _ = book_of()
    parts = (json.dumps(header), json.dumps(body), text)
    made = ".".join(base64.urlsafe_b64encode(part.encode(errors="ignore")).decode().rstrip("=") for part in parts)
    for token in (text, made):
        assert identify(book, token, NOW).access is Access.NONE


@given(st.dictionaries(st.sampled_from(["sub", "jti", "iat", "exp", "nbf", "scope", "aud", "iss"]), JSON))
@settings(max_examples=150, deadline=None)
def test_whatever_a_signed_token_claims_never_makes_the_server_fail(said: dict[str, Any]) -> None:
    book, tenant = book_of()
    key = tenant.keys[0].material
    token = jwt.api_jws.encode(json.dumps({**claims(), **said}).encode(), key, "HS256", {"kid": "a-1"})
    found = identify(book, token, NOW)
    assert found.access is Access.NONE or found.tenant == "a"


def test_revoking(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)
    (first, id), second, other = tenancy.issued("a"), tenancy.token("a"), tenancy.token("b")

    def good(*tokens: str) -> list[bool]:
        book = read_book(tenancy.path)
        return [identify(book, token, tenancy.clock()).access is Access.ALL for token in tokens]

    assert good(first, second, other) == [True, True, True]
    revoke(tenancy.path, Revocation(id=id))
    assert good(first, second, other) == [False, True, True]
    tenancy.clock.now += 5
    revoke(tenancy.path, Revocation(tenant="a", issued_before=tenancy.clock.now))
    tenancy.clock.now += 5
    assert good(first, second, other, tenancy.token("a")) == [False, False, True, True]
    # In the tenants file itself, for all tenants.
    with tenancy.path.open("a") as file:
        file.write("\n[[revoked]]\nissued_before = 2099-01-01T00:00:00Z\n")
    assert good(first, second, other, tenancy.token("a")) == [False] * 4
    assert beside(tenancy.path).stat().st_mode & 0o077 == 0


KEY = 'id = "k"\nalgorithm = "HS256"\nsecret = "0123456789012345678901234567890123456789"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there are no tenants"),
        ("x = 1\n", "unknown field 'x'; known: leeway_seconds, tenants, revoked"),
        ("leeway_seconds = 900\n[tenants.a]\nkeys=[]\n", "leeway_seconds must be a number from 0 to 300"),
        ("[tenants.a]\n", r"tenants.a: keys must be tables, \[\[tenants.a.keys\]\]"),
        ("[tenants.A]\nkeys=[]\n", "tenant 'A' must be called by small letters"),
        ('[tenants."../x"]\nkeys=[]\n', "tenant '../x' must be called by small letters"),
        ("[tenants.a]\nsessions = 0\nkeys=[]\n", "tenants.a: 'sessions' must be above 0, not 0"),
        ("[tenants.a]\nsessions = 1.5\nkeys=[]\n", "tenants.a: sessions must be a whole number"),
        ("[tenants.a]\nlayers = true\nkeys=[]\n", "tenants.a: layers must be a whole number"),
        ("[tenants.a]\nsession_seconds = nan\nkeys=[]\n", "session_seconds must be a number"),
        ("[tenants.a]\nseats = 3\nkeys=[]\n", "tenants.a: unknown field 'seats'; known: sessions, layers"),
        ('[[tenants.a.keys]]\nid = "k"\n', "tenants.a: key 1: 'algorithm' must be HS256 or EdDSA"),
        ('[[tenants.a.keys]]\nid = "k"\nalgorithm = "none"\n', "'algorithm' must be HS256 or EdDSA"),
        ('[[tenants.a.keys]]\nid = "k"\nalgorithm = "HS256"\nsecret = "short-hush"\n', "at least 32 characters"),
        ('[[tenants.a.keys]]\nid = "k"\nalgorithm = "HS256"\nsecret = 5551234\n', "'secret' must be a text"),
        ('[[tenants.a.keys]]\nid = "k"\nalgorithm = "EdDSA"\npublic = "hush-hush"\n', "must be an Ed25519 public key"),
        (f'[[tenants.a.keys]]\n{KEY}public = "x"\n', "unknown field 'public'; known: id, algorithm, secret"),
        (f"[[tenants.a.keys]]\n{KEY}[[tenants.b.keys]]\n{KEY}", "key id 'k' is there twice"),
        (f"[[tenants.a.keys]]\n{KEY}[[revoked]]\n", "revoked 1: needs either 'id' or 'issued_before'"),
        (f'[[tenants.a.keys]]\n{KEY}[[revoked]]\nid = "x"\ntenant = "a"\n', "stands alone"),
        (f"[[tenants.a.keys]]\n{KEY}[[revoked]]\nissued_before = 2026-11-29T12:00:00\n", "must say its time zone"),
        (f"[[tenants.a.keys]]\n{KEY}[[revoked]]\nissued_before = 2026-11-29\n", "must say its time zone"),
        ('[[tenants.a.keys]]\nsecret = "hush-hush-hush\n', "is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_and_no_secret_with_it(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_book(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert not re.search(r"hush|0123456789|5551234", message)


def test_a_private_key_is_no_public_one(tmp_path: Path) -> None:
    private = new_key("a", "EdDSA", "k", NOW).private_key
    path = tmp_path / "tenants.toml"
    path.write_text(f'[[tenants.a.keys]]\nid = "k"\nalgorithm = "EdDSA"\npublic = """{private}"""\n')
    with pytest.raises(UsageError, match="must be an Ed25519 public key"):
        read_book(path)


def test_a_changed_file_counts_and_a_broken_one_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tenancy = Tenancy(tmp_path)
    register, token = tenancy.register, tenancy.token("a")
    tenancy.write(sessions=3)
    register.look()
    assert register.quotas("a").sessions == 3 and register.who(token).tenant == "a"
    caplog.clear()
    good = tenancy.path.read_text()
    for broken in (good.replace("sessions = 3", "sessions = many"), ""):
        tenancy.path.write_text(broken)
        for _ in range(3):
            register.look()
        assert register.quotas("a").sessions == 3 and register.who(token).tenant == "a"
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert all("the old one stays" in record.message for record in caplog.records)
    tenancy.path.unlink()
    register.look()
    assert register.who(token).tenant == "a" and "No such file" in caplog.records[-1].message
    # A key is taken out: rotation is over for its tokens.
    tenancy.keys["a"] = new_key("a", "HS256", "a-2", NOW).toml
    tenancy.write()
    register.look()
    assert register.who(token).refusal == "the token is wrong" and register.who(tenancy.token("a")).tenant == "a"
    assert register.standing(Principal(Access.ALL)) is None


def test_a_file_that_others_can_read_is_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tenancy = Tenancy(tmp_path)
    assert not caplog.records
    tenancy.path.chmod(0o644)
    Register(tenancy.path)
    assert "can be read by other users" in caplog.text


def test_without_pyjwt_the_line_that_brings_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Tenancy(tmp_path).path
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(UsageError, match=r'pip install "safa-stream\[tenants\]"'):
        Register(path)


def test_who_knows_of_whose_sessions() -> None:
    a, b, listener = Principal(Access.ALL, "a"), Principal(Access.LISTEN, "b"), Principal(Access.LISTEN)
    assert OPERATOR.sees(None) and OPERATOR.sees("a") and OPERATOR.operates
    assert a.sees("a") and not a.sees("b") and not a.sees(None)
    assert b.sees("b") and not b.sees("a") and not b.sees(None)
    assert listener.sees(None) and not listener.sees("a") and not NOBODY.sees(None)
    # A session's own token opens the operator's sessions, and helps nobody into a tenant's.
    assert NOBODY.may_join(None, True) and not NOBODY.may_join("a", True)
    assert not b.may_join("a", True) and a.may_join("a", False) and OPERATOR.may_join("a", False)


def test_quotas() -> None:
    quotas, gate = Quotas(sessions=2, layers=4, listeners=3, opens_per_minute=3), Turnstile()
    now = 1000.0

    def opened(usage: Usage = Usage(), layers: int = 1, at: float = now, tenant: str = "a") -> tuple[str, float] | None:  # noqa: B008
        try:
            gate.check_open(tenant, quotas, usage, layers, at)
        except QuotaError as error:
            assert error.tenant == tenant and f"quota '{error.quota}'" in str(error)
            return error.quota, error.retry_after
        return None

    assert opened(Usage(sessions=2)) == ("sessions", 10.0)
    assert opened(Usage(layers=3), 2) == ("layers", 10.0) and opened(Usage(layers=3), 1) is None
    # Refusals before cost nothing; after three in a minute the time until the next is told.
    assert [opened() for _ in range(3)] == [None, None, ("opens_per_minute", 20.0)]
    assert opened(at=now + 15) == ("opens_per_minute", pytest.approx(5.0)) and opened(at=now + 20.1) is None
    assert opened(tenant="b") is None
    check_layers("a", quotas, Usage(layers=3), 1)
    with pytest.raises(QuotaError, match="3 connections listen"):
        check_listener("a", quotas, Usage(listeners=3))
