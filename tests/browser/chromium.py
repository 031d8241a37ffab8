"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a browser."""
    program = shutil.which("chromium")
    assert program, "there is no chromium here: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, address: str, secret: str) -> None:
    """Sign in as people do."""
    page.goto(f"{address}/sign-in")
    page.fill("#key", secret)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/sign-in" not in url)
