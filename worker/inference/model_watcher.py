"""Following the pointers: which model version answers a job, and the swap to another one.

SQL says what is in force. A thread looks every few seconds, loads what has come beside
what is held, puts it in place between two jobs, and lets go what has gone. A version that
does not load changes nothing: what is held goes on answering, and loading is tried again,
less and less often. While there is a canary, both models are held, and a job's id decides
between them, so that another attempt of the job goes to the same one.

Covers one process that works on one job at a time. Knows neither Celery nor torch: how
versions are looked up and loaded are arguments.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from core.domain.model_version import ActiveVersions, ModelVersion
from core.errors import AnswermillError
from worker.inference.protocol import AnsweringModel

log = structlog.get_logger()

_LONGEST_PAUSE = 300.0
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class ActiveModels:
    """The models that answer until something moves."""

    production: AnsweringModel
    canary: AnsweringModel | None = None
    share: float = 0.0  # of the jobs that the canary answers

    @property
    def names(self) -> tuple[str, str | None, float]:
        """What tells this from another one."""
        canary = None if self.canary is None else self.canary.version
        return self.production.version, canary, self.share

    def for_job(self, job_id: int) -> AnsweringModel:
        """Return the one model that answers the job."""
        if self.canary is not None and goes_to_canary(job_id, self.share):
            return self.canary
        return self.production


def goes_to_canary(job_id: int, share: float) -> bool:
    """Tell whether a canary of this share answers the job; every worker says the same."""
    digest = hashlib.blake2b(str(job_id).encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest) < share * (1 << 8 * _HASH_BYTES)


class ModelWatcher:
    """What a process answers with: the version in production, and its canary."""

    def __init__(
        self,
        look: Callable[[], ActiveVersions],
        load: Callable[[ModelVersion], AnsweringModel],
        *,
        seconds: float,
        let_go: Callable[[], None],
    ) -> None:
        """Hold nothing yet.

        Args:
            look: tells what is in force.
            load: fetches, verifies and loads a version.
            seconds: the mean time between two looks.
            let_go: called when models have gone, to give their memory back.
        """
        self._look, self._load, self._let_go = look, load, let_go
        self._seconds = seconds
        self._held: ActiveModels | None = None
        self._at_work = threading.Lock()  # held by a job; models are swapped between two
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    @property
    def version(self) -> str:
        """The version in production, as this process holds it."""
        return self._current().production.version

    def load_first(self) -> str:
        """Load what is in production; return its name. Whatever loading raises passes through."""
        wanted = self._look()
        production = self._load(wanted.version)
        self._held = ActiveModels(production)
        self._swap(self._with_canary(production, wanted.canary))
        return production.version

    def start(self) -> None:
        """Begin to follow; called in the process that answers, after any fork."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look in progress."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def locked(self) -> Iterator[ActiveModels]:
        """Hand the models over, and keep them from being swapped until the block ends."""
        with self._at_work:
            yield self._current()

    def refresh(self) -> None:
        """Look once, and swap if something has moved."""
        try:
            wanted = self._look()
        except AnswermillError as error:
            log.warning("versions not looked up", error=str(error))
            return
        production = self._loaded_or_load(wanted.version) or self._current().production
        held = self._with_canary(production, wanted.canary)
        self._swap(held)

    def _with_canary(self, production: AnsweringModel, wanted: ModelVersion | None) -> ActiveModels:
        canary = self._loaded_or_load(wanted) if wanted else None
        if wanted is None or canary is None:
            return ActiveModels(production)
        return ActiveModels(production, canary, wanted.canary_share or 0.0)

    def _loaded_or_load(self, version: ModelVersion) -> AnsweringModel | None:
        """Return the version's model, loaded if need be; None if it does not load."""
        held = self._current()
        for model in (held.production, held.canary):
            if model is not None and model.version == str(version):
                return model
        if time.monotonic() < self._retry_at.get(str(version), 0.0):
            return None
        return self._try_load(version)

    def _try_load(self, version: ModelVersion) -> AnsweringModel | None:
        name = str(version)
        try:
            model = self._load(version)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the one held answers
            failures = self._failures[name] = self._failures.get(name, 0) + 1
            pause = min(self._seconds * 2**failures, _LONGEST_PAUSE)
            self._retry_at[name] = time.monotonic() + pause
            fault = f"{type(error).__name__}: {error}"
            log.error("version not loaded", model=name, error=fault, retry_seconds=round(pause))  # noqa: TRY400 - no traceback wanted
            return None
        self._failures.pop(name, None)
        return model

    def _swap(self, held: ActiveModels) -> None:
        if held.names == self._current().names:
            return
        with self._at_work:
            self._held = held
        production, canary, share = held.names
        log.info("model swapped", model=production, canary=canary, share=share)
        self._let_go()

    def _current(self) -> ActiveModels:
        if self._held is None:
            msg = "a task came before the model was loaded"
            raise RuntimeError(msg)
        return self._held

    def _run(self) -> None:
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
            try:
                self.refresh()
            except Exception:
                log.exception("following failed")
