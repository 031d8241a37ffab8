"""A worker that gets SIGTERM in the middle of a job that takes too long."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy as sa

from db.session import reading
from tests import services
from tests.chaos.world import World
from tests.waiting import wait_for

DRAIN_SECONDS = 2
LEASE_SECONDS = 60
WITHIN_SECONDS = 30  # far from the end of the lease


@pytest.fixture(params=["sqlite", "postgres"])
def world(request):
    with services.short_folder() as folder:
        changes = {"DRAIN_SECONDS": str(DRAIN_SECONDS), "LEASE_SECONDS": str(LEASE_SECONDS)}
        try:
            world = World(folder, request.param, workers=1, **changes)
        except ModuleNotFoundError as error:
            services.missing(str(error.name), error)
        with closing(world):
            yield world


def jobs(world):
    with reading(world.engine) as conn:
        return conn.execute(sa.text("SELECT state, failures, attempt FROM jobs ORDER BY id")).all()


def test_a_job_that_cannot_be_finished_in_time_is_given_back_at_once(world):
    path = world.folder / "asked.csv"
    path.write_text("question\n!hang for ever\n")
    world.run_json("submit", str(path))
    wait_for(lambda: jobs(world)[0].state == "running", WITHIN_SECONDS)
    worker = world.workers[0]
    world.stop_watching()

    worker.terminate()

    assert worker.wait(WITHIN_SECONDS) == 0
    assert [tuple(job) for job in jobs(world)] == [("queued", 0, 1)]
