"""Take the screenshots of docs/screenshots.

Run it with `python -m tests.browser.screenshots`.
"""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import chromium
from tests.browser.sample_site import Site, add_batch, add_model, sample_mix, serve_site

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
_WIDE, _NARROW = {"width": 1120, "height": 760}, {"width": 390, "height": 780}


def main() -> None:
    """Take all screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with serve_site() as site, chromium.run_browser() as browser:
        add_model(site.engine)
        add_batch(site.engine, "tickets-2026-01", sample_mix("en", 150, 30))
        night = add_batch(site.engine, "night", sample_mix("en", 90, 30))
        add_batch(site.engine, "chats", sample_mix("zh", 60, 20), final=40, minutes=0.4)
        _take(browser, site, "batches", "/batches")
        _take(browser, site, "batches-dark", "/batches", dark=True)
        _take(browser, site, "batches-chinese", "/batches?language=zh")
        _take(browser, site, "batch", f"/batches/{night.id}")
        _take(browser, site, "batch-mobile", f"/batches/{night.id}", size=_NARROW)
        _take(browser, site, "desk", "/desk")
        _take(browser, site, "desk-question", "/desk/2/3?q=parcel")
        _take(browser, site, "models", "/models")
        _take(browser, site, "upload", "/upload")


def _take(
    browser: Browser,
    site: Site,
    name: str,
    path: str,
    *,
    dark: bool = False,
    size: dict[str, int] = _WIDE,
) -> None:
    scheme = "dark" if dark else "light"
    page = browser.new_page(viewport=size, color_scheme=scheme)
    try:
        chromium.sign_in(page, site.address, site.admin)
        page.goto(site.address + path)
        page.screenshot(path=FOLDER / f"{name}.png")
    finally:
        page.close()


if __name__ == "__main__":
    main()
