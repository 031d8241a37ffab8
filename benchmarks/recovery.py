"""How long until work goes on after kill -9, and after Redis or PostgreSQL came back?

Measures, at the default lease and sweep, on PostgreSQL: all workers are killed with -9 in the
middle of their jobs and started again, from the kill until each job runs again; then Redis
(kill -9) and PostgreSQL (fast stop) are stopped in turns while there is work, from the end of
their start to the next new result. The model is simulated. Favours us: no backlog lies in front
of a killed job, whose new message would wait for its turn behind it; the model loads at once.

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
    """Measure and tell."""
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
        back = after_returns(world, options.returns)
    found = [("kill -9 to running again", kills)]
    found += [(f"{name} back to the next result", seconds) for name, seconds in back.items()]
    rows = [(name, len(all_), sorted(all_)[len(all_) // 2], max(all_)) for name, all_ in found]
    _mill.tell("Recovery, seconds", ("after", "times", "median", "worst"), rows)
    worst = {f"{name.lower()}_back_worst_seconds": round(max(s), 1) for name, s in back.items()}
    _mill.tell_json("recovery", kills=len(kills), kill_worst_seconds=round(max(kills), 1), **worst)


def submit(world: World, name: str, count: int) -> None:
    path = world.folder / f"{name}.csv"
    path.write_text("question\n" + "".join(f"where is {n} of {name}\n" for n in range(count)))
    world.told("submit", str(path), "--name", name)


def running(world: World) -> dict[int, int]:
    """Return the attempt of every job in work."""
    query = sa.select(jobs.c.id, jobs.c.attempt).where(jobs.c.state == "running")
    with reading(world.engine) as conn:
        return {row.id: row.attempt for row in conn.execute(query)}


def after_kills(world: World, number: int) -> list[float]:
    """Kill every worker at work; return how long each of their jobs took to run again."""
    submit(world, f"killed-{number}", 2 * WORKERS * JOB_SIZE)
    while len(running(world)) < WORKERS:
        time.sleep(0.01)
    for worker in list(world.workers):
        world.kill(worker)
    killed, at = running(world), time.monotonic()
    seconds: list[float] = []
    while killed and time.monotonic() < at + GIVE_UP_SECONDS:
        again = {
            job for job, attempt in running(world).items() if attempt > killed.get(job, 1 << 62)
        }
        seconds += [time.monotonic() - at] * len(again)
        killed = {job: attempt for job, attempt in killed.items() if job not in again}
        time.sleep(0.02)
    return seconds + [float("inf")] * len(killed)


def after_returns(world: World, times: int) -> dict[str, list[float]]:
    """Stop Redis and PostgreSQL in turns; return the seconds from return to a new result."""
    poller = Poller(world.settings)
    found: dict[str, list[float]] = {"Redis": [], "PostgreSQL": []}
    for number in range(times):
        submit(world, f"away-{number}", 20 * WORKERS * JOB_SIZE)
        name = ("Redis", "PostgreSQL")[number % 2]
        if name == "Redis":
            world.redis.kill(lose_file=False)
            time.sleep(1 + number / 2)
            world.redis.start()
        else:
            world.postgres.stop("fast")
            time.sleep(1 + number / 2)
            world.postgres.start()
        back = time.monotonic()
        while poller.newest < back and time.monotonic() < back + GIVE_UP_SECONDS:
            time.sleep(0.01)
        found[name].append(poller.newest - back if poller.newest > back else float("inf"))
        print(f"{name} back: {found[name][-1]:.1f} s", file=sys.stderr)
    poller.stop()
    return found


if __name__ == "__main__":
    main()
