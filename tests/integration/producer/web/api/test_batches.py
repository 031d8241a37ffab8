from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from broker.client import open_broker
from core.domain.api_key import Scope
from core.domain.result import Status
from db.session import reading
from db.tables import audit, batches
from producer.web.app import create_app
from producer.web.context import build_context
from tests.factories import (
    answer,
    finish,
    partly_final_batch,
    result,
    running_job,
    stored_batch,
)

URL = "/v1/batches"
CSV = "key,question\n" + "".join(f"ticket-{n},Where is parcel {n}?\n" for n in range(1, 12))
LINES = "".join(
    json.dumps({"key": f"ticket-{n}", "question": f"Where is parcel {n}?"}) + "\n"
    for n in range(1, 12)
)
JSON = {"questions": [json.loads(line) for line in LINES.splitlines()]}
TOKEN = {"Idempotency-Key": "night-17"}


def submit(http, data=CSV, query="", content_type="text/csv", **headers):
    if content_type == "application/json":
        data = json.dumps(data)
    url = f"{URL}?{query}"
    return http.post(url, data=data, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (CSV, "text/csv"),
        (CSV, "text/csv; charset=utf-8"),
        (CSV.replace(",", "\t"), "text/tab-separated-values"),
        (LINES, "application/jsonl"),
        (LINES, "application/x-ndjson"),
        (JSON, "application/json"),
    ],
)
def test_every_format_creates_a_batch_of_the_same_questions(
    data, content_type, http, all_there_once
):
    response = submit(http, data, "name=night", content_type)
    assert response.status_code == 201
    assert (response.json["name"], response.json["questions"]) == ("night", 11)
    all_there_once(response.json["batch"], 11)
    status = http.get(response.headers["Location"]).json
    assert (status["state"], status["queued"], status["lane"]) == ("sealed", 11, "bulk")


def test_columns_lane_and_deadline_are_respected(http):
    query = "text=body&key=id&lane=interactive&deadline_seconds=3600"
    response = submit(http, "id,body\na,Why?\n", query)
    status = http.get(response.headers["Location"]).json
    assert (status["lane"], status["questions"]) == ("interactive", 1)


def test_an_upload_sent_twice_with_one_idempotency_key_is_one_batch(http, stored):
    first, second = submit(http, **TOKEN), submit(http, **TOKEN)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json["batch"] == second.json["batch"]
    assert second.json["already"] is True
    assert stored()[:2] == (1, 11)
    other = submit(http, "question\nWhy?\n", **TOKEN)
    assert (other.status_code, other.json["field"]) == (409, "name")
    assert submit(http).json["batch"] != first.json["batch"]


@pytest.mark.parametrize(
    ("data", "content_type", "code", "field"),
    [
        ("key,question\na,Hi\nb,Hi,Ho\n", "text/csv", 422, "row 3"),
        ("key,question\na,Hi\na,Ho\n", "text/csv", 422, "row 3"),
        ("id,body\n1,Hi\n", "text/csv", 422, "body"),
        ("", "text/csv", 422, "body"),
        ("PAR1", "application/vnd.apache.parquet", 422, "body"),
        ('{"question": 7}\n', "application/jsonl", 422, "row 1"),
        ("question\nHi\n", "text/html", 415, "Content-Type"),
        ("question\nHi\n", "", 415, "Content-Type"),
        ({"questions": []}, "application/json", 422, "questions"),
        ({"questions": [{"question": "Hi"}, {}]}, "application/json", 422, "questions.1.question"),
        ({"questions": [{"question": "a\0"}]}, "application/json", 422, "questions.0.question"),
        ({"questions": [{"question": "a", "key": ""}]}, "application/json", 422, "questions.0.key"),
        (
            {"questions": [{"question": "a", "key": "k"}, {"question": "b", "key": "k"}]},
            "application/json",
            422,
            "questions.1",
        ),
        ([1], "application/json", 422, "body"),
    ],
)
def test_an_invalid_batch_is_refused_with_its_field(  # noqa: PLR0917 - fixtures and cases
    data, content_type, code, field, http, stored
):
    response = submit(http, data, "", content_type)
    assert (response.status_code, response.json["field"]) == (code, field)
    assert "/tmp" not in response.text
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("name=12", "name"),
        ("name=", "name"),
        ("lane=fast", "lane"),
        ("deadline_seconds=0", "deadl"),
    ],
)
def test_an_invalid_parameter_is_refused_with_its_field(query, field, http, stored):
    response = submit(http, query=query)
    assert response.status_code == 422
    assert response.json["field"].startswith(field)
    assert stored() == (0, 0, 0)


def test_a_body_larger_than_allowed_is_refused(front, http, stored):
    object.__setattr__(front.extensions["answermill"].settings, "web_upload_bytes", 100)
    response = submit(http)
    assert response.status_code == 413
    assert http.post("/v1/questions", data=b"x" * (9 << 20)).status_code in {413, 422}
    assert stored() == (0, 0, 0)


def test_an_open_batch_takes_questions_until_it_is_sealed(http, all_there_once):
    made = http.post(f"{URL}?open=true&name=day")
    assert (made.status_code, made.json["questions"]) == (201, 0)
    url = made.headers["Location"]
    for first, last in ((0, 5), (5, 11)):
        some = {"questions": JSON["questions"][first:last]}
        response = http.post(f"{url}/questions?after={first}", json=some)
        found = (response.status_code, response.json["state"], response.json["queued"])
        assert found == (200, "open", last)
    again = http.post(f"{url}/questions?after=5", json=some)
    assert (again.status_code, again.json["field"]) == (409, "after")
    assert "has 11 questions, not 5" in again.json["detail"]
    assert [http.post(f"{url}/seal").json["state"] for _ in range(2)] == ["sealed", "sealed"]
    assert http.post(f"{url}/questions", json=some).status_code == 409
    all_there_once(made.json["batch"], 11)


def test_an_append_with_a_duplicate_key_adds_nothing(http, stored):
    url = http.post(f"{URL}?open=true").headers["Location"]
    two = {"questions": [{"question": "Why?", "key": "b"}, {"question": "Why?", "key": "a"}]}
    assert (
        http.post(f"{url}/questions", json={"questions": two["questions"][1:]}).status_code == 200
    )
    response = http.post(f"{url}/questions", json=two)
    assert (response.status_code, response.json["field"]) == (422, "body")
    assert stored()[1] == 1


def test_a_batch_opens_once_by_name_and_never_from_a_file(http):
    first, second = (http.post(f"{URL}?open=true&name=day") for _ in range(2))
    assert first.json["batch"] == second.json["batch"]
    submit(http, query="name=night")
    assert http.post(f"{URL}?open=true&name=night").status_code == 409
    response = http.post(f"{URL}?open=true", data=CSV, content_type="text/csv")
    assert (response.status_code, response.json["field"]) == (422, "body")


def test_cancel_and_retry_change_the_batch(http, engine):
    batch = partly_final_batch(engine, 6)
    response = http.post(f"{URL}/{batch.id}/retry?status=handed_off")
    assert response.json == {"batch": batch.id, "questions": 1, "dry_run": False}
    response = http.post(f"{URL}/{batch.id}/cancel").json
    assert (response["state"], response["cancelled"], response["answered"]) == ("cancelled", 4, 1)
    assert http.post(f"{URL}/{batch.id}/cancel").status_code == 409
    assert http.post(f"{URL}/{batch.id}/retry").status_code == 409


def test_one_error_class_is_retried_or_counted(http, engine):
    batch = stored_batch(engine, 4, job_size=1)
    for error in ("ValueError: a", "TimeoutError: b", "ValueError", "ValueErrors: c"):
        failed = result(1, Status.FAILED, answer=answer(Status.FAILED, error=error))
        job = running_job(engine, batch)
        finish(engine, job, [replace(failed, position=job.first_position, key=str(job.id))])
    url = f"{URL}/{batch.id}/retry?error=ValueError"
    dry = {"batch": batch.id, "questions": 2, "dry_run": True}
    assert [http.post(f"{url}&dry_run=true").json for _ in range(2)] == [dry, dry]
    assert http.post(url).json == dry | {"dry_run": False}
    assert http.post(url).json["questions"] == 0
    assert http.get(f"{URL}/{batch.id}").json["failed"] == 2


@pytest.mark.parametrize(
    "query", ["status=handed_off&error=E", "error=a%00b", f"error={'e' * 201}"]
)
def test_an_invalid_error_class_is_refused(query, http, engine):
    batch = partly_final_batch(engine, 6)
    response = http.post(f"{URL}/{batch.id}/retry?{query}")
    assert (response.status_code, response.json["field"]) == (422, "error")


def test_batches_are_listed_newest_first_and_before_an_id(http, engine):
    ids = [stored_batch(engine, name=name).id for name in ("a", "b", "c")]
    newest = http.get(f"{URL}?limit=2").json["batches"]
    assert [status["batch"] for status in newest] == [ids[2], ids[1]]
    rest = http.get(f"{URL}?before={ids[1]}").json["batches"]
    assert [status["batch"] for status in rest] == [ids[0]]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/results"),
        ("GET", "/results/download"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/seal"),
    ],
)
def test_an_unknown_batch_is_not_found(method, path, http):
    for ref in ("999", "not there", "a%00b", "..%2F", "9" * 40, "%F0%9F", "' OR 1=1"):
        response = http.open(f"{URL}/{ref}{path}", method=method)
        assert (response.status_code, response.content_type) == (404, "application/problem+json"), (
            ref
        )


def test_every_change_is_recorded_with_its_key_and_outcome(http, engine):
    batch = submit(http, query="name=night").json["batch"]
    http.post(f"{URL}/night/cancel")
    http.post(f"{URL}/night/cancel")
    with reading(engine) as conn:
        rows = conn.execute(sa.select(audit).order_by(audit.c.id)).all()
        source = conn.scalar(sa.select(batches.c.source).where(batches.c.id == batch))
    assert [(row.actor, row.action, row.target, row.status) for row in rows] == [
        ("key site", "batches.create", "", 201),
        ("key site", "batches.cancel", "night", 200),
        ("key site", "batches.cancel", "night", 409),
    ]
    assert source == "upload, key site"


def test_a_full_system_returns_when_to_retry_and_stores_nothing(
    settings, engine, client, key, stored
):
    limits = {"max_waiting_bulk": 12, "max_waiting_interactive": 1}
    front = create_app(build_context(settings.model_copy(update=limits), engine, client))
    http = front.test_client()
    http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key(Scope.ADMIN)}"
    url = http.post(f"{URL}?open=true").headers["Location"]
    question = {"question": "Why?"}
    responses = [http.post("/v1/questions?wait=0", json=question) for _ in range(2)]
    assert [response.status_code for response in responses] == [202, 429]
    assert submit(http, **TOKEN).status_code == 201
    full = [
        responses[1],
        submit(http, "question\na\nb\n"),
        http.post(f"{url}/questions", json={"questions": [question, question]}),
    ]
    assert [response.status_code for response in full] == [429] * 3
    assert all(int(response.headers["Retry-After"]) > 0 for response in full)
    assert submit(http, **TOKEN).status_code == 200
    larger = submit(http, "question\n" + "why\n" * 13)
    assert (larger.status_code, larger.json["hint"]) == (
        413,
        "split the questions into several batches",
    )
    assert stored()[:2] == (3, 12)


def test_without_redis_requests_are_refused_and_nothing_is_stored(
    settings, engine, key, home, stored
):
    url = f"redis+socket://{home}/none.sock"
    unreachable = type(settings)(database_url=settings.database, broker_url=url, home=home)
    headers = {"Authorization": f"Bearer {key(Scope.ADMIN)}"}
    with open_broker(unreachable) as client:
        http = create_app(build_context(unreachable, engine, client)).test_client()
        submitted = http.post(URL, data=CSV, content_type="text/csv", headers=headers)
        asked = http.post("/v1/questions", json={"question": "Why?"}, headers=headers)
    assert (submitted.status_code, asked.status_code) == (503, 503)
    assert int(submitted.headers["Retry-After"]) > 0
    assert stored() == (0, 0, 0)
