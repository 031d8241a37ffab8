"""Killing workers and Redis in the middle of a batch loses nothing and doubles nothing."""

from __future__ import annotations

import csv
import os
import signal
from importlib.resources import files
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from db.session import reading

QUESTIONS = 2_000
WITHIN_SECONDS = 60


@pytest.fixture(scope="module")
def questions_file(tmp_path_factory):
    """2,000 different questions, made of the sample's."""
    with (files("stack") / "sample" / "questions.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["question"] for row in csv.DictReader(file)]
    path = tmp_path_factory.mktemp("questions") / "tickets.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "question"])
        writer.writerows((f"T-{n}", f"{texts[n % len(texts)]} ({n})") for n in range(QUESTIONS))
    return path


def assert_each_question_ended_once(mill, batch):
    counts = mill.json("status", str(batch))
    assert counts["state"] == "done"
    assert counts["answered"] + counts["handed_off"] == QUESTIONS
    with reading(mill.engine) as conn:
        rows = conn.execute(
            sa.text(
                "SELECT q.text, r.key, q.key AS asked FROM questions q"
                " JOIN results r ON r.batch_id = q.batch_id AND r.position = q.position"
                " WHERE q.batch_id = :b"
            ),
            {"b": batch},
        ).all()
    assert len(rows) == QUESTIONS
    assert all(row.key == row.asked for row in rows)


def in_the_middle(mill, questions_file):
    """Submit, and return the batch once some of it is answered and some is not."""
    batch = mill.json("submit", str(questions_file))["batch"]
    mill.await_final(batch, 200, 60)
    assert mill.final(batch) < QUESTIONS
    return batch


def test_a_killed_worker_loses_nothing(mill, questions_file):
    worker = mill.start_worker()
    batch = in_the_middle(mill, questions_file)
    os.kill(worker.pid, signal.SIGKILL)
    mill.kill(worker)

    mill.start_worker()

    mill.await_final(batch, QUESTIONS, WITHIN_SECONDS)
    assert_each_question_ended_once(mill, batch)


def test_a_killed_child_loses_nothing(mill, questions_file):
    worker = mill.start_worker()
    batch = in_the_middle(mill, questions_file)

    mill.child_of(worker).kill()

    mill.await_final(batch, QUESTIONS, WITHIN_SECONDS)
    assert_each_question_ended_once(mill, batch)
    assert worker.poll() is None


def test_losing_all_of_redis_loses_nothing(mill, questions_file):
    mill.start_worker()
    batch = in_the_middle(mill, questions_file)

    with redis.Redis(unix_socket_path=str(mill.settings.redis_socket)) as client:
        client.flushall()

    mill.await_final(batch, QUESTIONS, WITHIN_SECONDS)
    assert_each_question_ended_once(mill, batch)


def test_sigterm_lets_the_job_in_work_finish(mill, questions_file):
    worker = mill.start_worker()
    batch = in_the_middle(mill, questions_file)

    worker.terminate()

    assert worker.wait(30) == 0
    assert mill.scalar("SELECT count(*) FROM jobs WHERE state = 'running'") == 0
    mill.start_worker()
    mill.await_final(batch, QUESTIONS, WITHIN_SECONDS)
    assert_each_question_ended_once(mill, batch)


def test_the_workers_parent_never_loads_torch(mill):
    worker = mill.start_worker()
    child = mill.child_of(worker)

    def libraries(pid: int) -> str:
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")

    assert "libtorch" in libraries(child.pid)
    assert "libtorch" not in libraries(worker.pid)
