from __future__ import annotations

import threading
import time

import pytest

from core.domain.batch import Lane
from producer.submission import ask
from tests.factories import finish, result, running_job

URL = "/v1/questions"
QUESTION = {"question": "Where is my parcel?"}


@pytest.mark.usefixtures("answering")
def test_a_question_is_answered_while_the_caller_waits(http):
    response = http.post(URL, json=QUESTION)
    assert response.status_code == 200
    assert response.json["status"] == "answered"
    assert response.json["answer"] == "On its way."
    assert response.json["model_version"] == "shop@1"
    assert http.get(response.json["link"]).json == response.json


def test_a_late_answer_is_available_under_the_link(http, engine, waiting):
    response = http.post(f"{URL}?wait=0", json=QUESTION)
    assert (response.status_code, response.json["status"]) == (202, None)
    assert waiting(Lane.INTERACTIVE) == 1
    link = response.headers["Location"]
    assert http.get(link).status_code == 202
    batch = ask.find_question(engine, response.json["name"]).batch
    finish(engine, running_job(engine, batch), [result(1, key="1")])
    assert http.get(link).json["answer"] == "On its way."


def test_a_waiting_request_returns_as_soon_as_the_result_is_stored(http, engine):
    def answer_soon():
        time.sleep(0.3)
        (batch,) = (ask.find_question(engine, name).batch for name in names)
        finish(engine, running_job(engine, batch), [result(1, key="1")])

    names = [http.post(f"{URL}?wait=0", json=QUESTION, headers=TOKEN).json["name"]]
    worker = threading.Thread(target=answer_soon)
    worker.start()
    response = http.post(f"{URL}?wait=30", json=QUESTION, headers=TOKEN)
    worker.join()
    assert (response.status_code, response.json["status"]) == (200, "answered")


TOKEN = {"Idempotency-Key": "form-17"}


def test_a_question_sent_twice_with_one_idempotency_key_is_stored_once(http, stored):
    first, second = (http.post(f"{URL}?wait=0", json=QUESTION, headers=TOKEN) for _ in range(2))
    assert first.json == second.json
    assert stored()[0] == 1
    other = http.post(f"{URL}?wait=0", json={"question": "Why?"}, headers=TOKEN)
    assert (other.status_code, other.json["field"]) == (409, "name")
    assert http.post(f"{URL}?wait=0", json=QUESTION).json["name"] != first.json["name"]


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
        (QUESTION, "?wait=31", "wait"),
        (QUESTION, "?wait=nan", "wait"),
        (QUESTION, "?wait=soon", "wait"),
        (QUESTION, "?wiat=1", "wiat"),
    ],
)
def test_an_invalid_question_is_refused_with_its_field(body, query, field, http, stored):
    response = http.post(URL + query, json=body)
    assert (response.status_code, response.json["field"]) == (422, field)
    assert response.content_type == "application/problem+json"
    assert stored() == (0, 0, 0)


def test_only_single_questions_are_found_under_questions(http, submitted, write):
    batch = submitted(write("f.csv", 2)).batch
    for name in (str(batch.id), batch.name, "ask-0"):
        assert http.get(f"{URL}/{name}").status_code == 404
