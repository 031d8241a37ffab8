"""Recovery time after kill -9 and after an outage of a service.

Measures, at the default lease and sweep, on PostgreSQL: workers are killed with -9 in the middle of
their jobs and started again, from the kill until each job runs again; then Redis (kill -9) and
PostgreSQL (fast stop) are stopped in turns while workers have jobs, from the end of their start to
the next new result. The model is simulated. Favors us: no backlog delays the new message of a
killed job, and the model loads at once.

    python benchmarks/recovery.py [--kills 50] [--returns 20]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))

import _mill

from core.settings.settings import Settings
from db.session import reading
from db.tables import jobs
from tests import services
from tests.chaos.ledger import Poller
from tests.chaos.world import World

WORKERS = 6
JOB_SIZE = 128
GIVE_UP_SECONDS = 90
DEFAULTS = {
    name.upper(): str(Settings.model_fields[name].default)
    for name in ("lease_seconds", "sweep_seconds", "attempts")
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--returns", type=int, default=20)
    options = parser.parse_args()
    with (
        services.short_folder() as folder,
        contextlib.closing(
            World(folder, "postgres", workers=WORKERS, JOB_SIZE=str(JOB_SIZE), **DEFAULTS)
        ) as world,
    ):
        kills: list[float] = []
        while len(kills) < options.kills:
            kills += after_kills(world, len(kills))
            print(f"{len(kills)} jobs run again, worst {max(kills):.1f} s", file=sys.stderr)
        returns = after_returns(world, options.returns)
    steps = [("kill -9 to running again", kills)]
    steps += [(f"{name} back to the next result", seconds) for name, seconds in returns.items()]
    rows = [(name, len(times), sorted(times)[len(times) // 2], max(times)) for name, times in steps]
    _mill.print_table("Recovery, seconds", ("step", "times", "median", "worst"), rows)
    worst = {
        f"{name.lower()}_back_worst_seconds": round(max(seconds), 1)
        for name, seconds in returns.items()
    }
    _mill.print_json("recovery", kills=len(kills), kill_worst_seconds=round(max(kills), 1), **worst)


def submit(world: World, name: str, count: int) -> None:
    path = world.folder / f"{name}.csv"
    path.write_text(
        "question\n" + "".join(f"where is {number} of {name}\n" for number in range(count))
    )
    world.run_json("submit", str(path), "--name", name)


def running(world: World) -> dict[int, int]:
    """Return the attempt of every running job."""
    query = sa.select(jobs.c.id, jobs.c.attempt).where(jobs.c.state == "running")
    with reading(world.engine) as conn:
        return {row.id: row.attempt for row in conn.execute(query)}


def after_kills(world: World, number: int) -> list[float]:
    """Kill every worker while it runs a job.

    Returns the seconds until each of their jobs runs again.
    """
    submit(world, f"killed-{number}", 2 * WORKERS * JOB_SIZE)
    while len(running(world)) < WORKERS:
        time.sleep(0.01)
    for worker in list(world.workers):
        world.kill(worker)
    killed, killed_at = running(world), time.monotonic()
    seconds: list[float] = []
    while killed and time.monotonic() < killed_at + GIVE_UP_SECONDS:
        again = {
            job for job, attempt in running(world).items() if attempt > killed.get(job, 1 << 62)
        }
        seconds += [time.monotonic() - killed_at] * len(again)
        killed = {job: attempt for job, attempt in killed.items() if job not in again}
        time.sleep(0.02)
    return seconds + [float("inf")] * len(killed)


def after_returns(world: World, times: int) -> dict[str, list[float]]:
    """Stop and start Redis and PostgreSQL in turns.

    Returns the seconds from the end of each start to a new result.
    """
    poller = Poller(world.settings)
    seconds: dict[str, list[float]] = {"Redis": [], "PostgreSQL": []}
    for number in range(times):
        submit(world, f"outage-{number}", 20 * WORKERS * JOB_SIZE)
        name = ("Redis", "PostgreSQL")[number % 2]
        if name == "Redis":
            world.redis.kill(lose_file=False)
            time.sleep(1 + number / 2)
            world.redis.start()
        else:
            world.postgres.stop("fast")
            time.sleep(1 + number / 2)
            world.postgres.start()
        started = time.monotonic()
        while poller.newest < started and time.monotonic() < started + GIVE_UP_SECONDS:
            time.sleep(0.01)
        taken = poller.newest - started if poller.newest > started else float("inf")
        seconds[name].append(taken)
        print(f"{name} back: {taken:.1f} s", file=sys.stderr)
    poller.stop()
    return seconds


if __name__ == "__main__":
    main()
