from __future__ import annotations

import io
import re
from urllib.parse import unquote

import pytest
import sqlalchemy as sa

from core.domain.api_key import Scope
from core.domain.handoff import Proposal
from core.domain.model_version import PromotionNote
from core.domain.result import Status
from db.queries import knowledge_entries, model_versions
from db.queries.knowledge_entries import KnownEntry
from db.session import reading, transaction
from db.tables import audit, desk_answers
from producer.web.live import server_sent_events
from tests.factories import (
    NOW,
    answer,
    built_version,
    finish,
    partly_final_batch,
    promoted_version,
    question,
    result,
    running_job,
    stored_batch,
)

EVIL = "<script>alert(1)</script>"
BIKE = KnownEntry("bike", "By bike.", "How do you deliver?")
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


@pytest.fixture
def mei(visitor):
    """Somebody who may do all."""
    return visitor(Scope.ADMIN)


@pytest.fixture
def batch(engine):
    """A batch of hand-offs, of a model that knows an entry."""
    version = promoted_version(engine)
    with transaction(engine) as conn:
        knowledge_entries.store(conn, version, [BIKE])
    batch = stored_batch(engine, [question(1, EVIL), question(2, "How?")], job_size=2)
    finish(engine, running_job(engine, batch), [result(n, Status.HANDED_OFF) for n in (1, 2)])
    return batch


def _told(response) -> list[str]:
    return re.findall(r'<p class="note" role="status">([^<]*)', response.text)


def test_batches_are_listed_and_followed(mei, engine, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    batch = partly_final_batch(engine, 6)
    seen = mei.get("/batches")
    assert 'data-events="/events?batch=1"' in seen.text
    assert '<dd data-field="handed_off">1</dd>' in seen.text
    told = mei.get(f"/events?batch={batch.id}")
    assert told.mimetype == "text/event-stream"
    assert "event: progress" in told.text  # more of them if time passes: the rate changes
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
        told = mei.get(f"{url}?{query}")
        assert (told.status_code, told.mimetype) == (422, "text/html"), query
    assert mei.get("/batches/99").status_code == 404
    assert mei.get(f"{url}/results.csv").text.count("\n") == 51


def test_a_file_is_uploaded_once_for_each_form(mei, stored):
    mei.get("/upload")
    sent = {"token": "abcd1234", "lane": "bulk"}
    made = [mei.post("/upload", file=(io.BytesIO(CSV), "tickets.csv"), **sent) for _ in range(2)]
    assert [one.status_code for one in made] == [303, 303]
    assert made[0].headers["Location"] == made[1].headers["Location"]
    assert stored() == (1, 2, 1)
    assert "tickets-abcd1234" in mei.get(made[0].headers["Location"]).text


@pytest.mark.parametrize(
    ("file", "form", "told"),
    [
        ((CSV, "tickets.exe"), {}, "must end in one of"),
        ((b"key,question\na,x\na,y\n", "t.csv"), {}, "t.csv, row 3: the key"),
        ((b"a,b\n1,2\n", "t.csv"), {}, "t.csv"),
        ((CSV, "t.csv"), {"text": "body"}, "body"),
        ((CSV, "t.csv"), {"name": "17"}, "taken for a batch"),
        ((CSV, f"{EVIL}.csv"), {"name": "17"}, "taken for a batch"),
        ((b"", ""), {}, "Choose a file first."),
    ],
)
def test_a_file_that_is_none_is_told_and_nothing_is_stored(file, form, told, mei, stored):
    mei.get("/upload")
    seen = mei.post("/upload", file=(io.BytesIO(file[0]), file[1]), token="abcd1234", **form)
    assert seen.status_code == 422
    assert told in seen.text
    assert EVIL not in seen.text
    assert stored() == (0, 0, 0)


@pytest.mark.usefixtures("answering")
def test_one_question_is_answered_with_its_source(mei):
    mei.get("/ask")
    led = mei.post("/ask", question=f"How? {EVIL}", token="0" * 32).headers["Location"]
    seen = mei.get(led)
    assert "On its way." in seen.text
    assert "parcel?" in seen.text
    assert EVIL not in seen.text
    assert mei.post("/ask", question=" ", token="1" * 32).status_code == 422
    assert mei.post("/ask", question="How?", token="none").headers["Location"] == "/ask"
    assert mei.get("/questions/ask-none").status_code == 404


def test_a_question_without_an_answer_is_followed(mei, monkeypatch):
    monkeypatch.setattr("producer.web.pages.ask._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    mei.get("/ask")
    led = mei.post("/ask", question="How?", token="0" * 32).headers["Location"]
    assert f'data-events="{led}/events"' in mei.get(led).text
    assert "event: progress" in mei.get(f"{led}/events").text


def test_two_people_share_the_desk(visitor, batch, engine):
    ann, bob = visitor(Scope.DESK, name="ann"), visitor(Scope.DESK, name="bob")
    seen = ann.get("/desk")
    assert EVIL not in seen.text
    assert seen.text.count("/take") == 2
    first = ann.post("/desk/next").headers["Location"]
    assert first == f"/desk/{batch.id}/1"
    assert "ann has it" in bob.get("/desk").text
    assert 'name="answer"' not in bob.get(first).text
    assert bob.post(f"{first}/take").headers["Location"] == "/desk"
    second = bob.post("/desk/next").headers["Location"]
    assert second == f"/desk/{batch.id}/2"
    assert bob.post("/desk/next").headers["Location"] == second  # their own again
    bob.post(f"{second}/release")
    assert "bob has it" not in ann.get("/desk").text

    ann.get(first)
    assert "write one, or pick an entry" in ann.post(first).text
    assert "no entry has the id" in ann.post(first, entry="none").text
    led = ann.post(first, answer=f"Ours. {EVIL}", learn="on", next="1").headers["Location"]
    assert led == second
    bob.get("/desk")
    assert "is answered already" in bob.post(first, answer="Mine.").text
    ann.get(second)
    assert "By bike." in ann.get(f"{second}?q=deliver").text
    ann.post(second, entry="bike")
    assert "Nothing waits" in ann.get("/desk").text
    with reading(engine) as conn:
        rows = conn.execute(sa.select(desk_answers).order_by(desk_answers.c.position)).all()
    assert [(r.answer, r.entry_id, r.by, r.proposal) for r in rows] == [
        (f"Ours. {EVIL}", None, "ann", Proposal.PROPOSED),
        ("By bike.", "bike", "ann", None),
    ]


def test_proposals_are_decided_at_the_desk(mei, batch):
    mei.get("/desk")
    first = mei.post("/desk/next").headers["Location"]
    mei.get(first)
    mei.post(first, answer="Ours.", learn="on")
    assert "Ours." in mei.get("/desk/proposals").text
    mei.post(f"{first}/proposal", state="accepted")
    assert "Ours." not in mei.get("/desk/proposals").text
    assert "Ours." in mei.get("/desk/proposals?state=accepted").text
    assert mei.post(f"{first}/proposal", state="x").status_code == 422
    assert mei.post(f"/desk/{batch.id}/2/proposal", state="accepted").status_code == 404
    seen = mei.get(f"/batches/{batch.id}").text
    assert "mei answered" in seen


def _gated(engine, candidate, *, worse=False, against="shop@1"):
    compared = [{"figure": "accuracy", "worse": worse}]
    note = PromotionNote(forced=worse, gate={"production": against, "compared": compared})
    with transaction(engine) as conn:
        model_versions.begin_canary(conn, candidate, 0.1, by="test", now=NOW, note=note)


def test_a_version_that_passed_the_gate_is_promoted_and_rolled_back(mei, engine):
    promoted_version(engine)
    candidate = built_version(engine, digest="d2")
    _gated(engine, candidate)
    assert "Promote shop@2" in mei.get("/models").text
    mei.post("/models/shop/promote", version="2", reason="figures")
    seen = mei.get("/models")
    assert _told(seen) == ["shop@2 is in production."]
    mei.post("/models/shop/roll-back")
    assert _told(mei.get("/models")) == ["Say why, for the record."]
    mei.post("/models/shop/roll-back", reason="slow")
    seen = mei.get("/models")
    assert _told(seen) == ["shop@1 is in production."]
    assert "slow" in seen.text
    with reading(engine) as conn:
        assert str(model_versions.find(conn, "shop")) == "shop@1"
        actions = conn.scalars(sa.select(audit.c.action).where(audit.c.target == "shop")).all()
    assert actions == ["page.promote", "page.roll_back", "page.roll_back"]


@pytest.mark.parametrize(
    "gate", [None, {"worse": True}, {"against": "shop@9"}], ids=["unjudged", "worse", "elsewhere"]
)
def test_a_version_that_no_gate_let_pass_is_not_promoted(gate, mei, engine):
    promoted_version(engine)
    candidate = built_version(engine, digest="d2")
    if gate is not None:
        _gated(engine, candidate, **gate)
    seen = mei.get("/models").text
    assert "Promote shop@2" not in seen
    assert "answermill model promote shop@2" in seen
    mei.post("/models/shop/promote", version="2")
    assert "no gate has let it pass beside shop@1" in _told(mei.get("/models"))[0]
    with reading(engine) as conn:
        assert str(model_versions.find(conn, "shop")) == "shop@1"


def test_only_an_admin_moves_versions(visitor, engine):
    promoted_version(engine)
    reader = visitor(Scope.READ)
    assert "<form" not in reader.get("/models").text.partition("<main")[2]
    assert reader.post("/models/shop/roll-back", reason="x").status_code == 403


def test_the_page_speaks_chinese_when_it_is_asked_to(front, visitor):
    mei = visitor(Scope.ADMIN)
    asked = {"Accept-Language": "zh-CN,zh;q=0.9"}
    assert '<html lang="zh-Hans">' in front.test_client().get("/sign-in", headers=asked).text
    assert "<h1>批次</h1>" in mei.get("/batches?language=zh").text
    assert "<h1>人工台</h1>" in mei.get("/desk").text  # it was chosen
    assert "<h1>Batches</h1>" in mei.get("/batches?language=en", **asked).text


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(mei):
    told = mei.get("/batches")
    policy = told.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?://", told.text)
    assert told.headers["Cache-Control"] == "no-store"
    css = mei.get("/static/page.css")
    assert (css.mimetype, css.headers["Cache-Control"]) == ("text/css", "public, max-age=86400")
    assert mei.get("/static/..%2fapp.py").status_code == 404


@pytest.mark.parametrize("evil", HOSTILE)
def test_whatever_is_asked_for_is_no_fault_of_ours(evil, mei, batch, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    desk = f"/desk/{batch.id}/1"
    mei.get(desk)
    plain = unquote(evil)
    told = [
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
    told += [
        mei.post(f"/batches/{evil}/cancel"),
        mei.post(f"/models/{evil}/promote", version="1"),
        mei.post(f"/models/{evil}/roll-back", reason=plain),
        mei.post("/models/shop/promote", version=plain, reason=plain),
        mei.post("/ask", question=plain, token=plain),
        mei.post(desk, answer="", entry=plain),
        mei.post(f"{desk}/proposal", state=plain),
        mei.post("/upload", file=(io.BytesIO(CSV), f"{plain}.csv"), token=plain, lane=plain),
    ]
    assert [one.status_code for one in told if one.status_code >= 500] == []
    assert not any(EVIL in one.text for one in told)
