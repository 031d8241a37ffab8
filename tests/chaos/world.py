"""A whole Answermill to be hurt: services, two workers that are started again, a producer.

Everything runs as its users run it, in processes of its own; only the model is simulated, and
between the parts lie wires that can be cut.
Times are short, so that a minute holds many faults: a lease is 3 s here, a sweep 0.5 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from core.settings.load import load
from db.clock import DatabaseClock
from db.engine import open_engine
from db.migrations.run import upgrade
from db.queries import model_versions
from db.session import transaction
from tests.chaos.disk import Disk
from tests.chaos.proxy import Proxy
from tests.chaos.services import Postgres, Redis
from tests.waiting import wait_for
from worker.model.bundle.location import bundle_path

ROOT = Path(__file__).parents[2]
ATTEMPTS = 8
LEASE_SECONDS = 3.0

_SHORT = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "SWEEP_SECONDS": "0.5",
    "JOB_SIZE": "8",
    "SLICE_JOBS": "4",
    "HIGH_WATER": "50",
    "JOB_TIME_LIMIT": "60",
    # Faults strike the innocent, too: what is given up after so many is poison.
    "ATTEMPTS": str(ATTEMPTS),
    "BREAKER_FAILURES": "100",
}


class World:
    """All that runs."""

    def __init__(
        self,
        folder: Path,
        database: str,
        *,
        workers: int = 2,
        digest: str = "good",
        **changes: str,
    ) -> None:
        """Start it all.

        Args:
            folder: a short one, for everything.
            database: its kind, "sqlite" or "postgres".
            workers: how many.
            digest: of the version that workers answer with.
            changes: settings, by their names in capitals.
        """
        self.folder, self.traps = folder, folder / "traps"
        self.traps.mkdir()
        self.disk = Disk(folder / "disk")
        self.postgres = Postgres(self.disk.folder) if database == "postgres" else None
        url = self.postgres.url if self.postgres else f"sqlite:///{self.disk.folder / 'chaos.db'}"
        short = _SHORT | changes
        values = {name.lower(): value for name, value in short.items()}
        self.settings = load(home=folder, database_url=url, **values)
        self.wires = {"Redis": Proxy(self.settings.redis_socket)}
        if self.postgres:
            self.wires["PostgreSQL"] = wire = Proxy(self.postgres.socket)
            url = f"postgresql://postgres@127.0.0.1:{wire.port}/postgres?sslmode=disable"
        self.environment = {
            **os.environ,
            **{f"ANSWERMILL_{name}": value for name, value in short.items()},
            "ANSWERMILL_HOME": str(folder),
            "ANSWERMILL_DATABASE_URL": url,
            "ANSWERMILL_BROKER_URL": f"redis://127.0.0.1:{self.wires['Redis'].port}/0",
            "CHAOS_TRAPS": str(self.traps),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.engine = open_engine(self.settings)
        upgrade(self.engine)
        self.promote(digest)
        self.redis = Redis(self.settings)
        self._stopped = threading.Event()
        self._guard = threading.Lock()
        self.workers = [self._start_worker(n) for n in range(workers)]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def promote(self, digest: str) -> None:
        """Put a new version of this digest into production."""
        bundle_path(self.settings.models, "chaos", digest).mkdir(parents=True)
        with transaction(self.engine) as conn:
            now = DatabaseClock(self.engine)()
            version = model_versions.register(
                conn, name="chaos", digest=digest, metrics={}, now=now
            )
            model_versions.promote(conn, version, by="chaos", now=now)

    def close(self) -> None:
        """End everything."""
        self.stop_watching()
        for worker in self.workers:
            self.kill(worker)
        self.engine.dispose()
        self.redis.stop()
        if self.postgres:
            self.postgres.close()
        for wire in self.wires.values():
            wire.close()
        self.disk.close()

    def stop_watching(self) -> None:
        """Start no worker again that has ended."""
        self._stopped.set()
        self._watcher.join()

    def _start_worker(self, number: int) -> subprocess.Popen[bytes]:
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.simulated"],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )

    def _watch(self) -> None:
        while not self._stopped.wait(0.2):
            with self._guard:
                for number, worker in enumerate(self.workers):
                    if worker.poll() is not None:
                        self.workers[number] = self._start_worker(number)

    def a_worker(self, rng: random.Random) -> subprocess.Popen[bytes]:
        """Return one of the workers."""
        with self._guard:
            return rng.choice(self.workers)

    def signal_child(self, worker: subprocess.Popen[bytes], number: int) -> None:
        """Signal the process that holds the model, if there is one now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(worker.pid).children():
                child.send_signal(number)

    def signal_all(self, worker: subprocess.Popen[bytes], number: int) -> None:
        """Signal a worker and its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, number)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill -9 a worker and its children."""
        self.signal_all(worker, signal.SIGKILL)
        worker.wait()

    def run_json(self, *words: str) -> dict:
        """Run a command that must succeed; return the document that it printed."""
        process = self.start_command(*words, "--json")
        output, error = process.communicate()
        assert process.returncode == 0, error
        return json.loads(output)

    def await_done(self, batch: str, seconds: float) -> dict:
        """Wait until the batch is done; return its status."""

        def done() -> dict | None:
            status = self.run_json("status", batch)
            return status if status["state"] == "done" else None

        return wait_for(done, seconds, lambda: self.run_json("status", batch), interval=0.1)

    def start_command(self, *words: str) -> subprocess.Popen[str]:
        """Start one of the commands."""
        return subprocess.Popen(
            [sys.executable, "-m", "stack", *words],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
