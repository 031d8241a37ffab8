"""Malformed messages kill no worker, and those after them are answered."""

from __future__ import annotations

import random
from contextlib import closing

from tests import services
from tests.chaos import faults
from tests.chaos.world import World
from tests.waiting import wait_for


def test_no_malformed_message_ends_a_worker():
    with services.short_folder() as folder, closing(World(folder, "sqlite")) as world:
        path = folder / "asked.csv"
        path.write_text("question\n" + "Where is it?\n" * 20)
        logs = [folder / f"worker-{number}.log" for number in range(len(world.workers))]
        wait_for(lambda: all("model loaded" in log.read_text() for log in logs), 60)
        before = [worker.pid for worker in world.workers]
        faults.send_malformed_messages(world, random.Random(1))
        batch = str(world.run_json("submit", str(path))["batch"])
        assert world.await_done(batch, 60)["answered"] == 20
        assert [worker.pid for worker in world.workers] == before
        texts = [log.read_text() for log in logs]
        assert sum(text.count("message refused") for text in texts) > 20
        assert not any("Traceback" in text for text in texts)
