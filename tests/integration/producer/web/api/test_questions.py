from __future__ import annotations

import threading
import time

import pytest

from core.domain.batch import Lane
from producer.submission import ask
from tests.factories import finish, result, running_job

URL = "/v1/questions"
ASKED = {"question": "Where is my parcel?"}


@pytest.mark.usefixtures("answering")
def test_a_question_is_answered_while_the_caller_waits(http):
    told = http.post(URL, json=ASKED)
    assert told.status_code == 200
    assert told.json["status"] == "answered"
    assert told.json["answer"] == "On its way."
    assert told.json["model_version"] == "shop@1"
    assert http.get(told.json["link"]).json == told.json


def test_a_question_that_takes_longer_is_told_later(http, engine, waiting):
    told = http.post(f"{URL}?wait=0", json=ASKED)
    assert (told.status_code, told.json["status"]) == (202, None)
    assert waiting(Lane.INTERACTIVE) == 1
    link = told.headers["Location"]
    assert http.get(link).status_code == 202
    batch = ask.answered(engine, told.json["name"]).batch
    finish(engine, running_job(engine, batch), [result(1, key="1")])
    assert http.get(link).json["answer"] == "On its way."


def test_callers_are_woken_by_the_result_and_not_by_the_clock(http, engine):
    def answer_soon():
        time.sleep(0.3)
        (batch,) = (ask.answered(engine, name).batch for name in names)
        finish(engine, running_job(engine, batch), [result(1, key="1")])

    names = [http.post(f"{URL}?wait=0", json=ASKED, headers=TOKEN).json["name"]]
    worker = threading.Thread(target=answer_soon)
    worker.start()
    told = http.post(f"{URL}?wait=30", json=ASKED, headers=TOKEN)
    worker.join()
    assert (told.status_code, told.json["status"]) == (200, "answered")


TOKEN = {"Idempotency-Key": "form-17"}


def test_a_question_sent_twice_with_one_idempotency_key_is_asked_once(http, stored):
    first, second = (http.post(f"{URL}?wait=0", json=ASKED, headers=TOKEN) for _ in range(2))
    assert first.json == second.json
    assert stored()[0] == 1
    other = http.post(f"{URL}?wait=0", json={"question": "Why?"}, headers=TOKEN)
    assert (other.status_code, other.json["field"]) == (409, "name")
    assert http.post(f"{URL}?wait=0", json=ASKED).json["name"] != first.json["name"]


@pytest.mark.parametrize(
    ("body", "query", "field"),
    [
        ({}, "", "question"),
        ({"question": ""}, "", "question"),
        ({"question": " \n"}, "", "question"),
        ({"question": "a\0b"}, "", "question"),
        ({"question": "\ud800"}, "", "question"),
        ({"question": 7}, "", "question"),
        ({"question": "Why?", "qestion": "Why?"}, "", "qestion"),
        (["Why?"], "", "body"),
        (ASKED, "?wait=31", "wait"),
        (ASKED, "?wait=nan", "wait"),
        (ASKED, "?wait=soon", "wait"),
        (ASKED, "?wiat=1", "wiat"),
    ],
)
def test_what_is_no_question_is_refused_with_its_field(body, query, field, http, stored):
    told = http.post(URL + query, json=body)
    assert (told.status_code, told.json["field"]) == (422, field)
    assert told.content_type == "application/problem+json"
    assert stored() == (0, 0, 0)


def test_no_batch_but_a_question_is_found_under_questions(http, submitted, write):
    batch = submitted(write("f.csv", 2)).batch
    for name in (str(batch.id), batch.name, "ask-0"):
        assert http.get(f"{URL}/{name}").status_code == 404
