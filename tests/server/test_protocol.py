"""The protocol's documents are those of the code: PROTOCOL.md, protocol.json, and what both say of every message."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from safa_server import schema
from safa_server.client import SafaClient
from safa_server.control import CODES
from safa_server.fields import RANGES
from safa_server.metrics import FAMILIES
from safa_server.wire import ANSWERS, REQUESTS, slots
from tests.server.ws_rig import client, run, serving


def page() -> str:
    return (schema.FOLDER / "PROTOCOL.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["PROTOCOL.md", "protocol.json"])
def test_documents_are_up_to_date(name: str) -> None:
    wanted = {path.name: text for path, text in schema.files(schema.FOLDER).items()}
    assert (schema.FOLDER / name).read_text(encoding="utf-8") == wanted[name], (
        f"server/{name} is out of date: run python -m safa_server.schema"
    )


def test_the_command_rewrites_what_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "FOLDER", tmp_path)
    (tmp_path / "PROTOCOL.md").write_text("before\n<!-- table: codes -->\nold\n<!-- end -->\nafter\n")
    assert schema.main(["--check"]) == 1 and "PROTOCOL.md is out of date" in capsys.readouterr().out
    assert schema.main([]) == 0
    written = (tmp_path / "PROTOCOL.md").read_text()
    assert written.startswith("before\n") and written.endswith("after\n") and "`bad_json`" in written
    assert "old" not in written and json.loads((tmp_path / "protocol.json").read_text())
    assert schema.main(["--check"]) == 0


def test_the_page_names_everything() -> None:
    text = page()
    for name in (*REQUESTS, *ANSWERS, *CODES, *(family.name for family in FAMILIES)):
        assert f"| `{name}` |" in text, name
    for made in schema.tables():
        assert f"<!-- table: {made} -->" in text, made


def test_every_link_of_the_page_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page()):
        assert (schema.FOLDER / link).is_file(), link


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_references_of_the_document_lead_to_messages() -> None:
    document = schema.document()
    messages = document["channels"]["safa"]["messages"]
    assert set(messages) == set(document["components"]["messages"])
    for operation in document["operations"].values():
        for one in operation["messages"]:
            assert resolve(document, resolve(document, one["$ref"])["$ref"])["payload"]
    listed = [one["$ref"] for operation in document["operations"].values() for one in operation["messages"]]
    assert len(listed) == len(messages) == len(REQUESTS) + len(ANSWERS) + 1


def test_schemas_hold_the_fields_and_ranges_of_the_code() -> None:
    for name, kind in REQUESTS.items():
        found = schema.message_schema(name)
        assert set(found["properties"]) == {"type", "id", "traceparent"} | {slot.name for slot in slots(kind)}
        assert set(found["required"]) == {"type"} | {slot.name for slot in slots(kind) if slot.required}
        assert found["additionalProperties"] is False
    gain = schema.message_schema("mix")["properties"]["gain"]
    assert gain["anyOf"][0] == {"type": "number", "minimum": RANGES["gain"].least, "maximum": RANGES["gain"].most}


def fits(value: Any, wanted: dict[str, Any]) -> bool:
    """Does a value fit a schema, as far as these schemas go?"""
    if "anyOf" in wanted:
        return any(fits(value, one) for one in wanted["anyOf"])
    if "const" in wanted or "enum" in wanted:
        return value in wanted.get("enum", [wanted.get("const")])
    kinds = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}
    named = wanted["type"] if isinstance(wanted["type"], list) else [wanted["type"]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        if not any(name in kinds and isinstance(value, kinds[name]) for name in named):
            return False
    elif "number" not in named and not ("integer" in named and isinstance(value, int)):
        return False
    if isinstance(value, dict) and "properties" in wanted:
        known = wanted["properties"]
        return set(wanted["required"]) <= set(value) <= set(known) and all(fits(value[k], known[k]) for k in value)
    if isinstance(value, list):
        return all(fits(item, wanted["items"]) for item in value)
    return True


def test_what_a_server_says_fits_its_schema() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            opened = await one.ask("open", scene="low")
            for type, fields in (
                ("prompt", {"prompts": "high, ?nothing"}),
                ("mix", {"layer": 0, "gain": -3}),
                ("mix", {"layer": 9}),
                ("layer.add", {"prompts": "high", "layer": 3}),
                ("layer.remove", {"layer": 3, "ramp": 0}),
                ("scene.save", {"scene": "one"}),
                ("scene.recall", {"scene": "one", "morph": 1}),
                ("reanchor", {}),
                ("rewind", {"to": 0, "at": 20_000}),
                ("layer.remove", {"layer": 6, "at": 30_000}),
                ("ping", {"client_clock": 1.5}),
                ("state", {}),
                ("provenance", {"number": 1}),
                ("bogus", {}),
            ):
                await one.ask(type, **fields)
            await one.until(lambda text: text["type"] == "refused")
            async with SafaClient.connect(rig.url) as other:
                await other.join(opened["session"])
            await one.ask("close")
            seen = {text["type"] for text in one.texts}
            assert {"opened", "done", "error", "applied", "refused", "view", "scene.saved", "state", "pong"} <= seen
            for text in one.texts:
                assert fits(text, schema.message_schema(text["type"], request=False)), text

    run(test())
