from __future__ import annotations

import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from db.clock import DatabaseClock
from db.queries import batches
from db.queries.batches import close_finished
from db.session import reading, transaction
from tests.browser.sample_site import add_batch, answer_job, sample_mix

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
PAINT = """() => new Promise((resolve) =>
    new PerformanceObserver((list) => resolve(list.getEntries()[0].startTime))
        .observe({ type: "paint", buffered: true }))"""


def _faults(page) -> list[str]:
    rules = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in rules for node in rule["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations(scheme, visit, site):
    page = visit("/", color_scheme=scheme)
    found = {}
    for path in PATHS:
        page.goto(site.address + path)
        found[path] = _faults(page)
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_axe_finds_no_violations_in_chinese_and_on_a_phone(visit, site):
    narrow = {"viewport": {"width": 390, "height": 780}, "locale": "zh-CN"}
    page = visit("/sign-in", None, **narrow)
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
    assert _faults(page) == []
    page = visit("/desk/1/3", **narrow)
    assert _faults(page) == []
    for path in PATHS:
        page.goto(site.address + path)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, path


def test_dark_is_dark_and_light_is_light(visit):
    def brightness(scheme: str) -> int:
        page = visit("/batches", color_scheme=scheme)
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(", ")))

    assert brightness("dark") < 100
    assert brightness("light") > 600


def test_the_first_paint_is_measured(visit, site, capsys):
    page = visit("/batches")
    times = {}
    for path in PATHS:
        page.goto(site.address + path)
        times[path] = page.evaluate(PAINT)
    with capsys.disabled():
        sys.stdout.write(
            f"\nfirst paint, ms: { {path: round(ms) for path, ms in times.items()} }\n"
        )
    assert len(times) == len(PATHS)


def test_progress_is_shown_live(visit, site):
    texts = sample_mix("en", 60, 0)[:40]
    batch = add_batch(site.engine, "live", texts, final=0)
    page = visit(f"/batches/{batch.id}")
    answered = page.locator('[data-field="answered"]')
    expect(answered).to_have_text("0")
    answer_job(site.engine, batch, texts)
    expect(answered).to_have_text("20", timeout=20_000)
    width = page.locator('rect[data-part="answered"]').get_attribute("width")
    assert float(width) == 50
    answer_job(site.engine, batch, texts)
    with transaction(site.engine) as conn:
        close_finished(conn, DatabaseClock(site.engine)())
    expect(page.locator(".badge.done")).to_be_visible(timeout=20_000)
    expect(page.locator(".result")).to_have_count(20)


def test_a_list_shows_the_progress_of_all_batches(visit, site):
    texts = sample_mix("en", 60, 0)[:20]
    batch = add_batch(site.engine, "listed", texts, final=0)
    page = visit("/batches")
    listed = page.locator(f'[data-batch="{batch.id}"]')
    expect(listed.locator(".badge")).to_have_text("in progress")
    answer_job(site.engine, batch, texts)
    with transaction(site.engine) as conn:
        close_finished(conn, DatabaseClock(site.engine)())
    expect(listed.locator(".badge")).to_have_text("done", timeout=20_000)


def test_a_dropped_file_becomes_a_batch(visit, site):
    page = visit("/upload")
    dropped = page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["question\\nWhere is it?\\n"], "dropped.csv"));
            return transfer;
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
    with reading(site.engine) as conn:
        assert batches.find(conn, number).question_count == 1


def test_a_hand_off_is_answered_with_the_keyboard_alone(visit, site):
    page = visit("/desk", site.agent)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Proposals")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Release")).to_be_visible()
    question = page.locator(".question-text").inner_text()

    page.get_by_label("Search the knowledge base").focus()
    page.keyboard.type("invoice")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Search results")).to_be_visible()
    page.locator("#found-1").focus()
    page.keyboard.press("Space")
    expect(page.locator("#found-1")).to_be_checked()
    page.get_by_label("Answer", exact=True).focus()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_have_text("Answer saved.")
    expect(page.locator(".question-text")).to_have_count(1)  # the next one
    expect(page.locator(".question-text")).not_to_have_text(question)

    page.goto(f"{site.address}/desk/proposals")
    expect(page.locator(".question-text")).to_have_text(question)
    page.get_by_role("button", name="Accept").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()


def test_a_search_keeps_the_answer_that_is_being_written(visit, site):
    page = visit("/desk", site.agent)
    page.get_by_role("button", name="Take next question").click()
    page.get_by_label("Answer", exact=True).fill("Half a sent")
    page.get_by_label("Search the knowledge base").fill("refund")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#found-1")).to_be_visible()
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Half a sent")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Hand-off desk")


def test_everything_works_without_scripts(visit):
    page = visit("/desk", java_script_enabled=False)
    page.get_by_role("button", name="Take next question").click()
    page.get_by_label("Search the knowledge base").fill("refund")
    page.get_by_role("button", name="Search").click()
    page.locator("#found-1").check()
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Answer saved.")
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("人工台")
    page.get_by_role("button", name="退出登录").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
