"""A Redis that refuses to write is outlived: no process ends of it, and nothing is lost."""

from __future__ import annotations

import random
import time
from contextlib import closing

from tests import services
from tests.chaos import faults
from tests.chaos.world import World


def test_no_worker_ends_while_redis_is_out_of_memory():
    with services.short_folder() as folder, closing(World(folder, "sqlite", workers=1)) as world:
        path = folder / "asked.csv"
        path.write_text("question\n" + "".join(f"Where is parcel {n}?\n" for n in range(400)))
        before = [worker.pid for worker in world.workers]
        batch = str(world.told("submit", str(path))["batch"])
        until = time.monotonic() + 60
        while world.told("status", batch)["answered"] == 0:
            assert time.monotonic() < until
        faults.fill_redis(world, random.Random(1))
        while (told := world.told("status", batch))["state"] != "done":
            assert time.monotonic() < until, told
        assert told["answered"] == 400
        assert [worker.pid for worker in world.workers] == before
        log = (folder / "worker-0.log").read_text()
        assert log.count("model loaded") == 1
        assert "Traceback" not in log
        assert "lease ran out" not in log
