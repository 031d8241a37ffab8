"""Fixtures: Chromium and the pages with sample data, once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium
from tests.browser.sample_site import Site, add_batch, add_model, sample_mix, serve_site

Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with chromium.run_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Serve the pages with a model, a finished batch and a running batch."""
    with serve_site() as site:
        add_model(site.engine)
        add_batch(site.engine, "night", sample_mix("en", 45, 15))
        add_batch(site.engine, "chats", sample_mix("zh", 30, 10), final=20)
        yield site


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """Open a path in a new page. Any console warning or error fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def visit(path: str, secret: str | None = site.admin, **options: object) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1100, "height": 760}, **options})
        pages.append(page)
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if secret is not None:
            chromium.sign_in(page, site.address, secret)
        page.goto(site.address + path)
        return page

    yield visit
    for page in pages:
        page.close()
    assert complaints == []
