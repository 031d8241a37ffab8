"""A whole worker that has no memory for the passes that its model likes makes smaller ones."""

from __future__ import annotations

from contextlib import closing

import sqlalchemy as sa

from db.session import reading
from db.tables import jobs, results
from tests import services
from tests.chaos.simulated import HUNGRY, answer_of
from tests.chaos.world import World


def test_passes_shrink_and_nothing_dies_or_fails():
    with (
        services.short_folder() as folder,
        closing(World(folder, "sqlite", workers=1, digest=HUNGRY, JOB_SIZE="64")) as world,
    ):
        texts = [f"Where is parcel {n}?" for n in range(256)]
        path = folder / "asked.csv"
        path.write_text("question\n" + "\n".join(texts) + "\n")
        batch = str(world.run_json("submit", str(path))["batch"])
        world.await_done(batch, 60)
        with reading(world.engine) as conn:
            rows = conn.execute(sa.select(results).order_by(results.c.position)).all()
            assert conn.scalars(sa.select(jobs.c.failures)).all() == [0] * 4
        assert [row.answer for row in rows] == [answer_of(text) for text in texts]
        log = (folder / "worker-0.log").read_text()
        assert "pass size reduced" in log
        assert log.count("model loaded") == 1
        assert "Traceback" not in log
