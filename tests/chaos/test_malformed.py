"""Malformed messages kill no worker, and those after them are answered."""

from __future__ import annotations

import json
import random
import time
from contextlib import closing

from tests import services
from tests.chaos import faults
from tests.chaos.world import World


def test_no_malformed_message_ends_a_worker():
    with services.short_folder() as folder, closing(World(folder, "sqlite")) as world:
        path = folder / "asked.csv"
        path.write_text("question\n" + "Where is it?\n" * 20)
        until = time.monotonic() + 60
        while not all("model loaded" in log.read_text() for log in folder.glob("worker-*.log")):
            assert time.monotonic() < until
            time.sleep(0.1)
        before = [worker.pid for worker in world.workers]
        faults.send_malformed_messages(world, random.Random(1))
        done, _ = world.start_command("submit", str(path), "--json").communicate()
        told = {}
        while told.get("state") != "done":
            assert time.monotonic() < until
            batch = str(json.loads(done)["batch"])
            told = json.loads(world.start_command("status", batch, "--json").communicate()[0])
        assert told["answered"] == 20
        assert [worker.pid for worker in world.workers] == before
        logs = [log.read_text() for log in folder.glob("worker-*.log")]
        assert sum(log.count("message refused") for log in logs) > 20
        assert not any("Traceback" in log for log in logs)
