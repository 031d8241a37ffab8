from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.domain.api_key import Scope
from db.queries.batches import close_finished
from db.session import transaction
from producer.batches.status import batch_status
from producer.web.live import server_sent_events
from producer.web.live.server_sent_events import EventStreams
from tests.factories import NOW, finish, partly_final_batch, running_job, stored_batch

URL = "/v1/batches"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(server_sent_events, "_PAUSE_SECONDS", 0.02)


def _read(stream):
    """Return the names and data of the events, and the reconnection time in milliseconds."""
    text = b"".join(stream).decode()
    events, retry = [], None
    for block in text.split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        retry = int(lines["retry"]) if "retry" in lines else retry
        if "event" in lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events, retry


def _end(engine, batch):
    while job := _next(engine, batch):
        finish(engine, job)
    with transaction(engine) as conn:
        close_finished(conn, NOW)


def _next(engine, batch):
    return (
        running_job(engine, batch) if batch_status(engine, str(batch.id)).progress.queued else None
    )


def _follow(engine, streams, *batches):
    return streams.stream([batch_status(engine, str(batch.id)) for batch in batches])


def test_a_stream_sends_progress_and_the_end(engine):
    batch = stored_batch(engine, 4, job_size=2)
    stream = _follow(engine, EventStreams(engine, threading.Semaphore(1)), batch)
    assert next(stream) == b"retry: 1000\n\n"
    assert _read([next(stream)])[0][0][1]["queued"] == 4
    finish(engine, running_job(engine, batch))
    seen = []
    while not seen or seen[-1][1]["answered"] < 2:
        seen += _read([next(stream)])[0]
    assert {name for name, _ in seen} == {"progress"}
    _end(engine, batch)
    events, _ = _read(stream)
    assert events[-1][0] == "end"
    assert (events[-1][1]["answered"], events[-1][1]["state"]) == (4, "done")
    assert [name for name, _ in events].count("end") == 1


def test_a_final_batch_ends_the_stream_at_once(engine):
    batch = stored_batch(engine, 2)
    _end(engine, batch)
    events, _ = _read(_follow(engine, EventStreams(engine, threading.Semaphore(1)), batch))
    assert [name for name, _ in events] == ["end"]


def test_one_stream_follows_several_batches_until_the_last_is_final(engine):
    first, second = stored_batch(engine, 2, name="a"), stored_batch(engine, 2, name="b")
    stream = _follow(engine, EventStreams(engine, threading.Semaphore(1)), first, second)
    assert len(_read([next(stream), next(stream), next(stream)])[0]) == 2
    _end(engine, first)
    ended = []
    while not ended:
        ended = [data["batch"] for name, data in _read([next(stream)])[0] if name == "end"]
    assert ended == [first.id]
    _end(engine, second)
    assert [d["batch"] for name, d in _read(stream)[0] if name == "end"] == [second.id]


def test_without_a_free_slot_a_client_receives_the_status_once(engine):
    batch = stored_batch(engine, 2)
    slots = threading.Semaphore(1)
    streams = EventStreams(engine, slots)
    kept = _follow(engine, streams, batch)
    next(kept)
    events, retry = _read(_follow(engine, streams, batch))
    assert ([name for name, _ in events], retry) == (["progress"], 3000)
    kept.close()
    assert slots.acquire(blocking=False)  # a closed stream releases its slot


def test_a_stream_ends_after_a_while_and_its_thread_with_it(engine, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.1)
    batch = stored_batch(engine, 2)
    streams = EventStreams(engine, threading.Semaphore(1))
    events, retry = _read(_follow(engine, streams, batch))
    assert (events[-1][0], retry) == ("progress", 1000)
    for thread in threading.enumerate():
        if thread.name == "followers":
            thread.join(10)
            assert not thread.is_alive()


def test_one_query_serves_two_hundred_streams(engine, monkeypatch):
    batch = stored_batch(engine, 2)
    streams = EventStreams(engine, threading.Semaphore(150))
    rounds = []
    publish = EventStreams._publish

    def counted(self, followed, clock):
        rounds.append(sorted(followed))
        publish(self, followed, clock)

    monkeypatch.setattr(EventStreams, "_publish", counted)
    first = [batch_status(engine, str(batch.id))]
    started = threading.Barrier(201)

    def follow():
        stream = streams.stream(first)
        head = [next(stream), next(stream)]
        started.wait(60)
        return _read([*head, *stream])

    with ThreadPoolExecutor(200) as pool:
        futures = [pool.submit(follow) for _ in range(200)]
        started.wait(60)
        _end(engine, batch)
        received = [future.result(60) for future in futures]
    assert sum(retry == 1000 for _, retry in received) == 150
    assert all(seen[-1][0] == "end" for seen, retry in received if retry == 1000)
    assert all(seen[-1][0] == "progress" for seen, retry in received if retry == 3000)
    assert all(followed == [batch.id] for followed in rounds)


def test_events_over_http(http, engine, key, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    batch = partly_final_batch(engine, 6)
    response = http.get(f"{URL}/{batch.name}/events")
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    (name, data), *_ = _read([response.data])[0]
    assert (name, data["batch"], data["handed_off"]) == ("progress", batch.id, 1)
    assert http.get(f"{URL}/99/events").status_code == 404
    wrong = {"Authorization": f"Bearer {key(Scope.SUBMIT)}"}
    assert http.get(f"{URL}/{batch.id}/events", headers=wrong).status_code == 403
