"""What the project is made of: the bill of materials, and the audit against a service of advisories on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from safa_stream.models.builtin.weights import SHIPPED, load_weights
from tools import audit, sbom
from tools.dependencies import dependencies, project

NAME, _ = project()


def item(name: str, version: str, *requires: str, **about: Any) -> dict[str, Any]:
    """One package of pip's report."""
    return {
        "metadata": {"name": name, "version": version, "requires_dist": list(requires), "summary": "", **about},
        "download_info": {
            "url": f"file:///somewhere/{name}-{version}.whl",
            "archive_info": {"hashes": {"sha256": hashlib.sha256(name.encode()).hexdigest()}},
        },
    }


ENVIRONMENT = {
    "implementation_name": "cpython", "python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64",
    "os_name": "posix", "platform_system": "Linux", "python_full_version": "3.11.7", "implementation_version": "3.11.7",
    "platform_python_implementation": "CPython", "platform_release": "6", "platform_version": "1",
}  # fmt: skip
REPORT = {
    "environment": ENVIRONMENT,
    "install": [
        item(NAME, "1.2", "alpha>=1", "Beta.b[fast]; extra == 'cpu'", "gamma; extra == 'dev'", "win; os_name == 'nt'"),
        item("alpha", "1.0+cpu", license_expression="MIT OR Apache-2.0"),
        item(
            "Beta.b", "2.0", "alpha", "delta; extra == 'fast'", "epsilon; extra == 'slow'", license="a licence\nin full"
        ),
        item("delta", "3.0", "beta-b", classifier=["License :: OSI Approved :: MIT License"]),
    ],
}


def test_who_needs_whom() -> None:
    found = {one.name: one for one in dependencies(REPORT, NAME, ("cpu",))}
    assert {name: one.requires for name, one in found.items()} == {
        NAME: ("alpha", "beta-b"),
        "alpha": (),
        "beta-b": ("alpha", "delta"),
        "delta": ("beta-b",),
    }
    licences = [found[name].licence for name in ("alpha", "beta-b", "delta")]
    assert licences == ["MIT OR Apache-2.0", "a licence", "MIT License"]
    assert found["alpha"].file == "alpha-1.0+cpu.whl" and "dev" not in project()[1]


def test_the_bill_of_materials_is_valid_and_holds_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel, report = tmp_path / "safa_stream-1.2-py3-none-any.whl", tmp_path / "report.json"
    report.write_text(json.dumps(REPORT))
    with zipfile.ZipFile(wheel, "w") as made:
        for path in SHIPPED.iterdir():
            made.write(path, f"{sbom.MODEL}/{path.name}")
    assert sbom.main([str(wheel), "--report", str(report)]) == 0
    written = tmp_path / "safa_stream-1.2.cdx.json"
    assert str(written) in capsys.readouterr().out
    text = written.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    own = bill["metadata"]["component"]
    assert (own["name"], own["hashes"][0]["content"]) == (NAME, hashlib.sha256(wheel.read_bytes()).hexdigest())
    parts = {part["name"]: part for part in bill["components"]}
    assert set(parts) == {"alpha", "beta-b", "delta", "safa-stream-builtin"}
    weights, config = parts["safa-stream-builtin"], load_weights(SHIPPED).config
    assert weights["type"] == "machine-learning-model" and weights["version"] == config["version"]
    assert weights["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert weights["hashes"] == [{"alg": "SHA-256", "content": config["weights_sha256"]}]
    assert {Path(file["name"]).name for file in weights["components"]} == {path.name for path in SHIPPED.iterdir()}
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert weights["bom-ref"] in needs[own["bom-ref"]]
    assert parts["delta"]["bom-ref"] in needs[parts["beta-b"]["bom-ref"]]
    assert str(tmp_path) not in text and "/somewhere" not in text


def test_a_wheel_with_other_weights_gets_none(tmp_path: Path) -> None:
    wheel = tmp_path / "safa_stream-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.write(SHIPPED / "config.json", f"{sbom.MODEL}/config.json")
        made.writestr(f"{sbom.MODEL}/weights.safetensors", b"others")
    with pytest.raises(SystemExit, match="not those that config.json names"):
        sbom.model_in(wheel)


@contextmanager
def advisories(vulnerable: dict[str, str]) -> Iterator[str]:
    """OSV's way to be asked, on this machine: the packages that are vulnerable, by id."""

    class Asked(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            id = vulnerable.get(question["package"]["name"])
            hole = {
                "id": id,
                "aliases": [f"CVE-of-{id}"],
                "summary": "a hole",
                "published": "2026-01-01T00:00:00Z",
                "affected": [
                    {
                        "package": question["package"],
                        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
                    }
                ],
            }
            body = json.dumps({"vulns": [hole]} if id else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def audited(folder: Path, service: str, exceptions: str = "") -> int:
    (folder / "report.json").write_text(json.dumps(REPORT))
    (folder / "audit.toml").write_text(exceptions)
    places = ["--report", str(folder / "report.json"), "--exceptions", str(folder / "audit.toml")]
    return audit.main(["--service", service, *places])


def test_a_vulnerability_fails_until_it_is_excepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    excepted = '[[exception]]\nid = "CVE-of-GHSA-1"\npackage = "delta"\nreason = "not called"\nuntil = 2999-01-01\n'
    with advisories({"pip": "PYSEC-0", "delta": "GHSA-1"}) as service:
        assert audited(tmp_path, service) == 1
        assert "VULNERABLE delta 3.0: CVE-of-GHSA-1 = GHSA-1, fixed in 9.9" in capsys.readouterr().out
        assert audited(tmp_path, service, excepted) == 0
        assert "excepted until 2999-01-01: delta 3.0" in capsys.readouterr().out


def test_a_service_that_is_not_there_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with advisories({}) as service:
        assert audited(tmp_path, service) == 0, "it answers, and knows nothing"
        closed = service
    assert audited(tmp_path, closed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith("not audited: http://127.0.0.1") for line in lines)


def test_exceptions_end(tmp_path: Path) -> None:
    hole = audit.Found("delta", "3.0", ("GHSA-1", "CVE-1"), ())
    known = audit.Exempt("CVE-1", "delta", "not called", date(2026, 6, 1))
    assert audit.judged([hole], [known], date(2026, 6, 1)) == (
        [],
        ["excepted until 2026-06-01: delta 3.0: GHSA-1 = CVE-1, not fixed yet: not called"],
    )
    assert audit.judged([hole], [known], date(2026, 6, 2))[0] == [
        "delta 3.0: GHSA-1 = CVE-1, not fixed yet; its exception has ended on 2026-06-01"
    ]
    other = audit.Exempt("CVE-1", "alpha", "not called", date(2999, 1, 1))
    failures, notes = audit.judged([hole], [other], date(2026, 6, 1))
    assert len(failures) == 1 and notes == ["exception CVE-1 for alpha covers nothing (any more)"]
    wrong = tmp_path / "audit.toml"
    wrong.write_text('[[exception]]\nid = "CVE-1"\npackage = "delta"\nreason = "not called"\n')
    with pytest.raises(SystemExit, match="exception 1 must have id, package, reason, until"):
        audit.read_exceptions(wrong)
    assert audit.read_exceptions(audit.EXCEPTIONS) is not None
