from __future__ import annotations

import io
import re
from urllib.parse import unquote

import pytest

from core.domain.api_key import Scope
from core.domain.result import Status
from producer.web.live import server_sent_events
from tests.factories import (
    answer,
    finish,
    partly_final_batch,
    result,
    running_job,
    stored_batch,
)

EVIL = "<script>alert(1)</script>"
HOSTILE = [
    "' OR '1'='1",
    "{{7*7}}",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "%ff",
    "%ED%B3%BF",
    "%D9%A3",
    "9" * 400,
    "-1",
    "x" * 3_000,
    "%F0%9F%98%80" * 50,
    EVIL,
    "a%0d%0aSet-Cookie:%20x=y",
]
CSV = b"key,question\na,Where is it?\nb,Why?\n"


def test_batches_are_listed_and_followed(mei, engine, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    batch = partly_final_batch(engine, 6)
    seen = mei.get("/batches")
    assert 'data-events="/events?batch=1"' in seen.text
    assert '<dd data-field="handed_off">1</dd>' in seen.text
    response = mei.get(f"/events?batch={batch.id}")
    assert response.mimetype == "text/event-stream"
    assert "event: progress" in response.text  # possibly several, since the rate changes
    for number in range(20):
        stored_batch(engine, 1, name=f"more-{number}")
    first = mei.get("/batches")
    assert first.text.count('class="card batch"') == 20
    (more,) = re.findall(r'href="(/batches\?before=\d+)"', first.text)
    assert "tickets" in mei.get(more).text


def test_results_are_filtered_and_paged(mei, engine):
    batch = stored_batch(engine, 50, job_size=50)
    ends = [
        result(n, answer=answer(confidence=n / 100, answer=f"Answer {n}."))
        if n % 2
        else result(n, Status.HANDED_OFF)
        for n in range(1, 51)
    ]
    finish(engine, running_job(engine, batch), ends)
    url = f"/batches/{batch.id}"

    def shown(path: str) -> list[int]:
        return [int(n) for n in re.findall(r'class="key">ticket-(\d+)<', mei.get(path).text)]

    first = mei.get(url)
    (more,) = re.findall(r'rel="next" href="([^"#]+)', first.text)
    assert shown(url) == list(range(1, 21))
    assert shown(more.replace("&amp;", "&")) == list(range(21, 41))
    assert shown(f"{url}?status=answered&least=41") == [41, 43, 45, 47, 49]
    assert shown(f"{url}?status=answered&least=3&most=5") == [3, 5]
    assert shown(f"{url}?status=failed") == []
    for query in ("status=x", "least=x", "most=nan", "since=-1", "since=x"):
        response = mei.get(f"{url}?{query}")
        assert (response.status_code, response.mimetype) == (422, "text/html"), query
    assert mei.get("/batches/99").status_code == 404
    assert mei.get(f"{url}/results.csv").text.count("\n") == 51


def test_a_file_is_uploaded_once_for_each_form(mei, stored):
    mei.get("/upload")
    sent = {"token": "abcd1234", "lane": "bulk"}
    created = [mei.post("/upload", file=(io.BytesIO(CSV), "tickets.csv"), **sent) for _ in range(2)]
    assert [response.status_code for response in created] == [303, 303]
    assert created[0].headers["Location"] == created[1].headers["Location"]
    assert stored() == (1, 2, 1)
    assert "tickets-abcd1234" in mei.get(created[0].headers["Location"]).text


@pytest.mark.parametrize(
    ("file", "form", "message"),
    [
        ((CSV, "tickets.exe"), {}, "must end in one of"),
        ((b"key,question\na,x\na,y\n", "t.csv"), {}, "t.csv, row 3: the key"),
        ((b"a,b\n1,2\n", "t.csv"), {}, "t.csv"),
        ((CSV, "t.csv"), {"text": "body"}, "body"),
        ((CSV, "t.csv"), {"name": "17"}, "read as the id of a batch"),
        ((CSV, f"{EVIL}.csv"), {"name": "17"}, "read as the id of a batch"),
        ((b"", ""), {}, "Choose a file first."),
    ],
)
def test_an_invalid_file_is_reported_and_nothing_is_stored(file, form, message, mei, stored):
    mei.get("/upload")
    seen = mei.post("/upload", file=(io.BytesIO(file[0]), file[1]), token="abcd1234", **form)
    assert seen.status_code == 422
    assert message in seen.text
    assert EVIL not in seen.text
    assert stored() == (0, 0, 0)


@pytest.mark.usefixtures("answering")
def test_one_question_is_answered_with_its_source(mei):
    mei.get("/ask")
    location = mei.post("/ask", question=f"How? {EVIL}", token="0" * 32).headers["Location"]
    seen = mei.get(location)
    assert "On its way." in seen.text
    assert "parcel?" in seen.text
    assert EVIL not in seen.text
    assert mei.post("/ask", question=" ", token="1" * 32).status_code == 422
    assert mei.post("/ask", question="How?", token="none").headers["Location"] == "/ask"
    assert mei.get("/questions/ask-none").status_code == 404


def test_a_question_without_an_answer_is_followed(mei, monkeypatch):
    monkeypatch.setattr("producer.web.pages.ask._WAIT_SECONDS", 0.0)
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    mei.get("/ask")
    location = mei.post("/ask", question="How?", token="0" * 32).headers["Location"]
    assert f'data-events="{location}/events"' in mei.get(location).text
    assert "event: progress" in mei.get(f"{location}/events").text


def test_the_browser_or_the_user_chooses_chinese(front, visitor):
    mei = visitor(Scope.ADMIN)
    chinese = {"Accept-Language": "zh-CN,zh;q=0.9"}
    assert '<html lang="zh-Hans">' in front.test_client().get("/sign-in", headers=chinese).text
    assert "<h1>批次</h1>" in mei.get("/batches?language=zh").text
    assert "<h1>人工台</h1>" in mei.get("/desk").text  # the choice is stored
    assert "<h1>Batches</h1>" in mei.get("/batches?language=en", **chinese).text


def test_the_pages_load_nothing_foreign_and_run_nothing_inline(mei):
    response = mei.get("/batches")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?://", response.text)
    assert response.headers["Cache-Control"] == "no-store"
    css = mei.get("/static/page.css")
    assert (css.mimetype, css.headers["Cache-Control"]) == ("text/css", "public, max-age=86400")
    assert mei.get("/static/..%2fapp.py").status_code == 404


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_input_causes_no_internal_error(evil, mei, batch, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    desk = f"/desk/{batch.id}/1"
    mei.get(desk)
    plain = unquote(evil)
    responses = [
        mei.get(path.format(evil))
        for path in (
            "/batches/{}",
            "/batches/{}/results.csv",
            "/questions/{}",
            "/questions/ask-{}",
            "/questions/ask-{}/events",
            "/desk/{}/1",
            "/static/{}",
            "/events?batch={}",
            "/batches?before={}",
            f"/batches/{batch.id}?status={{}}",
            f"/batches/{batch.id}?since={{}}",
            f"/batches/{batch.id}?least={{0}}&most={{0}}",
            "/desk?after={}",
            f"{desk}?q={{}}",
            "/desk/proposals?state={}",
            "/batches?language={}",
            "/sign-in?next={}",
        )
    ]
    responses += [
        mei.post(f"/batches/{evil}/cancel"),
        mei.post(f"/models/{evil}/promote", version="1"),
        mei.post(f"/models/{evil}/roll-back", reason=plain),
        mei.post("/models/shop/promote", version=plain, reason=plain),
        mei.post("/ask", question=plain, token=plain),
        mei.post(desk, answer="", entry=plain),
        mei.post(f"{desk}/proposal", state=plain),
        mei.post("/upload", file=(io.BytesIO(CSV), f"{plain}.csv"), token=plain, lane=plain),
    ]
    assert [item.status_code for item in responses if item.status_code >= 500] == []
    assert not any(EVIL in item.text for item in responses)
