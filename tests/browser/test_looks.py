"""The page as it is seen: pictures in every scheme and size, and what can be said of them without eyes.

The pictures go to SAFA_SCREENSHOTS, or to pytest's own folder; look at them when the page changes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Opener
from tests.browser.rig import Witness

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

SIZES: dict[str, ViewportSize] = {
    "desktop": {"width": 1280, "height": 800},
    "tablet": {"width": 760, "height": 900},
    "phone": {"width": 360, "height": 740},
}

HERE = Path(__file__).parent
SMALLEST = 24  # pixels, WCAG 2.2's target size


def faults(page: Page) -> list[str]:
    """What sticks out of the page, is too small to touch, or has no name."""
    found: list[str] = page.evaluate((HERE / "misfits.js").read_text(), SMALLEST)
    return found + list(page.evaluate((HERE / "nameless.js").read_text()))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("SAFA_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def take(page: Page, file: Path) -> None:
    """A picture of the whole page, which must not be of one colour."""
    page.screenshot(path=file, full_page=True)
    assert file.stat().st_size > 10_000


def test_light_and_dark_desktop_and_phone(live_port: int, open_page: Opener, pictures: Path) -> None:
    watched = open_page(f"http://127.0.0.1:{live_port}/", viewport=SIZES["desktop"], color_scheme="light")
    page = watched.page
    take(page, pictures / "idle.png")
    assert faults(page) == []
    session = watched.play()
    witness = Witness(live_port, session["session"], session["token"])
    page.fill("#scene-name", "Night on the moor")
    page.press("#scene-name", "Enter")
    page.get_by_role("button", name="Recall Night on the moor").wait_for()
    page.wait_for_timeout(3000)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for device, size in SIZES.items():
            page.set_viewport_size(size)
            page.wait_for_timeout(600)
            take(page, pictures / f"{device}-{scheme}.png")
            assert faults(page) == []
    page.locator('[data-layer="0"] summary').click()
    page.locator(".settings summary").click()
    assert faults(page) == []
    page.click("#share")
    page.screenshot(path=pictures / "share.png")
    assert faults(page) == []
    witness.end()
    watched.until("!document.getElementById('notice').hidden")
    page.screenshot(path=pictures / "notice.png")


def test_the_player_of_who_only_listens(toy_port: int, open_page: Opener, pictures: Path) -> None:
    host = open_page(f"http://127.0.0.1:{toy_port}/", viewport=SIZES["tablet"])
    session = host.play()
    host.page.click("#share")
    page = open_page(host.page.input_value("#share-link"), viewport=SIZES["desktop"]).page
    page.click("#play")
    page.wait_for_timeout(2000)
    for device, scheme in (("desktop", "light"), ("phone", "dark")):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size(SIZES[device])
        page.wait_for_timeout(600)
        take(page, pictures / f"listening-{device}-{scheme}.png")
        assert faults(page) == []
    page.click("#share")
    page.screenshot(path=pictures / "listening-share.png")
    assert faults(page) == []
    Witness(toy_port, session["session"], session["token"]).end()


def test_less_motion_where_it_is_asked_for(toy_port: int, open_page: Opener) -> None:
    watched = open_page(f"http://127.0.0.1:{toy_port}/", viewport=SIZES["phone"], reduced_motion="reduce")
    page = watched.page
    session = watched.play()
    assert page.evaluate("getComputedStyle(document.getElementById('play')).transitionDuration") == "0s"
    # The picture does not scroll: its left edge, once drawn, stays as it is.
    left = """() => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 20, height: 100 });
        const copy = canvas.getContext("2d", { willReadFrequently: true });
        copy.drawImage(document.getElementById("spectrogram"), 0, 0);
        return Array.from(copy.getImageData(0, 0, 20, 100).data).join();
    }"""
    page.wait_for_timeout(1500)
    before = page.evaluate(left)
    page.wait_for_timeout(700)
    assert page.evaluate(left) == before
    Witness(toy_port, session["session"], session["token"]).end()
