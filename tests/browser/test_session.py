"""A session as a visitor meets it: shared, found again, guarded, taken away as a loop, and steered by keys alone."""

from __future__ import annotations

import wave
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.browser.conftest import Desk, Opener
from tests.browser.rig import TOY, Witness, served, wait_for

RATE = 48_000


def test_a_shared_link_listens_and_does_not_steer(desk: Desk, open_page: Opener) -> None:
    desk.page.click("#share")
    link = desk.page.input_value("#share-link")
    assert urlsplit(link).query == "" and desk.watched.session()["token"] not in link
    steering = dict(parse_qsl(urlsplit(desk.page.input_value("#share-steer")).fragment))
    kept = desk.watched.session()
    assert steering == {"session": kept["session"], "token": kept["token"], "control": "1"}
    desk.press("#share-dialog", "Escape")
    other = open_page(link, viewport={"width": 360, "height": 700})
    other.play()
    assert other.page.inner_text("#connection") == "Listening" and "#" not in other.page.url
    assert other.page.locator("#strips button:enabled").count() == 0 and other.page.is_disabled("#pad-text")
    assert other.page.is_hidden("#mixer-card") and other.page.is_hidden("#prompts")
    position = desk.witness.state()["position"]
    other.page.click("#play")
    assert desk.witness.state()["playing"] is True and desk.witness.state()["position"] >= position
    other.page.close()


def test_a_reloaded_page_finds_its_session_again(desk: Desk) -> None:
    before = desk.watched.session()["session"]
    desk.witness.ask("prompt", prompts="surf, gulls:0.3", morph=0)
    desk.page.reload()
    assert desk.watched.play()["session"] == before
    wait_for(lambda: desk.texts() == ["surf", "gulls"])
    assert desk.last("join")["control"] is True and "from" not in desk.last("join")


def test_a_loop_is_captured_and_downloaded(desk: Desk, tmp_path: Path) -> None:
    wait_for(lambda: desk.witness.state()["position"] > 10 * RATE)
    desk.page.fill("#loop-seconds", "8")
    desk.press("#loop-seconds", "Enter")
    button = desk.page.get_by_role("button", name="Download loop-")
    button.wait_for()
    with desk.page.expect_download() as download:
        button.click()
    download.value.save_as(tmp_path / "loop.wav")
    assert (tmp_path / "loop.wav").read_bytes()[:4] == b"RIFF"
    with pytest.raises(wave.Error, match="unknown format: 3"):  # 32-bit floats, which this reader does not know
        wave.open(str(tmp_path / "loop.wav"))
    assert abs((tmp_path / "loop.wav").stat().st_size / (8 * RATE) - 8) < 0.2


def test_a_guarded_server_is_asked_with_its_token(open_page: Opener, tmp_path: Path) -> None:
    token = "a-long-enough-token"
    with served(TOY, tmp_path, "--token", token) as port:
        watched = open_page(f"http://127.0.0.1:{port}/", viewport={"width": 900, "height": 700})
        page = watched.page
        page.click("#play")
        page.wait_for_selector("#access", state="visible")
        page.keyboard.type("not-the-token")
        page.keyboard.press("Enter")
        # It is refused again, sooner than one may see that the form was away.
        wait_for(lambda: page.evaluate("0") == 0 and any("not-the-token" in text for text in watched.sent))
        watched.until("document.getElementById('connection').textContent === 'Disconnected'")
        page.wait_for_selector("#access", state="visible")
        page.fill("#access-key", token)
        page.keyboard.press("Enter")
        watched.until("document.getElementById('connection').textContent === 'Connected'")
        page.wait_for_selector("#access", state="hidden")
        page.click("#share")
        assert page.inner_text("#share-hint").endswith("the secret in this link could steer as well.")
        guest = open_page(page.input_value("#share-link"), viewport={"width": 360, "height": 700})
        guest.page.click("#play")
        guest.until("document.getElementById('connection').textContent === 'Listening'")
        guest.page.close()
        page.close()
        told = open_page(f"http://127.0.0.1:{port}/#token={token}", viewport={"width": 360, "height": 700})
        told.page.click("#play")
        told.until("document.getElementById('connection').textContent === 'Connected'")
        assert token not in told.page.url


def test_keys_alone_are_enough(open_page: Opener, toy_port: int) -> None:
    watched = open_page(f"http://127.0.0.1:{toy_port}/", viewport={"width": 900, "height": 700})
    page = watched.page

    def focus(name: str, most: int = 40) -> None:
        """Tab on until a control with this id or name has the focus, and see that it shows."""
        for _ in range(most):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "[document.activeElement.id, document.activeElement.getAttribute('aria-label') ?? '']"
            )
            if name in found:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"{name} cannot be reached with Tab")

    focus("play", 4)
    page.keyboard.press("Enter")
    watched.until("document.getElementById('play').textContent === 'Pause'")
    session = watched.session()
    witness = Witness(toy_port, session["session"], session["token"])
    focus("freeze")
    page.keyboard.press("Space")
    wait_for(lambda: witness.state()["frozen"] is True)
    page.keyboard.press("Space")
    wait_for(lambda: witness.state()["frozen"] is False)
    focus("Prompt 1")
    page.keyboard.press("Control+A")
    page.keyboard.type("surf")
    page.keyboard.press("Enter")
    wait_for(lambda: witness.layer()["prompts"].startswith("surf,"))
    focus("surface")
    page.keyboard.press("1")
    wait_for(lambda: witness.layer()["prompts"] == "surf")
    focus("Gain, Layer 1")
    page.keyboard.press("ArrowLeft")
    wait_for(lambda: witness.layer()["gain"] == -0.5)
    focus("Mute layer 1")
    page.keyboard.press("Space")
    wait_for(lambda: witness.layer()["mute"] is True)
    focus("scene-name")
    page.keyboard.type("One")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Recall One").wait_for()
    focus("Recall One")
    witness.end()
    # The session ended under the page: it says so, and Play would begin another.
    watched.until("document.getElementById('connection').textContent === 'Disconnected'")
    assert page.inner_text("#notice-text").endswith("Play begins a new session.") and page.inner_text("#play") == "Play"
