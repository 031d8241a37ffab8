"""`make chaos`: hurt a working Answermill on a seeded schedule, then account for every question.

The schedule, the questions and which of them are cancelled follow from the seed; what the
faults hit at that moment does not. Progress goes to standard error; the last line on
standard output is one JSON document. `worst_recovery_seconds` is the longest time from the
end of a fault to the next new result and to the jobs that were running when it struck
having run again or ended. Exit status 0 only if nothing was lost, doubled or wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from core.errors import ServiceUnavailable
from db.session import reading
from db.tables import jobs
from tests import services
from tests.chaos import faults
from tests.chaos.asking import Producer
from tests.chaos.ledger import Account, Poller, settle
from tests.chaos.world import World

_SETTLE_SECONDS = 90
_ENOUGH = 100  # questions outstanding
_SHOWN = 10
_ENDS_TRACEBACK = re.compile(r"[\w.]+(Error|Exception|Exit|Lost|Timeout)\b")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--db", choices=list(faults.OF_DATABASE), default="sqlite")
    given = parser.parse_args(words)
    report = chaos(given.db, given.seconds, given.seed)
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["lost"] or report["doubled"] or report["wrong"] else 0


def chaos(database: str, seconds: float, seed: int) -> dict:
    """Run once and return the content of the last line."""
    with services.short_folder() as folder, contextlib.closing(World(folder, database)) as world:
        poller = Poller(world.settings)
        producer = Producer(world, seed, poller.final)
        until, rng = time.monotonic() + seconds, random.Random(seed)
        stage = Stage(world, poller, producer)
        deal = _schedule(world, database, rng)
        struck = []
        while stage.await_work(until):
            struck.append(stage.hurt(*next(deal), rng))
        producer.stop()
        for trap in world.traps.iterdir():
            trap.unlink(missing_ok=True)
        _say(f"{len(struck)} faults, {producer.kills} killed submissions; settling")
        _settle(producer)
        poller.stop()
        with reading(world.engine) as conn:
            account = settle(conn, producer.asked, poller)
        _tell(account, world)
    return {
        "database": database,
        "seed": seed,
        "seconds": seconds,
        "faults": len(struck) + producer.kills,
        "questions": sum(len(batch.texts) for batch in producer.asked),
        "lost": len(account.lost),
        "doubled": len(account.doubled),
        "wrong": len(account.wrong),
        "worst_recovery_seconds": round(max(struck, default=0.0), 1),
    }


def _schedule(
    world: World, database: str, rng: random.Random
) -> Iterator[tuple[str, faults.Fault]]:
    """Deal the faults in rounds, each as often as any other."""
    known = faults.EVERYWHERE | faults.OF_DATABASE[database]
    if not world.disk.can_be_filled:
        _say("no disk is filled: only root may mount one")
        del known["disk full"]
    while True:
        for name in rng.sample(sorted(known), len(known)):
            yield name, known[name]


@dataclass(frozen=True)
class Stage:
    """Who plays: what is hurt, who asks, who watches."""

    world: World
    poller: Poller
    producer: Producer

    def await_work(self, until: float) -> bool:
        """Wait until there is something to hurt; False when the time is up."""
        while time.monotonic() < until and not self.producer.fault:
            if self.producer.outstanding() >= _ENOUGH:
                return True
            time.sleep(0.05)
        return False

    def hurt(self, name: str, fault: faults.Fault, rng: random.Random) -> float:
        """Inject a fault; return how long it took to recover from it, in seconds."""
        running = _running(self.world)
        with contextlib.suppress(*faults.AWAY):
            fault(self.world, rng)
        began = time.monotonic()
        while not self._recovered(began, running) and time.monotonic() < began + _SETTLE_SECONDS:
            time.sleep(0.05)
        seconds = time.monotonic() - began
        waiting = self.producer.outstanding()
        _say(f"{name:26} recovered in {seconds:4.1f} s, {waiting:5} outstanding")
        time.sleep(rng.uniform(0.0, 0.5))
        return seconds

    def _recovered(self, began: float, running: dict[int, int]) -> bool:
        again = self.poller.newest > began or not self.producer.outstanding()
        now = _running(self.world)
        return again and not any(now.get(job) == attempt for job, attempt in running.items())


def _running(world: World) -> dict[int, int]:
    """Return the attempts of all running jobs.

    Return none while the database is unavailable.
    """
    query = sa.select(jobs.c.id, jobs.c.attempt).where(jobs.c.state == "running")
    with contextlib.suppress(ServiceUnavailable), reading(world.engine) as conn:
        return {row.id: row.attempt for row in conn.execute(query)}
    return {}


def _settle(producer: Producer) -> None:
    until = time.monotonic() + _SETTLE_SECONDS
    while producer.outstanding() and time.monotonic() < until:
        time.sleep(0.1)


def _tell(account: Account, world: World) -> None:
    for log in sorted(world.folder.glob("worker-*.log")):
        lines = log.read_text(errors="replace").splitlines()
        ends = Counter(line[:100] for line in lines if _ENDS_TRACEBACK.match(line))
        for line, times in ends.most_common(_SHOWN):
            _say(f"traceback in {log.name}, {times} times: {line}")
    for kind in ("lost", "doubled", "wrong"):
        for line in getattr(account, kind)[:_SHOWN]:
            _say(f"{kind}: {line}")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
