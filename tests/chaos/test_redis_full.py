"""A Redis that refuses to write is outlived: no process ends of it, and work goes on."""

from __future__ import annotations

import json
import time
from contextlib import closing

from tests import services
from tests.chaos import faults
from tests.chaos.world import World

_FULL_SECONDS = 4.0


def test_no_worker_ends_while_redis_is_out_of_memory():
    with services.short_folder() as folder, closing(World(folder, "sqlite", workers=1)) as world:
        until = time.monotonic() + 60
        log = folder / "worker-0.log"
        while not log.exists() or "model loaded" not in log.read_text():
            assert time.monotonic() < until
            time.sleep(0.1)
        before = [worker.pid for worker in world.workers]
        _hand_over_a_message_that_can_not_be_noted(world)
        path = folder / "asked.csv"
        path.write_text("question\n" + "".join(f"Where is parcel {n}?\n" for n in range(40)))
        batch = str(world.told("submit", str(path))["batch"])
        while (told := world.told("status", batch))["state"] != "done":
            assert time.monotonic() < until, told
        assert told["answered"] == 40
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
