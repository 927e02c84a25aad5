"""Max and Max for Live: neither can be run here, so their patch files are checked for being whole and right."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from safa_server.osc_map import address_table
from safa_server.osc_packet import Argument
from tests.clients.addresses import likely, refused
from tests.clients.programs import ROOT
from tests.clients.proofs import Proof, Proofs

PATCHES = {
    "Max": ROOT / "examples/max/safa-stream.maxpat",
    "Ableton Live (Max for Live)": ROOT / "examples/ableton/safa-stream.maxpat",
}
#: Inlets and outlets of objects that are in the patches, where they do not follow from arguments.
SHAPES = {
    "udpsend": (1, 0),
    "udpreceive": (1, 1),
    "prepend": (1, 1),
    "loadbang": (1, 1),
    "metro": (2, 1),
    "adc~": (1, 2),
    "dac~": (2, 0),
    "plugin~": (2, 2),
    "plugout~": (2, 2),
    "message": (2, 1),
    "comment": (1, 0),
    "textedit": (1, 4),
    "number": (1, 2),
    "flonum": (1, 2),
    "toggle": (1, 1),
    "live.dial": (1, 2),
    "live.toggle": (1, 1),
    "live.gain~": (2, 5),
}


def shape(box: dict[str, Any]) -> tuple[int, int]:
    """Inlets and outlets that Max gives a box."""
    if box["maxclass"] != "newobj":
        return SHAPES[box["maxclass"]]
    name, *arguments = box["text"].split()
    if name == "route":
        return len(arguments) + 1, len(arguments) + 1
    return (1, len(arguments)) if name == "unpack" else SHAPES[name]


def value(word: str) -> Argument:
    """A word of a message as Max sends it: whole numbers, numbers, texts."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


@pytest.fixture(params=PATCHES)
def patch(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    path: Path = PATCHES[request.param]
    found: dict[str, Any] = json.loads(path.read_text())["patcher"]
    return request.param, found


def test_every_cord_has_its_ends_and_every_address_is_the_servers(
    patch: tuple[str, dict[str, Any]], proofs: Proofs
) -> None:
    tool, patcher = patch
    boxes = {entry["box"]["id"]: entry["box"] for entry in patcher["boxes"]}
    assert len(boxes) == len(patcher["boxes"]), "ids are there twice"
    for box in boxes.values():
        assert (box["numinlets"], box["numoutlets"]) == shape(box), box
        assert len(box.get("outlettype", [])) == box["numoutlets"], box
    joined = set()
    for entry in patcher["lines"]:
        (source, outlet), (destination, inlet) = entry["patchline"]["source"], entry["patchline"]["destination"]
        assert 0 <= outlet < boxes[source]["numoutlets"], entry
        assert 0 <= inlet < boxes[destination]["numinlets"], entry
        joined |= {source, destination}
    alone = [box for key, box in boxes.items() if key not in joined and box["maxclass"] != "comment"]
    assert not alone, f"nothing is connected to {alone}"

    said = 0
    for box in boxes.values():
        words = shlex.split(box.get("text", "")) if box["maxclass"] in ("message", "newobj") else []
        if box["maxclass"] == "message" and words and words[0].startswith("/"):
            reason = refused(words[0], [value(word) for word in words[1:]])
        elif words[:1] == ["prepend"] and words[1].startswith("/"):
            reason = refused(words[1], likely(words[1]))
        else:
            continue
        assert reason is None, f"{box['text']}: {reason}"
        said += 1
    assert said > 20
    answers = {row.address for row in address_table() if row.direction == "out"}
    routes = [box["text"].split()[1:] for box in boxes.values() if box.get("text", "").startswith("route /")]
    assert routes and all(set(route) <= answers for route in routes)
    parameters = [box["varname"] for box in boxes.values() if box.get("parameter_enable")]
    assert len(parameters) == len(set(parameters))
    compared = "patch file: every cord has its ends, the server takes every message"
    proofs.tell(Proof(tool, compared, "", not_run="all of it: the program needs a licence and a screen"))


def test_what_is_wrong_is_found() -> None:
    assert refused("/safa/layer/0/gain", [-6.0, 0.5]) is None
    assert "from -90 to 24" in str(refused("/safa/layer/0/gain", [99.0]))
    assert "no such address" in str(refused("/safa/layer/0/loudness", [1.0]))
    assert likely("/safa/layer/1/prompt") == ["rain"] and likely("/safa/nothing") == []
