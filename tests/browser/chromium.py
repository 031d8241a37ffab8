"""Debian's Chromium, controlled by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def run_browser() -> Iterator[Browser]:
    """Start a browser; close it at the end."""
    program = shutil.which("chromium")
    assert program, "chromium was not found. Install it with: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, address: str, secret: str) -> None:
    """Sign in through the form."""
    page.goto(f"{address}/sign-in")
    page.fill("#key", secret)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/sign-in" not in url)
