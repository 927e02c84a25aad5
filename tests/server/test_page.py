"""The page's files: served by the real server, strict about where they load from, readable in both colour schemes."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest

import safa_server
from safa_server.http import Http, HttpRequest, HttpResponse
from safa_server.metrics import Registry
from safa_server.runner import Runner
from safa_server.security import Security
from safa_server.stations import Stations
from tests.toy import ToyModel

WEB = Path(safa_server.__file__).parent / "web"
FILES = sorted(path.name for path in WEB.iterdir())
HTML = (WEB / "index.html").read_text()
CSS = (WEB / "theme.css").read_text()


def get(path: str) -> HttpResponse:
    """What the server answers; its sessions are never asked for."""
    http = Http(Stations(Runner(ToyModel())), Security(), Registry(), WEB, lambda: None, dict)
    return http.respond(HttpRequest("GET", path))


class TestFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_every_file_is_served_as_what_it_is(self, name: str) -> None:
        response = get(f"/{name}")
        kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        assert response.status is HTTPStatus.OK
        assert response.content_type.startswith(kinds[Path(name).suffix])
        assert response.body == (WEB / name).read_bytes()

    def test_the_page_is_at_the_root(self) -> None:
        assert get("/").body == (WEB / "index.html").read_bytes()

    def test_all_that_the_page_names_is_there_and_nothing_else_is_shipped(self) -> None:
        named = set(re.findall(r'(?:href|src)="([^"#]+)"', HTML)) | {"worklet.js", "index.html"}
        for script in WEB.glob("*.js"):
            named |= {found for found in re.findall(r'from "\./([^"]+)"', script.read_text())}
        assert named == set(FILES)

    def test_the_client_is_short_and_depends_on_nothing(self) -> None:
        text = (WEB / "safa.js").read_text()
        assert text.count("\n") < 200
        assert "import " not in text and "document" not in text and "window" not in text


class TestPolicy:
    """Content-Security-Policy of the document itself, whatever the server adds."""

    POLICY = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"', HTML)

    def test_it_allows_its_own_server_only(self) -> None:
        assert self.POLICY is not None
        rules = dict(rule.strip().split(" ", 1) for rule in self.POLICY[1].split(";"))
        assert rules["default-src"] == "'none'"
        assert set(rules.values()) == {"'none'", "'self'"}
        assert {"script-src", "style-src", "connect-src", "base-uri", "form-action"} <= set(rules)

    def test_nothing_is_inline(self) -> None:
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", HTML)
        assert all("src=" in script for script in re.findall(r"<script[^>]*>", HTML))

    @pytest.mark.parametrize("name", FILES)
    def test_no_file_names_another_host(self, name: str) -> None:
        text = (WEB / name).read_text().replace("http://www.w3.org/2000/svg", "").replace("ws://127.0.0.1:8765/ws", "")
        assert not re.search(r"(https?|wss?)://[a-z0-9.]", text)

    def test_scripts_make_no_code_of_texts(self) -> None:
        for script in WEB.glob("*.js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write", script.read_text()
            )


class TestNames:
    """Every control says what it is; what is hidden behind scripts is tested in tests/browser."""

    def test_every_field_has_a_label(self) -> None:
        fields = re.findall(r"<(?:input|select)[^>]*?\sid=\"([^\"]+)\"", HTML)
        labelled = set(re.findall(r'<label[^>]*for="([^"]+)"', HTML))
        wrapped = set(re.findall(r'<label[^>]*><input id="([^"]+)"', HTML))
        assert fields and set(fields) <= labelled | wrapped

    def test_sections_are_named_by_headings(self) -> None:
        ids = set(re.findall(r'\sid="([^"]+)"', HTML))
        for attribute in ("aria-labelledby", "aria-describedby", "for"):
            assert set(re.findall(rf'{attribute}="([^"]+)"', HTML)) <= ids
        assert len(re.findall(r"<section", HTML)) == len(re.findall(r"<section[^>]*aria-labelledby", HTML))

    def test_scripts_find_what_they_look_for(self) -> None:
        ids = set(re.findall(r'\sid="([^"]+)"', HTML))
        for script in WEB.glob("*.js"):
            assert set(re.findall(r'byId\("([^"]+)"\)', script.read_text())) <= ids, script.name


def colours(css: str) -> dict[str, tuple[float, float, float]]:
    """--name: #rrggbb of a block as linear light."""

    def linear(digits: str) -> float:
        share = int(digits, 16) / 255
        return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)

    found = re.findall(r"--([a-z-]+): #([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2});", css)
    return {name: (linear(red), linear(green), linear(blue)) for name, red, green, blue in found}


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """WCAG 2: the ratio of two colours' relative luminances."""
    light, dark = sorted((0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


LIGHT, DARK = (colours(part) for part in CSS.split("@media (prefers-color-scheme: dark)", 1))
DARK = {name: DARK[name] for name in LIGHT}


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
class TestContrast:
    @pytest.mark.parametrize(
        ("text", "ground"),
        [
            ("ink", "page"), ("ink", "card"), ("ink", "sunk"), ("ink", "tint"), ("ink", "bad-tint"), ("soft", "page"),
            ("soft", "card"), ("soft", "sunk"), ("soft", "bad-tint"), ("accent", "sunk"), ("on-accent", "accent"),
            ("on-accent", "accent-strong"), ("bad", "card"),
        ],
    )  # fmt: skip
    def test_text_can_be_read(self, scheme: dict[str, tuple[float, float, float]], text: str, ground: str) -> None:
        assert contrast(scheme[text], scheme[ground]) >= 4.5

    @pytest.mark.parametrize(
        ("edge", "ground"),
        [
            ("edge", "card"),
            ("edge", "sunk"),
            ("accent", "card"),
            ("accent", "sunk"),
            ("accent", "page"),
            ("accent", "edge"),
        ],
    )
    def test_controls_can_be_seen(self, scheme: dict[str, tuple[float, float, float]], edge: str, ground: str) -> None:
        # A slider's filled part beside its empty part is told by the thumb's place as well.
        assert contrast(scheme[edge], scheme[ground]) >= (1.3 if ground == "edge" else 3.0)
