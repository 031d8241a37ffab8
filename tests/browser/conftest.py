"""Chromium, and the page with what people would see in it: once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium
from tests.browser.world import World, add_batch, add_model, mixed, world

Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium.launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def here() -> Iterator[World]:
    """The page over a model, a batch that is done and one that is in work."""
    with world() as found:
        add_model(found.engine)
        add_batch(found.engine, "night", mixed("en", 45, 15))
        add_batch(found.engine, "chats", mixed("zh", 30, 10), final=20)
        yield found


@pytest.fixture
def visit(browser: Browser, here: World) -> Iterator[Visit]:
    """Open a path in a browser of one's own; whatever its console complains of fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def visit(path: str, secret: str | None = here.admin, **how: object) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1100, "height": 760}, **how})
        pages.append(page)
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if said.type in {"error", "warning"} else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if secret is not None:
            chromium.sign_in(page, here.address, secret)
        page.goto(here.address + path)
        return page

    yield visit
    for page in pages:
        page.close()
    assert complaints == []
