"""A running Answermill for acceptance tests: real Redis, real workers, a real model.

Everything is started as its users start it, by command line and environment, and ended by
its process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import sqlalchemy as sa

from core.settings.load import load
from core.settings.settings import Settings
from db.engine import open_engine
from db.session import reading
from stack.local.supervisor import redis_service
from tests.waiting import wait_for

_READY_SECONDS = 120
_ROOT = Path(__file__).parents[2]


class Mill:
    """Redis, a database and as many workers as a test wants."""

    def __init__(self, home: Path, database_url: str, model_store: Path) -> None:
        self.home = home
        self.environment = {
            "ANSWERMILL_HOME": str(home),
            "ANSWERMILL_DATABASE_URL": database_url,
            "ANSWERMILL_MODEL_STORE": str(model_store),
            "PYTHONUNBUFFERED": "1",
        }
        self.settings: Settings = load(
            home=home, database_url=database_url, model_store=model_store
        )
        self.engine = open_engine(self.settings)
        self.redis = redis_service(self.settings)
        self.redis.start()
        self.workers: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """End everything that was started."""
        for worker in self.workers:
            self.kill(worker)
        self.redis.stop()
        self.engine.dispose()

    def run(self, *words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "stack", *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            **kwargs,
        )

    def json(self, *words: str) -> dict:
        """Run a command that must succeed and return the document that it printed."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start_worker(self, program: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker, or a program of the tests that is one, and wait for its model."""
        words = [program] if program else ["stack", "worker"]
        log = self.home / f"worker-{len(self.workers)}.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=_ROOT,
                env={**os.environ, **self.environment, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.workers.append(worker)
        wait_for(lambda: "model loaded" in log.read_text(), _READY_SECONDS, log.read_text)
        return worker

    def child_of(self, worker: subprocess.Popen[bytes]) -> psutil.Process:
        """Return the worker's process that holds the model."""
        return max(psutil.Process(worker.pid).children(), key=lambda child: child.memory_info().rss)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill -9 the worker and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def scalar(self, query: str, **values: object) -> int:
        """Ask SQL for one number."""
        with reading(self.engine) as conn:
            return conn.scalar(sa.text(query), values)

    def final(self, batch: int) -> int:
        """Return how many of the batch's questions have a result."""
        return self.scalar("SELECT count(*) FROM results WHERE batch_id = :b", b=batch)

    def await_final(self, batch: int, count: int, seconds: float) -> float:
        """Wait until that many questions are final; return how long it took."""
        started = time.monotonic()
        wait_for(lambda: self.final(batch) >= count, seconds, lambda: f"{self.final(batch)} final")
        return time.monotonic() - started
