"""The producer's side: batches of keyed questions, submitted by command, killed and run again."""

from __future__ import annotations

import csv
import itertools
import json
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from core.errors import ServiceUnavailable
from db.clock import DatabaseClock
from db.session import reading
from tests.chaos.world import World

_UNAVAILABLE_STATUS = 3
_GIVE_UP_SECONDS = 60
_OUTSTANDING = 3_000  # questions: enough that every fault hits work
_DEADLINE_SECONDS = 4
_LARGEST = 2_000  # questions of a batch


@dataclass
class Asked:
    """A batch as the caller knows it."""

    name: str
    texts: dict[str, str]  # by key
    id: int = 0
    cancelled_at: datetime | None = None  # by the database's clock, when `cancel` had returned
    running_then: set[int] = field(default_factory=set)  # positions of jobs running just then


class Producer:
    """A thread that submits batch after batch until `stop` is called."""

    def __init__(self, world: World, seed: int, final: dict[int, set[int]]) -> None:
        self._world, self._rng, self._final = world, random.Random(seed), final
        self.asked: list[Asked] = []
        self.kills = 0
        self._numbers = itertools.count(1)
        self.fault: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the submission in progress finish; raise what went wrong."""
        self._stop.set()
        self._thread.join()
        if self.fault:
            raise self.fault

    def outstanding(self) -> int:
        """Return how many accepted questions have not been seen final by the poller."""
        seen = sum(len(self._final.get(batch.id, ())) for batch in list(self.asked))
        return sum(len(batch.texts) for batch in list(self.asked)) - seen

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self.outstanding() > _OUTSTANDING:
                    time.sleep(0.1)
                    continue
                self._submit(next(self._numbers))
        except BaseException as error:  # noqa: BLE001 - raised by `stop`
            self.fault = error

    def _submit(self, number: int) -> None:
        rng = self._rng
        batch = Asked(f"chaos-{number}", dict(self._questions(number)))
        path = self._world.folder / f"{batch.name}.csv"
        _write(path, batch.texts)
        words = ["submit", str(path), "--name", batch.name, "--json"]
        if rng.random() < 0.15:
            words += ["--deadline", f"{_DEADLINE_SECONDS}s"]
        if rng.random() < 0.2:
            self._killed(words)
        try:
            batch.id = self._command(words)["batch"]
        except subprocess.CalledProcessError as error:
            if "is expired" in error.stderr:  # before all of it was in: it was never accepted
                return
            raise
        self.asked.append(batch)
        if rng.random() < 0.15:
            self._cancel(batch)

    def _questions(self, number: int):
        for n in range(self._rng.randrange(1, _LARGEST)):
            word = "!raise" if self._rng.random() < 0.002 else "where"
            yield f"{number}-{n}", f"{word} is parcel {self._rng.randrange(10**9)} of {number}"

    def _killed(self, words: list[str]) -> None:
        process = self._world.start_command(*words)
        time.sleep(self._rng.uniform(0.2, 1.2))
        process.kill()
        process.communicate()
        self.kills += 1

    def _command(self, words: list[str]) -> dict:
        """Run a command until no service that it needs is unavailable."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            process = self._world.start_command(*words)
            output, error = process.communicate()
            if process.returncode == 0:
                return json.loads(output) if "--json" in words else {}
            if process.returncode != _UNAVAILABLE_STATUS or time.monotonic() > give_up:
                raise subprocess.CalledProcessError(process.returncode, words, output, error)

    def _cancel(self, batch: Asked) -> None:
        try:
            self._command(["cancel", str(batch.id)])
        except subprocess.CalledProcessError as error:
            if "cannot be cancelled" in error.stderr:  # it has ended
                return
            raise
        batch.cancelled_at, batch.running_then = self._running(batch)

    def _running(self, batch: Asked) -> tuple[datetime, set[int]]:
        query = sa.text(
            "SELECT first_position, last_position FROM jobs WHERE batch_id = :b"
            " AND state = 'running'"
        )
        while True:
            try:
                with reading(self._world.engine) as conn:
                    spans = conn.execute(query, {"b": batch.id}).all()
                now = DatabaseClock(self._world.engine)()
            except ServiceUnavailable:
                time.sleep(0.1)
            else:
                return now, {p for first, last in spans for p in range(first, last + 1)}


def _write(path: Path, texts: dict[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "question"])
        writer.writerows(texts.items())
