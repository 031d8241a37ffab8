"""Versions are promoted, rolled back and tried as canaries while questions flow (R17)."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import replace
from operator import ge

import psutil
import pytest
import sqlalchemy as sa

from db.clock import DatabaseClock
from db.queries import model_versions
from db.session import reading, transaction
from tests.acceptance.conftest import install
from tests.acceptance.mill import Mill
from tests.waiting import wait_for
from worker.inference.model_watcher import goes_to_canary
from worker.model.bundle.bundle import open_bundle, save_manifest
from worker.model.bundle.location import bundle_path

WITHIN_SECONDS = 60
MODEL_BYTES = 90_000_000  # of the encoder's weights

# A job's results: which versions they name, and when the last of them was stored.
_JOBS = """
SELECT j.id, min(r.model_version) AS first, max(r.model_version) AS last,
       max(r.answered_at) AS at, max(r.cursor) AS cursor
FROM jobs j JOIN result_rows r
  ON r.batch_id = j.batch_id AND r.position BETWEEN j.first_position AND j.last_position
WHERE j.state = 'done'
GROUP BY j.id
"""


@pytest.fixture
def mill(home, database_url, model_store):
    """A mill with a store of its own: shop@1 in production, shop@2 built."""
    store = home / "models"
    (bundle,) = (model_store / "shop").iterdir()
    shutil.copytree(bundle, store / "shop" / bundle.name, copy_function=os.link)
    with closing(Mill(home, database_url, store)) as mill:
        install(mill.settings, mill.engine, "shop")
        add_version(mill, threshold=0.6)
        yield mill


def add_version(mill, **parameters):
    """Register the shop's bundle with other parameters; return its path."""
    with reading(mill.engine) as conn:
        first = model_versions.find(conn, "shop@1")
    whole = open_bundle(bundle_path(mill.settings.models, "shop", first.digest))
    manifest = replace(whole.manifest, **parameters)
    path = bundle_path(mill.settings.models, "shop", manifest.digest)
    shutil.copytree(whole.path, path, copy_function=os.link)
    (path / "manifest.json").unlink()  # a link: writing would change the other one, too
    save_manifest(path, manifest)
    with transaction(mill.engine) as conn:
        now = DatabaseClock(mill.engine)()
        model_versions.register(conn, name="shop", digest=manifest.digest, metrics={}, now=now)
    return path


@pytest.fixture
def flowing(mill, tmp_path):
    """Start two workers on more questions than they will answer; return the logs."""
    file = tmp_path / "tickets.csv"
    lines = [f"Where is my order number {n}?" for n in range(20_000)]
    file.write_text("\n".join(["question", *lines]), encoding="utf-8")
    mill.environment["ANSWERMILL_JOB_SIZE"] = "8"
    mill.batch = mill.json("submit", str(file))["batch"]
    logs = []
    for number in range(2):
        mill.start_worker(ANSWERMILL_FOLLOW_SECONDS="1", ANSWERMILL_THREADS="1")
        logs.append(mill.home / f"worker-{number}.log")
    mill.await_final(mill.batch, 100, WITHIN_SECONDS)
    return logs


def done_jobs(mill, after=0):
    """Return the jobs whose results came after a cursor."""
    with reading(mill.engine) as conn:
        return [row for row in conn.execute(sa.text(_JOBS)) if row.cursor > after]


def last_cursor(mill):
    return mill.scalar("SELECT max(cursor) FROM result_rows WHERE batch_id = :b", b=mill.batch)


def moved(mill, logs, *words):
    """Run a command that moves a pointer; return the cursor after which all follow it.

    A worker may still store answers just after the swap that it computed just before.
    """
    before = event_counts(logs, "model swapped")
    done = mill.run("model", *words)
    assert done.returncode == 0, done.stderr
    await_events(logs, "model swapped", before, 1)
    await_events(logs, "job done", event_counts(logs, "job done"), 2)
    return last_cursor(mill)


def event_counts(logs, event):
    """Return how often each log has an event."""
    return [log.read_text().count(event) for log in logs]


def await_events(logs, event, before, times):
    """Wait until every log has the event that many times more."""

    def all_have():
        return all(map(ge, event_counts(logs, event), [count + times for count in before]))

    wait_for(all_have, WITHIN_SECONDS, lambda: "\n".join(log.read_text() for log in logs))


def jobs_after(mill, cursor, jobs=20):
    """Wait until that many jobs are done after the cursor; return them."""
    wait_for(lambda: len(done_jobs(mill, cursor)) >= jobs, WITHIN_SECONDS)
    return done_jobs(mill, cursor)


def memory(mill):
    return max(mill.child_of(worker).memory_info().rss for worker in mill.workers)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_versions_are_swapped_under_load_without_a_failed_question(mill, flowing):
    one_model = memory(mill)

    cursor = moved(mill, flowing, "promote", "shop@2")
    assert {job.first for job in jobs_after(mill, cursor)} == {"shop@2"}

    cursor = moved(mill, flowing, "rollback", "shop")
    assert {job.first for job in jobs_after(mill, cursor)} == {"shop@1"}

    cursor = moved(mill, flowing, "promote", "shop@2", "--canary", "40%")
    for job in jobs_after(mill, cursor, jobs=40):
        assert job.first == ("shop@2" if goes_to_canary(job.id, 0.4) else "shop@1")
    assert {job.first for job in done_jobs(mill, cursor)} == {"shop@1", "shop@2"}
    assert memory(mill) > one_model + MODEL_BYTES / 2

    cursor = moved(mill, flowing, "rollback", "shop")
    assert {job.first for job in jobs_after(mill, cursor)} == {"shop@1"}
    assert memory(mill) < one_model + MODEL_BYTES / 2

    assert mill.run("cancel", str(mill.batch)).returncode == 0
    assert all(job.first == job.last for job in done_jobs(mill))
    counts = mill.json("status", str(mill.batch))
    assert (counts["failed"], counts["answered"] > 0) == (0, True)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_version_that_does_not_load_leaves_the_one_before_answering(mill):
    mill.start_worker(ANSWERMILL_FOLLOW_SECONDS="0.5")
    log = mill.home / "worker-0.log"
    place = add_version(mill, threshold=0.7)
    (place / "entries.jsonl").unlink()

    refused = mill.run("model", "promote", "shop@3", "--force", "--reason", "force does not help")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    with transaction(mill.engine) as conn:  # as if it had been whole where it was promoted
        third = model_versions.find(conn, "shop@3")
        model_versions.promote(conn, third, by="test", now=DatabaseClock(mill.engine)())
    wait_for(lambda: "version not loaded" in log.read_text(), WITHIN_SECONDS, log.read_text)

    asked = mill.json("ask", "Where is my order?", "--wait", "30s")
    assert (asked["status"], asked["model_version"]) == ("answered", "shop@1")
    assert "entries.jsonl is missing" in log.read_text()
    assert psutil.pid_exists(mill.workers[0].pid)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_worker_with_a_set_version_number_stays_with_it(mill):
    mill.start_worker(ANSWERMILL_MODEL="shop@1", ANSWERMILL_FOLLOW_SECONDS="0.1")
    assert mill.run("model", "promote", "shop@2").returncode == 0
    asked = mill.json("ask", "Where is my order?", "--wait", "30s")
    assert asked["model_version"] == "shop@1"
    assert "model swapped" not in (mill.home / "worker-0.log").read_text()
