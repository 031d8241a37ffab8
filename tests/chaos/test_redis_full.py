"""A Redis that refuses to write is outlived: no process ends of it, and work goes on."""

from __future__ import annotations

import json
import time
from contextlib import closing

from tests import services
from tests.chaos import faults
from tests.chaos.world import World
from tests.waiting import wait_for

_FULL_SECONDS = 4.0


def test_no_worker_ends_while_redis_is_out_of_memory():
    with services.short_folder() as folder, closing(World(folder, "sqlite", workers=1)) as world:
        log = folder / "worker-0.log"
        wait_for(lambda: log.exists() and "model loaded" in log.read_text(), 60)
        before = [worker.pid for worker in world.workers]
        _hand_over_a_message_that_can_not_be_noted(world)
        path = folder / "asked.csv"
        path.write_text("question\n" + "".join(f"Where is parcel {n}?\n" for n in range(40)))
        batch = str(world.run_json("submit", str(path))["batch"])
        assert world.await_done(batch, 60)["answered"] == 40
        assert [worker.pid for worker in world.workers] == before
        assert log.read_text().count("model loaded") == 1


def _hand_over_a_message_that_can_not_be_noted(world: World) -> None:
    # kombu notes in Redis each message that it takes from a lane; a rename needs no memory.
    client = world.redis.client
    body = json.dumps([[], {"v": 1, "job": 1}, {}]).encode()
    client.rpush("staged", faults._envelope(body))
    client.config_set("maxmemory", 1)
    client.rename("staged", faults._QUEUE)
    time.sleep(_FULL_SECONDS)
    client.config_set("maxmemory", 0)
