"""A link that only listens: the page is a player, and nothing in it could steer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.browser.conftest import Opener, Watched
from tests.browser.rig import TOY, Witness, served, wait_for

TOKEN, LISTEN = "a-long-enough-token", "only-for-the-ears"
CONTROLS = "button, input, select, textarea, summary, a[href], [tabindex]:not([tabindex='-1'])"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A guarded server with a listen token."""
    with served(TOY, tmp_path_factory.mktemp("guarded"), "--token", TOKEN, "--listen-token", LISTEN) as port:
        yield port


def shared(watched: Watched, field: str) -> dict[str, str]:
    """What a link of the page's dialog says."""
    return dict(parse_qsl(urlsplit(watched.page.input_value(field)).fragment))


def reachable(watched: Watched) -> set[str]:
    """Ids (or words) of all that Tab comes to."""
    found = set[str]()
    for _ in range(60):
        watched.page.keyboard.press("Tab")
        one = watched.page.evaluate(
            "(({ id, tagName, textContent }) => [id, tagName, textContent.trim()])(document.activeElement)"
        )
        if one[1] == "BODY":
            break
        found.add(one[0] or one[2])
    return found


def test_a_guest_hears_and_has_nothing_to_steer_with(port: int, open_page: Opener) -> None:
    host = open_page(f"http://127.0.0.1:{port}/#token={TOKEN}", viewport={"width": 900, "height": 700})
    session = host.play()
    host.page.click("#share")
    listen, steer = shared(host, "#share-link"), shared(host, "#share-steer")
    assert listen == {"session": session["session"], "token": LISTEN}
    assert steer == {"session": session["session"], "token": session["token"], "control": "1"}
    assert host.page.inner_text("#share-hint") == "Whoever has this link hears what you hear."
    link = host.page.input_value("#share-link")
    host.page.keyboard.press("Escape")

    guest = open_page(link, viewport={"width": 900, "height": 700})
    page = guest.page
    # It is a player before it is played, too.
    wait_for(lambda: page.is_hidden("#prompts"))
    assert page.is_visible("#play") and "only listens" in page.inner_text("#listening-text")
    guest.play()
    assert page.inner_text("#connection") == "Listening"
    wait_for(lambda: page.inner_text("#heard").startswith("rain on a tent"))
    # Not for the keyboard, not for screen readers, not for scripts that look for what is enabled.
    assert reachable(guest) <= {"share", "play", "Buffer"}
    names = page.locator("body").aria_snapshot()
    assert "only listens" in names
    for word in ("Freeze", "Rewind", "Prompt", "Mixer", "Mute", "Add layer", "Save", "Capture", "Skip to", "Steer"):
        assert word not in names, word
    shown = page.eval_on_selector_all(
        CONTROLS, "all => all.filter((one) => one.checkVisibility()).map((one) => one.id || one.textContent.trim())"
    )
    assert set(shown) == {"share", "play", "Buffer"}
    assert page.locator("fieldset:enabled").count() == 0 and page.locator("fieldset:disabled").count() == 6

    # What the page says is what a listener may say, and what it keeps and hands on holds no secret that steers.
    page.click("#play")
    page.click("#play")
    page.evaluate("0")
    assert {json.loads(text)["type"] for text in guest.sent} <= {"join", "state", "ping", "ack"}
    page.click("#share")
    assert shared(guest, "#share-link") == listen and page.is_hidden("#share-steer")
    assert page.input_value("#share-steer") == ""
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}]) + document.body.outerHTML")
    assert session["token"] not in kept and TOKEN not in kept
    page.keyboard.press("Escape")

    # The same page, called up again, is the same player.
    page.reload()
    guest.play()
    assert page.inner_text("#connection") == "Listening" and page.is_hidden("#mixer-card")

    # When the session ends, it does not turn into something that steers.
    Witness(port, session["session"], session["token"]).end()
    guest.until("document.getElementById('connection').textContent === 'Disconnected'")
    assert page.inner_text("#notice-text").endswith("Play tries again.") and page.is_hidden("#prompts")
    page.click("#play")
    wait_for(lambda: page.inner_text("#notice-text").startswith("there is no session"))
    wait_for(lambda: page.inner_text("#play") == "Play")
    assert page.is_hidden("#prompts")


def test_what_was_typed_in_is_not_handed_on(port: int, open_page: Opener) -> None:
    host = open_page(f"http://127.0.0.1:{port}/#token={TOKEN}", viewport={"width": 900, "height": 700})
    session = host.play()
    guest = open_page(f"http://127.0.0.1:{port}/#session={session['session']}", viewport={"width": 360, "height": 700})
    guest.page.click("#play")
    guest.page.wait_for_selector("#access", state="visible")
    guest.page.fill("#access-key", TOKEN)
    guest.page.keyboard.press("Enter")
    guest.until("document.getElementById('connection').textContent === 'Listening'")
    guest.page.click("#share")
    assert shared(guest, "#share-link") == {"session": session["session"], "token": LISTEN}
    Witness(port, session["session"], session["token"]).end()


def test_the_listen_token_alone_begins_nothing(port: int, open_page: Opener) -> None:
    watched = open_page(f"http://127.0.0.1:{port}/#token={LISTEN}", viewport={"width": 360, "height": 700})
    watched.page.click("#play")
    wait_for(lambda: "this token only listens" in watched.page.inner_text("#notice-text"))
    wait_for(lambda: watched.page.inner_text("#play") == "Play")
