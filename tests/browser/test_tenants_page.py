"""The page on a server with tenants: it comes back by the tenant's token, and a link to steer asks for one."""

from __future__ import annotations

from pathlib import Path

from safa_server.tenants.book import Revocation
from safa_server.tenants.book_file import revoke
from tests.browser.conftest import Opener
from tests.browser.rig import TOY, Wire, served, wait_for
from tests.server.tenants_rig import OPERATOR, Tenancy

CONNECTED = "document.getElementById('connection').textContent === 'Connected'"


def test_a_tenants_page_comes_back_and_hands_on_no_more_than_it_has(open_page: Opener, tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)
    token, id = tenancy.issued("a")
    with served(TOY, tmp_path, "--token", OPERATOR, "--tenants", str(tenancy.path)) as port:
        wire = Wire(port)
        host = open_page(f"http://127.0.0.1:{wire.port}/#token={token}", viewport={"width": 900, "height": 700})
        session = host.play()
        # The page's icon comes after all else; a browser complains of one that the cut takes away.
        host.page.wait_for_load_state("networkidle")
        host.cut = True
        wire.cut(0.5)
        host.until("document.getElementById('connection').textContent === 'Resuming'")
        host.until(CONNECTED)
        assert host.session()["session"] == session["session"]
        host.page.click("#share")
        link = host.page.input_value("#share-steer")
        host.page.keyboard.press("Escape")
        assert session["token"] in link and token not in link
        # The session's token alone lets nobody in; with one of the tenant's own beside it its holder steers.
        guest = open_page(link.replace(str(wire.port), str(port)), viewport={"width": 900, "height": 700})
        guest.page.click("#play")
        guest.page.wait_for_selector("#access", state="visible")
        guest.page.fill("#access-key", tenancy.token("a"))
        guest.page.keyboard.press("Enter")
        guest.until(CONNECTED)
        assert guest.session()["session"] == session["session"] and guest.session()["control"]
        # A revoked token ends the page's connection with a reason that people can read.
        revoke(tenancy.path, Revocation(id=id))
        wait_for(lambda: "the token was revoked" in host.page.inner_text("#notice"))
        guest.until(CONNECTED)
        wire.close()
