"""One browser and one server of each kind for all browser tests; watched pages for who asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.browser import rig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, WebSocket

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Not as root it could keep its sandbox; these tests open their own server's page only."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("no Playwright for the page's tests: pip install playwright==1.65.2", pytrace=False)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=rig.chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def toy_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with the toy model, for tests about controls."""
    with rig.served(rig.TOY, tmp_path_factory.mktemp("toy")) as port:
        yield port


@pytest.fixture(scope="session")
def live_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`safa-stream serve`, with the model that ships."""
    with rig.served(rig.LIVE, tmp_path_factory.mktemp("live")) as port:
        yield port


class Watched:
    """A page with what it must not do, and what it told the server."""

    def __init__(self, context: BrowserContext, address: str, tapped: bool) -> None:
        self.address = address
        self.complaints: list[str] = []
        #: Whether the test cuts connections: then the browser may say itself that some were refused.
        self.cut = False
        self.hosts: set[str] = set()
        self.sent: list[str] = []
        if tapped:
            context.add_init_script(path=HERE / "tap.js")
        self.page: Page = context.new_page()
        self.page.set_default_timeout(1000 * rig.PATIENCE)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("websocket", self._watch)
        self.page.goto(address)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _watch(self, socket: WebSocket) -> None:
        self.hosts.add(urlsplit(socket.url).netloc)
        socket.on("framesent", lambda payload: self.sent.append(str(payload)))

    def session(self) -> dict[str, str]:
        """Id and token of the session that this tab keeps."""
        kept: dict[str, str] = self.page.evaluate("JSON.parse(sessionStorage.getItem('safa.session'))")
        return kept

    def play(self) -> dict[str, str]:
        """Press Play and wait until sound is played; the session."""
        self.page.click("#play")
        self.until("document.querySelector('#output-meter .peak').textContent !== 'silent'")
        return self.session()

    def until(self, condition: str, seconds: float = rig.PATIENCE) -> None:
        """Wait until a JavaScript expression is true; Playwright's own way needs `eval`, which the page forbids."""
        rig.wait_for(lambda: self.page.evaluate(condition), seconds)


Opener = Callable[..., Watched]


def hold_to_account(watched: Watched) -> None:
    """The page complained of nothing and asked no other host for anything."""
    assert [text for text in watched.complaints if not (watched.cut and "WebSocket connection to" in text)] == []
    assert watched.hosts == {urlsplit(watched.address).netloc}


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Opens pages; at the end they are held to have complained of nothing and to have asked no other host."""
    with ExitStack() as stack:
        pages: list[Watched] = []

        def opener(address: str, tapped: bool = False, **settings: Any) -> Watched:
            context = browser.new_context(**settings)
            stack.callback(context.close)
            pages.append(Watched(context, address, tapped))
            return pages[-1]

        yield opener
        for watched in pages:
            hold_to_account(watched)


@pytest.fixture(scope="module")
def still_page(browser: Browser, toy_port: int) -> Iterator[Page]:
    """A page that is not played, for tests of its parts."""
    with browser.new_context() as context:
        watched = Watched(context, f"http://127.0.0.1:{toy_port}/", tapped=False)
        yield watched.page
        hold_to_account(watched)


class Desk:
    """A page that plays a session, and a second client that sees what the server makes of it."""

    def __init__(self, watched: Watched, witness: rig.Witness) -> None:
        self.watched, self.witness, self.page = watched, witness, watched.page

    def last(self, kind: str) -> dict[str, Any]:
        """The last message of a type that the page sent, without its id."""
        # What was sent since the last call comes in with the next one.
        self.page.evaluate("0")
        told = [json.loads(text) for text in self.watched.sent]
        return {
            name: value
            for name, value in [m for m in told if m["type"] == kind][-1].items()
            if name not in ("id", "type")
        }

    def sent(self, kind: str, **fields: Any) -> None:
        """Wait until the page's last message of a type says just this."""

        def met() -> bool:
            self.page.evaluate("0")  # Playwright hands its events on during calls only
            return any(json.loads(text)["type"] == kind for text in self.watched.sent) and self.last(kind) == fields

        try:
            rig.wait_for(met)
        except AssertionError:
            raise AssertionError(f"the page said {self.last(kind)}, not {fields}") from None

    def press(self, target: str | Locator, *keys: str) -> None:
        """Keys on a control."""
        control = self.page.locator(target) if isinstance(target, str) else target
        for key in keys:
            control.press(key)

    def fader(self, name: str) -> Locator:
        return self.page.get_by_role("slider", name=name, exact=True)

    def strip(self, layer: int | str) -> Locator:
        return self.page.locator(f'[data-layer="{layer}"]')

    def becomes(self, **values: Any) -> None:
        """Wait until layer 0 of the server's state has these values."""
        rig.wait_for(lambda: all(self.witness.layer()[name] == value for name, value in values.items()))

    def texts(self) -> list[str]:
        texts: list[str] = self.page.eval_on_selector_all(
            "#pads input[type=text]", "all => all.map((one) => one.value)"
        )
        return texts

    def weights(self) -> list[float]:
        weights: list[float] = self.page.eval_on_selector_all(
            "#pads input[type=range]", "all => all.map((one) => Number(one.value))"
        )
        return weights


@pytest.fixture(scope="module")
def desk(browser: Browser, toy_port: int) -> Iterator[Desk]:
    """One session for all of this file, in its order: a page is costly to open."""
    with browser.new_context(viewport={"width": 900, "height": 700}) as context:
        watched = Watched(context, f"http://127.0.0.1:{toy_port}/", tapped=False)
        session = watched.play()
        witness = rig.Witness(toy_port, session["session"], session["token"])
        yield Desk(watched, witness)
        hold_to_account(watched)
        witness.end()
