"""A model that fails on everything, in a whole worker.

Work stops, is reported, and burns nothing.
"""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from tests import services
from tests.chaos.simulated import BROKEN
from tests.chaos.world import World
from tests.waiting import wait_for

QUESTIONS = 2  # that would soon be given up, if it were their fault
FAILURES = 5
WITHIN_SECONDS = 60
SETTINGS = {
    "JOB_SIZE": "1",
    "BREAKER_FAILURES": str(FAILURES),
    "BREAKER_SECONDS": "1",
    "ATTEMPTS": "3",
    "FOLLOW_SECONDS": "1",
}


@pytest.fixture(params=["sqlite", "postgres"])
def world(request):
    with services.short_folder() as folder:
        try:
            world = World(folder, request.param, digest=BROKEN, **SETTINGS)
        except ModuleNotFoundError as error:
            services.missing(str(error.name), error)
        with closing(world):
            yield world


def soon(condition):
    return wait_for(condition, WITHIN_SECONDS, interval=0.2)


def health(world):
    process = world.start_command("worker", "--health")
    output, error = process.communicate()
    return process.returncode, output + error


def test_a_broken_model_stops_the_work_and_a_good_one_resumes_it(world):
    path = world.folder / "asked.csv"
    path.write_text("question\n" + "".join(f"where is parcel {n}\n" for n in range(QUESTIONS)))
    batch = str(world.run_json("submit", str(path))["batch"])
    logs = sorted(world.folder.glob("worker-*.log"))

    soon(lambda: all("circuit breaker opened" in log.read_text() for log in logs))
    status, text = soon(lambda: (report := health(world))[0] != 0 and report)
    assert "claims no jobs" in text, (status, text)
    time.sleep(3)  # tries of one job each, further and further apart
    stopped = world.run_json("status", batch)
    assert (stopped["failed"], stopped["answered"]) == (0, 0)

    world.promote("good")

    ended = world.await_done(batch, WITHIN_SECONDS)
    assert (ended["failed"], ended["answered"]) == (0, QUESTIONS)
    soon(lambda: any("circuit breaker closed" in log.read_text() for log in logs))
    soon(lambda: health(world)[0] == 0)
