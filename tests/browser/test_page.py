from __future__ import annotations

import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from db.clock import DatabaseClock
from db.queries import batches
from db.queries.batches import close_finished
from db.session import reading, transaction
from tests.browser.world import add_batch, answer_job, mixed

PATHS = [
    "/batches",
    "/batches/1",
    "/batches/1?status=handed_off",
    "/upload",
    "/ask",
    "/desk",
    "/desk/1/3?q=parcel",
    "/desk/proposals",
    "/models",
]
PAINT = """() => new Promise((told) =>
    new PerformanceObserver((list) => told(list.getEntries()[0].startTime))
        .observe({ type: "paint", buffered: true }))"""


def _faults(page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(scheme, visit, here):
    page = visit("/", color_scheme=scheme)
    told = {}
    for path in PATHS:
        page.goto(here.address + path)
        told[path] = _faults(page)
    assert {path: faults for path, faults in told.items() if faults} == {}


def test_axe_finds_nothing_wrong_in_chinese_before_signing_in_or_on_a_telephone(visit, here):
    narrow = {"viewport": {"width": 390, "height": 780}, "locale": "zh-CN"}
    page = visit("/sign-in", None, **narrow)
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
    assert _faults(page) == []
    page = visit("/desk/1/3", **narrow)
    assert _faults(page) == []
    for path in PATHS:
        page.goto(here.address + path)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, path


def test_dark_is_dark_and_light_is_light(visit):
    def ground(scheme: str) -> int:
        page = visit("/batches", color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(", ")))

    assert ground("dark") < 100
    assert ground("light") > 600


def test_how_long_the_first_paint_takes_is_told(visit, here, capsys):
    page = visit("/batches")
    told = {}
    for path in PATHS:
        page.goto(here.address + path)
        told[path] = page.evaluate(PAINT)
    with capsys.disabled():
        sys.stdout.write(f"\nfirst paint, ms: { {path: round(ms) for path, ms in told.items()} }\n")
    assert len(told) == len(PATHS)


def test_progress_comes_by_itself(visit, here):
    texts = mixed("en", 60, 0)[:40]
    batch = add_batch(here.engine, "live", texts, final=0)
    page = visit(f"/batches/{batch.id}")
    answered = page.locator('[data-field="answered"]')
    expect(answered).to_have_text("0")
    answer_job(here.engine, batch, texts)
    expect(answered).to_have_text("20", timeout=20_000)
    width = page.locator('rect[data-part="answered"]').get_attribute("width")
    assert float(width) == 50
    answer_job(here.engine, batch, texts)
    with transaction(here.engine) as conn:
        close_finished(conn, DatabaseClock(here.engine)())
    expect(page.locator(".badge.done")).to_be_visible(timeout=20_000)
    expect(page.locator(".result")).to_have_count(20)


def test_a_list_follows_all_of_its_batches(visit, here):
    texts = mixed("en", 60, 0)[:20]
    batch = add_batch(here.engine, "listed", texts, final=0)
    page = visit("/batches")
    listed = page.locator(f'[data-batch="{batch.id}"]')
    expect(listed.locator(".badge")).to_have_text("in work")
    answer_job(here.engine, batch, texts)
    with transaction(here.engine) as conn:
        close_finished(conn, DatabaseClock(here.engine)())
    expect(listed.locator(".badge")).to_have_text("done", timeout=20_000)


def test_a_file_is_dropped_and_becomes_a_batch(visit, here):
    page = visit("/upload")
    dropped = page.evaluate_handle(
        """() => {
            const moved = new DataTransfer();
            moved.items.add(new File(["question\\nWhere is it?\\n"], "dropped.csv"));
            return moved;
        }"""
    )
    frame = page.locator("[data-drop]")
    frame.dispatch_event("dragover", {"dataTransfer": dropped})
    expect(frame).to_have_class("drop over")
    frame.dispatch_event("drop", {"dataTransfer": dropped})
    expect(frame).to_have_class("drop")
    page.get_by_role("button", name="Upload and answer").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("dropped-")
    number = page.url.rpartition("/")[2]
    with reading(here.engine) as conn:
        assert batches.find(conn, number).question_count == 1


def test_a_hand_off_is_answered_with_the_keyboard_alone(visit, here):
    page = visit("/desk", here.agent)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Proposals")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Let it go")).to_be_visible()
    asked = page.locator(".asked").inner_text()

    page.get_by_label("Search the knowledge base").focus()
    page.keyboard.type("invoice")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Found")).to_be_visible()
    page.locator("#found-1").focus()
    page.keyboard.press("Space")
    expect(page.locator("#found-1")).to_be_checked()
    page.get_by_label("Answer", exact=True).focus()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_have_text("Your answer is stored.")
    expect(page.locator(".asked")).to_have_count(1)  # the next one
    expect(page.locator(".asked")).not_to_have_text(asked)

    page.goto(f"{here.address}/desk/proposals")
    expect(page.locator(".asked")).to_have_text(asked)
    page.get_by_role("button", name="Accept").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()


def test_what_was_written_stays_while_entries_are_searched(visit, here):
    page = visit("/desk", here.agent)
    page.get_by_role("button", name="Take the next one").click()
    page.get_by_label("Answer", exact=True).fill("Half a sent")
    page.get_by_label("Search the knowledge base").fill("refund")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#found-1")).to_be_visible()
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Half a sent")
    page.get_by_role("button", name="Let it go").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Hand-off desk")


def test_everything_works_without_scripts(visit):
    page = visit("/desk", java_script_enabled=False)
    page.get_by_role("button", name="Take the next one").click()
    page.get_by_label("Search the knowledge base").fill("refund")
    page.get_by_role("button", name="Search").click()
    page.locator("#found-1").check()
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Your answer is stored.")
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("人工台")
    page.get_by_role("button", name="退出登录").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
