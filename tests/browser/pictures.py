"""Takes the pictures of docs/screenshots: `python -m tests.browser.pictures`."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import chromium
from tests.browser.world import World, add_batch, add_model, mixed, world

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
_WIDE, _NARROW = {"width": 1120, "height": 760}, {"width": 390, "height": 780}


def main() -> None:
    """Take them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with world() as here, chromium.launched() as browser:
        add_model(here.engine)
        add_batch(here.engine, "tickets-2026-01", mixed("en", 150, 30))
        done = add_batch(here.engine, "night", mixed("en", 90, 30))
        add_batch(here.engine, "chats", mixed("zh", 60, 20), final=40, minutes=0.4)
        _take(browser, here, "batches", "/batches")
        _take(browser, here, "batches-dark", "/batches", dark=True)
        _take(browser, here, "batches-chinese", "/batches?language=zh")
        _take(browser, here, "batch", f"/batches/{done.id}")
        _take(browser, here, "batch-mobile", f"/batches/{done.id}", size=_NARROW)
        _take(browser, here, "desk", "/desk")
        _take(browser, here, "desk-question", "/desk/2/3?q=parcel")
        _take(browser, here, "models", "/models")
        _take(browser, here, "upload", "/upload")


def _take(
    browser: Browser,
    here: World,
    name: str,
    path: str,
    *,
    dark: bool = False,
    size: dict[str, int] = _WIDE,
) -> None:
    scheme = "dark" if dark else "light"
    page = browser.new_page(viewport=size, color_scheme=scheme)
    try:
        chromium.sign_in(page, here.address, here.admin)
        page.goto(here.address + path)
        page.screenshot(path=FOLDER / f"{name}.png")
    finally:
        page.close()


if __name__ == "__main__":
    main()
