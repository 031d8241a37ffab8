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
    """Return the events' names and data, and after how many milliseconds to come again."""
    text = b"".join(stream).decode()
    told, again = [], None
    for block in text.split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        again = int(lines["retry"]) if "retry" in lines else again
        if "event" in lines:
            told.append((lines["event"], json.loads(lines["data"])))
    return told, again


def _end(engine, batch):
    while job := _next(engine, batch):
        finish(engine, job)
    with transaction(engine) as conn:
        close_finished(conn, NOW)


def _next(engine, batch):
    return (
        running_job(engine, batch) if batch_status(engine, str(batch.id)).progress.queued else None
    )


def _follow(engine, followers, *batches):
    return followers.stream([batch_status(engine, str(batch.id)) for batch in batches])


def test_a_follower_hears_of_progress_and_of_the_end(engine):
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
    told, _ = _read(stream)
    assert told[-1][0] == "end"
    assert (told[-1][1]["answered"], told[-1][1]["state"]) == (4, "done")
    assert [name for name, _ in told].count("end") == 1


def test_what_is_final_already_is_told_at_once(engine):
    batch = stored_batch(engine, 2)
    _end(engine, batch)
    told, _ = _read(_follow(engine, EventStreams(engine, threading.Semaphore(1)), batch))
    assert [name for name, _ in told] == ["end"]


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


def test_where_no_place_is_free_a_client_is_told_once_and_when_to_come_again(engine):
    batch = stored_batch(engine, 2)
    places = threading.Semaphore(1)
    followers = EventStreams(engine, places)
    kept = _follow(engine, followers, batch)
    next(kept)
    told, again = _read(_follow(engine, followers, batch))
    assert ([name for name, _ in told], again) == (["progress"], 3000)
    kept.close()
    assert places.acquire(blocking=False)  # whoever goes away leaves the place to others


def test_a_stream_ends_after_a_while_and_its_thread_with_it(engine, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.1)
    batch = stored_batch(engine, 2)
    followers = EventStreams(engine, threading.Semaphore(1))
    told, again = _read(_follow(engine, followers, batch))
    assert (told[-1][0], again) == ("progress", 1000)
    for thread in threading.enumerate():
        if thread.name == "followers":
            thread.join(10)
            assert not thread.is_alive()


def test_two_hundred_followers_are_served_by_one_look(engine, monkeypatch):
    batch = stored_batch(engine, 2)
    followers = EventStreams(engine, threading.Semaphore(150))
    looks = []
    look = EventStreams._tell

    def counted(self, followed, clock):
        looks.append(sorted(followed))
        look(self, followed, clock)

    monkeypatch.setattr(EventStreams, "_tell", counted)
    first = [batch_status(engine, str(batch.id))]
    started = threading.Barrier(201)

    def follow():
        stream = followers.stream(first)
        head = [next(stream), next(stream)]
        started.wait(60)
        return _read([*head, *stream])

    with ThreadPoolExecutor(200) as pool:
        found = [pool.submit(follow) for _ in range(200)]
        started.wait(60)
        _end(engine, batch)
        told = [one.result(60) for one in found]
    assert sum(again == 1000 for _, again in told) == 150
    assert all(seen[-1][0] == "end" for seen, again in told if again == 1000)
    assert all(seen[-1][0] == "progress" for seen, again in told if again == 3000)
    assert all(followed == [batch.id] for followed in looks)


def test_events_over_http(http, engine, key, monkeypatch):
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    batch = partly_final_batch(engine, 6)
    told = http.get(f"{URL}/{batch.name}/events")
    assert (told.status_code, told.mimetype) == (200, "text/event-stream")
    (name, data), *_ = _read([told.data])[0]
    assert (name, data["batch"], data["handed_off"]) == ("progress", batch.id, 1)
    assert http.get(f"{URL}/99/events").status_code == 404
    wrong = {"Authorization": f"Bearer {key(Scope.SUBMIT)}"}
    assert http.get(f"{URL}/{batch.id}/events", headers=wrong).status_code == 403
