"""The OSC address space as OSCQuery describes it: a tree of JSON nodes, with the values that a session has now. Pure.

OSCQuery is a proposal by Vidvox: an HTTP GET of an address answers with its node, and with ?ATTRIBUTE with one of its
attributes. TYPE holds the arguments that must be given; OVERLOADS also those that can be left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from safa_server.osc_map import ROOT, Parameter, Row, address_table
from safa_stream.session.messages import LARGEST_LAYERS

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "RANGE", "DESCRIPTION", "VALUE", "OVERLOADS")
#: What a session's state calls the value of an address, of a layer and of the whole.
_OF_LAYER = {
    "prompt": "prompts",
    **{name: name for name in ("seed", "gain", "pan", "mute", "solo", "low", "high", "duck")},
}
_OF_ALL = {
    "freeze": "frozen",
    "steps": "steps",
    "guidance": "guidance",
    "reference_ratio": "reference_ratio",
    "hops": "hops",
}
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its status and a JSON body, empty where there is nothing to tell."""

    status: int
    body: str = ""


def answer(target: str, state: Mapping[str, Any] | None, root: str, host_info: Node) -> Answer:
    """What a GET of an address is answered with.

    target: path and query as they came; state: of the session that `root` stands for, None while there is none.
    """
    path, _, query = target.partition("?")
    if query == "HOST_INFO":
        return Answer(200, json.dumps(host_info))
    node = find(unquote(path), state, root)
    if node is None:
        return Answer(404)
    if not query:
        return Answer(200, json.dumps(node, ensure_ascii=False))
    if query not in ATTRIBUTES:
        return Answer(400)
    if query not in node:
        return Answer(204)
    return Answer(200, json.dumps({query: node[query]}, ensure_ascii=False))


def find(path: str, state: Mapping[str, Any] | None, root: str = ROOT) -> Node | None:
    """The node of an address, with all below it; None where there is none."""
    node = tree(state, root)
    for part in path.strip("/").split("/"):
        if part:
            node = node.get("CONTENTS", {}).get(part)
            if node is None:
                return None
    return node


def tree(state: Mapping[str, Any] | None, root: str = ROOT) -> Node:
    """All addresses. root: /safa, or /safa/session/ID for a session that is not the default one."""
    top: Node = {"FULL_PATH": "/", "DESCRIPTION": "safa-stream", "ACCESS": 0, "CONTENTS": {}}
    for row in address_table():
        if row.direction == "out" and not row.address.endswith("/status"):
            continue
        for layer in range(LARGEST_LAYERS) if "/N/" in row.address else (None,):
            address = root + row.address.removeprefix(ROOT).replace("/N/", f"/{layer}/")
            _put(top, address, _leaf(row, address, value_of(address.removeprefix(root), state)))
    return top


def value_of(leaf: str, state: Mapping[str, Any] | None) -> list[Any] | None:
    """The values that an address has, such as [-6.0] for "/layer/1/gain"; None for what only can be told."""
    if state is None:
        return None
    parts = leaf.strip("/").split("/")
    if parts == ["status"]:
        return _status(state)
    match parts:
        case ["layer", number, name] if name in _OF_LAYER:
            return _layer_value(state, number, _OF_LAYER[name])
        case ["master", name] if name in state["master"]:
            return [state["master"][name]]
        case [name] if name in _OF_ALL:
            return [state[_OF_ALL[name]]]
        case ["tempo"]:
            return [state["tempo"]["bpm"]]
        case ["prompt" | "seed" as name]:
            return _layer_value(state, "0", _OF_LAYER[name])
    return None


def _layer_value(state: Mapping[str, Any], number: str, name: str) -> list[Any] | None:
    return next(([layer[name]] for layer in state["layers"] if str(layer["layer"]) == number), None)


def _status(state: Mapping[str, Any]) -> list[Any]:
    rate = state["rate"]
    seconds, samples = divmod(state["position"], rate)
    return [state["session"], seconds, samples, int(state["playing"]), state["ready"] / rate, len(state["layers"])]


def _put(top: Node, address: str, leaf: Node) -> None:
    """Hang a node into the tree, with the containers that lead to it."""
    node, path = top, ""
    *containers, name = address.strip("/").split("/")
    for part in containers:
        path += f"/{part}"
        contents = node.setdefault("CONTENTS", {})
        node = contents.setdefault(part, {"FULL_PATH": path, "ACCESS": 0})
    node.setdefault("CONTENTS", {}).setdefault(name, {}).update(leaf)


def _leaf(row: Row, address: str, value: list[Any] | None) -> Node:
    known = [p for p in row.parameters if p.tag != "*"]
    needed = [p for p in known if p.required]
    readable, writable = value is not None, row.direction == "in"
    node: Node = {
        "FULL_PATH": address,
        "DESCRIPTION": row.meaning,
        "ACCESS": (1 if readable else 0) | (2 if writable else 0),
        **_arguments(needed),
    }
    longer = [known[:count] for count in range(len(needed) + 1, len(known) + 1)]
    if longer:
        node["OVERLOADS"] = [_arguments(parameters) for parameters in longer]
    if value is not None:
        node["VALUE"] = value
    return node


def _arguments(parameters: Sequence[Parameter]) -> Node:
    if not parameters:
        return {"TYPE": "N"}
    ranges = [
        {} if p.limits is None or p.tag == "s" else {"MIN": p.limits.least, "MAX": p.limits.most} for p in parameters
    ]
    return {"TYPE": "".join(p.tag for p in parameters), "RANGE": ranges}
