"""`safa-stream token`: from a key to a token that is taken, looked into, and ended."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from safa_server.principal import Access
from safa_server.tenants.register import Register
from safa_stream.cli.main import main


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command says with --json."""
    assert main(["token", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_from_key_to_revocation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    file, private, secret = tmp_path / "tenants.toml", tmp_path / "museum.pem", tmp_path / "token.txt"
    half = ["--private-key", str(private)] if algorithm == "EdDSA" else []
    assert main(["token", "key", "museum", "--algorithm", algorithm, *half]) == 0
    file.write_text("[tenants.museum]\nsessions = 3\n" + capsys.readouterr().out)
    monkeypatch.setenv("SAFA_TENANTS", str(file))
    if half:
        assert private.stat().st_mode & 0o077 == 0 and "PRIVATE" not in file.read_text()
        assert main(["token", "key", "museum", "--algorithm", "EdDSA", *half]) == 1, "a key is not written over"
    capsys.readouterr()

    made = told(capsys, "issue", "museum", "--lifetime", "8h", "--scope", "listen", *half)
    assert made["expires"] - made["issued"] == 8 * 3600 and abs(made["issued"] - time.time()) < 60
    register = Register(file)
    who = register.who(made["token"])
    assert (who.access, who.tenant) == (Access.LISTEN, "museum") and register.quotas("museum").sessions == 3

    secret.write_text(made["token"] + "\n")
    found = told(capsys, "inspect", str(secret))
    assert found["good"] and {name: found[name] for name in ("tenant", "scope", "key", "id")} == {
        name: made[name] for name in ("tenant", "scope", "key", "id")
    }
    assert told(capsys, "revoke", "--token", str(secret))["id"] == made["id"]
    register.look()
    assert register.standing(who) == "the token was revoked"
    monkeypatch.setattr("sys.stdin", io.StringIO(made["token"]))
    assert main(["token", "inspect"]) == 1
    assert "not good: the token was revoked" in capsys.readouterr().out

    # All that were issued so far; the next ones are good.
    assert main(["token", "issue", "museum", *half]) == 0
    plain = capsys.readouterr()
    assert register.who(plain.out.strip()).tenant == "museum" and "good until" in plain.err
    assert told(capsys, "revoke", "--tenant", "museum", "--issued-before", "2099-01-01")["issued_before"] > time.time()
    register.look()
    assert register.who(plain.out.strip()).refusal == "the token was revoked"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["issue", "museum"], 2, "which tenants file?"),
        (["issue", "nobody", "--tenants", "FILE"], 2, "has no tenant 'nobody'"),
        (["issue", "museum", "--tenants", "FILE", "--key", "other"], 2, "has no key 'other'"),
        (["issue", "museum", "--tenants", "FILE", "--lifetime", "400d"], 2, "lives 1 to"),
        (["issue", "museum", "--tenants", "NONE"], 2, "cannot read"),
        (["inspect", "--tenants", "FILE", "FILE"], 2, "that is no token of a tenant"),
        (["revoke", "--tenants", "FILE", "--id", "x", "--tenant", "museum"], 2, "goes with --issued-before"),
        (["revoke", "--tenants", "FILE", "--issued-before", "soon"], 2, "is no time"),
        (["key", "Museum"], 2, "must be called by small letters"),
        (["key", "museum", "--algorithm", "EdDSA"], 2, "say where it goes"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    file = tmp_path / "tenants.toml"
    assert main(["token", "key", "museum"]) == 0
    file.write_text(capsys.readouterr().out)
    places = {"FILE": str(file), "NONE": str(tmp_path / "none.toml")}
    assert main(["token", *(places.get(word, word) for word in words)]) == code
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]
