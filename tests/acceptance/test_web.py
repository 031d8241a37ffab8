"""The HTTP front as it is run: gunicorn, Redis, a database and a worker that answers."""

from __future__ import annotations

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import openai
import pytest

from tests.acceptance.front import serving
from tests.waiting import wait_for

QUESTION = "How do I track my parcel?"
CLIENTS = 40
FOLLOWERS = 200


@pytest.fixture
def front(mill):
    """The address of a front, and a key that submits and reads."""
    with serving(mill, "submit", "read") as front:
        yield front


def test_questions_and_batches_are_answered_over_http(mill, front):
    address, key = front
    mill.start_worker()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as http:
        response = http.post("/v1/questions?wait=30", json={"question": QUESTION})
        assert (response.status_code, response.json()["status"]) == (200, "answered")

        lines = "question\n" + "".join(f"{QUESTION} It is number {n}.\n" for n in range(300))
        upload = {"Content-Type": "text/csv", "Idempotency-Key": "night"}
        posted = [http.post("/v1/batches", content=lines, headers=upload) for _ in range(2)]
        assert [response.status_code for response in posted] == [201, 200]
        url = posted[0].headers["Location"]
        wait_for(lambda: http.get(url).json()["state"] == "done", 60, lambda: http.get(url).text)
        rows = http.get(f"{url}/results/download?format=jsonl").text.splitlines()
        assert sorted(json.loads(row)["position"] for row in rows) == list(range(1, 301))


def test_many_clients_wait_at_once_and_none_is_dropped(mill, front):
    address, key = front
    mill.start_worker()

    def ask(number: int) -> str:
        response = httpx.post(
            f"{address}/v1/questions?wait=30",
            json={"question": f"{QUESTION} {number}"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        return response.json()["status"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(ask, range(CLIENTS)))
    assert len(statuses) == CLIENTS
    assert set(statuses) <= {"answered", "handed_off"}


def test_two_hundred_clients_follow_a_batch_and_none_is_dropped(mill, front):
    address, key = front
    headers = {"Authorization": f"Bearer {key}"}
    lines = "question\n" + "".join(f"{QUESTION} It is number {n}.\n" for n in range(20))
    upload = {**headers, "Content-Type": "text/csv"}
    posted = httpx.post(f"{address}/v1/batches", content=lines, headers=upload)
    url = f"{address}{posted.headers['Location']}/events"
    started = threading.Semaphore(0)

    def follow(_: int) -> str:
        text = _stream(url, headers, started)
        give_up = time.monotonic() + 90
        while "event: end" not in text:
            assert time.monotonic() < give_up, text
            time.sleep(int(text.partition("retry: ")[2].partition("\n")[0]) / 1_000)
            text = _stream(url, headers, started)
        return text.rpartition("data: ")[2]

    with ThreadPoolExecutor(FOLLOWERS) as pool:
        followed = [pool.submit(follow, number) for number in range(FOLLOWERS)]
        assert all(started.acquire(timeout=60) for _ in range(FOLLOWERS))
        mill.start_worker()
        ends = [json.loads(future.result()) for future in followed]
    assert {(end["state"], end["queued"], end["running"]) for end in ends} == {("done", 0, 0)}


def _stream(url: str, headers: dict[str, str], started: threading.Semaphore) -> str:
    text = ""
    with httpx.stream("GET", url, headers=headers, timeout=60) as stream:
        assert stream.status_code == 200
        for part in stream.iter_text():
            if "event: " not in text and "event: " in text + part:
                started.release()
            text += part
    return text


def _request(number: int, text: str) -> bytes:
    message = {"role": "user", "content": text}
    body = {"model": "any", "messages": [{"role": "system", "content": "Be kind."}, message]}
    line = {"custom_id": f"t-{number}", "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps({**line, "body": body}).encode() + b"\n"


def test_openais_own_client_makes_a_batch_and_reads_its_files(mill, front):
    address, key = front
    mill.start_worker()
    client = openai.OpenAI(base_url=f"{address}/openai/v1", api_key=key, max_retries=0)
    content = _request(1, QUESTION) + _request(2, "Why? " * 6_000) + _request(3, " ")
    file = client.files.create(file=("requests.jsonl", io.BytesIO(content)), purpose="batch")
    assert client.files.content(file.id).read() == content
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"night": "17"},
    )
    give_up = time.monotonic() + 60
    while (batch := client.batches.retrieve(batch.id)).status != "completed":
        assert time.monotonic() < give_up, batch
        time.sleep(0.1)
    assert (batch.metadata, batch.request_counts.total) == ({"night": "17"}, 3)

    lines = client.files.content(batch.output_file_id).text.splitlines()
    bodies = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, lines)}
    answered = bodies["t-1"]["choices"][0]["message"]
    assert answered["content"]
    assert answered["refusal"] is None
    handed_off = bodies["t-2"]["choices"][0]["message"]
    assert handed_off["content"] is None
    assert handed_off["refusal"] == "a person must answer this: too_long"
    assert batch.request_counts.completed + batch.request_counts.failed == 3

    assert next(iter(client.batches.list())).id == batch.id
    assert next(iter(client.files.list())).id == file.id
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)
