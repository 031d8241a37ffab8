"""What a process loads, and how much memory `submit` and a worker take."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stack.local.supervisor import redis_service

MILLION = 1_000_000
MOST_MEGABYTES = 150
IN_COMMON_MEGABYTES = 27  # 34; 19 where the child searches what the parent left for cycles

_WATCHED_SUBMIT = """
import json, sys
from stack.main import main
status = main(["submit", sys.argv[1], "--json"])
heavy = [m for m in ("torch", "transformers", "numpy", "worker", "sklearn") if m in sys.modules]
# Not getrusage: its maximum is that of the process which started this one, if higher.
with open("/proc/self/status") as file:
    (peak,) = (int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
print(json.dumps({"status": status, "heavy": heavy, "megabytes": peak / 1024}))
"""


@pytest.fixture
def watched_submit(settings):
    """Submit a file in a process of its own; return its document and what it cost."""
    redis = redis_service(settings)
    redis.start()

    def submit(path):
        done = subprocess.run(
            [sys.executable, "-c", _WATCHED_SUBMIT, str(path)],
            env={
                **os.environ,
                "ANSWERMILL_HOME": str(settings.home),
                "ANSWERMILL_DATABASE_URL": settings.database_url.get_secret_value(),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        document, cost = map(json.loads, done.stdout.splitlines())
        return document, cost

    yield submit
    redis.stop()


def test_the_producer_imports_no_model_and_no_worker(watched_submit, tmp_path):
    file = tmp_path / "q.csv"
    file.write_text("question\nWhere is my parcel?\n", encoding="utf-8")
    _, cost = watched_submit(file)
    assert cost["status"] == 0
    assert cost["heavy"] == []


@pytest.mark.slow
def test_a_million_questions_are_submitted_in_flat_memory(watched_submit, tmp_path):
    file = tmp_path / "million.csv"
    with file.open("w", encoding="utf-8") as out:
        out.write("key,question\n")
        for n in range(MILLION):
            out.write(f"T-{n},Where is my order number {n} and when will it be here?\n")
    document, cost = watched_submit(file)
    assert document["questions"] == MILLION
    assert cost["megabytes"] < MOST_MEGABYTES


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_worker_and_its_child_have_pages_in_common(mill):
    child = mill.child_of(mill.start_worker())
    batch = mill.json("ask", "Where is my order?")["batch"]
    mill.await_final(batch, 1, 60)
    rollup = Path(f"/proc/{child.pid}/smaps_rollup").read_text(encoding="ascii")
    (shared,) = re.findall(r"^Shared_Dirty: +(\d+) kB", rollup, re.MULTILINE)
    assert int(shared) / 1024 > IN_COMMON_MEGABYTES
