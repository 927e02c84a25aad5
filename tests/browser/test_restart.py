"""A server that is killed under the page and started again: the page comes back by itself, and so does the sound."""

from __future__ import annotations

import time
from pathlib import Path

from tests.browser.conftest import Opener, Watched
from tests.browser.rig import LIVE, Witness, started, wait_for
from tests.browser.test_sound import heard_until

#: How long the server keeps a session that nobody hears. It is away for longer than that.
KEPT = 7.0
TOKEN, LISTEN = "a-long-enough-token", "only-for-the-ears"
SILENT = "document.querySelector('#output-meter .peak').textContent === 'silent'"


def second(watched: Watched) -> int:
    """The second of the session that the page has come to."""
    minutes, seconds = watched.page.inner_text("#clock").split(":")
    return 60 * int(minutes) + int(seconds)


def test_the_page_goes_on_when_its_server_was_killed_and_started_again(open_page: Opener, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[limits]\nresume_seconds = {KEPT}\n")
    flags = ("--token", TOKEN, "--listen-token", LISTEN, "--state", str(tmp_path / "state"), "--config", str(settings))
    with started(LIVE, tmp_path, *flags) as server:
        port = server.port
        host = open_page(f"http://127.0.0.1:{port}/#token={TOKEN}", viewport={"width": 900, "height": 700})
        session = host.play()
        host.page.click("#share")
        guest = open_page(host.page.input_value("#share-link"), viewport={"width": 360, "height": 700})
        host.page.keyboard.press("Escape")
        guest.play()
        witness = Witness(port, session["session"], session["token"])
        witness.ask("mix", layer=0, gain=-3)
        for watched in (host, guest):
            watched.until(heard_until(4))
            watched.cut = True
        server.kill()
        killed = time.monotonic()
        before = second(host)
        for watched in (host, guest):
            watched.until("document.getElementById('connection').textContent === 'Resuming'")
            watched.until(SILENT)
    time.sleep(max(0.0, killed + KEPT + 2 - time.monotonic()))
    with started(LIVE, tmp_path, *flags, "--port", str(port), "--restore") as server:
        assert server.port == port
        host.until("document.getElementById('connection').textContent === 'Connected'")
        guest.until("document.getElementById('connection').textContent === 'Listening'")
        for watched in (host, guest):
            watched.until(f"!({SILENT})")
            # It goes on where it was, and sounds for longer than any buffer lasts.
            assert second(watched) >= before - 1
            watched.until(heard_until(second(watched) + 3))
            assert watched.page.evaluate(f"!({SILENT})") and watched.page.is_hidden("#notice")
        # The same session, as it was, and it is steered as before.
        assert host.session()["session"] == session["session"]
        witness = Witness(port, session["session"], session["token"])
        assert witness.layer()["gain"] == -3 and len(witness.state()["listeners"]) == 3
        host.page.get_by_role("button", name="Mute layer 1").click()
        wait_for(lambda: witness.layer()["mute"] is True)
        witness.end()
