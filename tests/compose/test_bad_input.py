"""Faults of the setup: one line for each, and all of them at once from `check`."""

from __future__ import annotations

import json
import re

from tests.compose.project import IMAGES, command, faults


def only_line(done) -> str:
    """Return the one line that a service printed before it gave up."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("answermill: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_a_healthy_stack_has_no_fault(mill):
    for service in ("worker", "producer"):
        done = mill.once(service, "check")
        assert (done.returncode, faults(done)) == (0, {}), done.stdout + done.stderr


def test_a_missing_secret_is_named():
    bare = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", f"{IMAGES}:worker"]
    done = command(*bare, check=False)
    assert done.returncode == 2
    assert "ANSWERMILL_DATABASE_URL: not set" in only_line(done)
    found = faults(command(*bare, "check", check=False))
    assert "/run/secrets/answermill_database_url" in found["database"]
    assert "/run/secrets/answermill_broker_url" in found["broker"]


def test_wrong_passwords_are_reported_all_at_once_and_never_shown(other):
    for secret in ("database_url", "broker_url_worker"):
        url = other.read(secret)
        other.write(secret, re.sub(r":[0-9a-f]{48}@", ":s3cret@", url))
    done = other.once("worker", "check")
    found = faults(done)
    assert done.returncode == 3
    assert "password authentication failed" in found["database"]
    assert "invalid username-password pair" in found["broker"]
    worker = other.once("worker")
    assert worker.returncode == 3
    assert "password authentication failed" in only_line(worker)
    assert "s3cret" not in done.stdout + done.stderr + worker.stdout + worker.stderr


def test_a_database_without_tables_and_a_redis_of_another_stack_are_reported(mill, other):
    mill.sql("CREATE DATABASE other")
    other.write(
        "database_url",
        other.read("database_url").replace("@postgres/answermill", "@postgres/other"),
    )
    done = other.once("worker")
    assert done.returncode == 2
    assert "has no tables yet; run `answermill db upgrade`" in only_line(done)

    other.compose("run", "--rm", "-T", "migrate")
    found = faults(other.once("worker", "check"))
    assert "workers on another database use it" in found["broker"]
    assert "no model" in found["model"]
    mill.sql("DROP DATABASE other WITH (FORCE)")


def test_a_schema_of_a_later_release_is_worked_with_and_left_alone(mill):
    ((revision,),) = mill.sql("SELECT version_num FROM alembic_version")
    mill.sql("UPDATE alembic_version SET version_num = '9999'")
    try:
        upgraded = mill.compose("run", "--rm", "-T", "migrate")
        checked = mill.once("worker", "check")
    finally:
        mill.sql(f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608 - was there
    assert "9999, later than this release's" in upgraded.stdout
    assert (checked.returncode, faults(checked)) == (0, {})


def test_an_empty_model_store_is_reported(mill):
    empty = {"MODEL_STORE": "/tmp/empty"}
    done = mill.once("worker", settings=empty)
    assert done.returncode == 2
    assert "is not in the model store /tmp/empty" in only_line(done)
    assert (
        "is not in the model store" in faults(mill.once("worker", "check", settings=empty))["model"]
    )


def test_parquet_which_the_image_leaves_out_is_reported(mill):
    done = mill.once("producer", "submit", "-", "--format", "parquet", input="PAR1")
    assert done.returncode == 2
    assert "pip install 'answermill[parquet]'" in only_line(done)


def test_a_worker_waits_for_an_unavailable_redis(mill, other):
    other.write("broker_url_worker", "redis://worker:s3cret@redis:1/0")
    words = ["run", "-d", "--no-deps", "worker"]
    container = other.compose(*words).stdout.split()[-1]
    try:
        mill.wait_for_log(container, "Redis connection postponed")
        mill.wait_for_log(container, "Connection refused")
        state = json.loads(command("docker", "inspect", container).stdout)[0]["State"]
        assert state["Running"]
    finally:
        command("docker", "rm", "-f", container)
