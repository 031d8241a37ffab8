"""Watch the active model versions and swap loaded models between jobs.

A thread reads the active versions from SQL every few seconds, loads new ones next to the
loaded models, swaps them between two jobs, and releases the old ones. If a version does not
load, the loaded models keep answering, and loading is tried again with growing pauses. With a
canary, two models are loaded. The job's id chooses between them, so that every attempt of a
job uses the same model.
Knows neither Celery nor torch: how versions are read and loaded are arguments.
Not covered: several jobs at a time in one process.
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

_MAX_PAUSE_SECONDS = 300.0  # between two attempts to load; higher: less load, later recovery
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class ActiveModels:
    """The loaded models of the active versions."""

    production: AnsweringModel
    canary: AnsweringModel | None = None
    share: float = 0.0  # of the jobs that the canary answers

    @property
    def identity(self) -> tuple[str, str | None, float]:
        """The versions and the share, which a swap changes."""
        canary = None if self.canary is None else self.canary.version
        return self.production.version, canary, self.share

    def for_job(self, job_id: int) -> AnsweringModel:
        """Return the model that answers the job."""
        if self.canary is not None and goes_to_canary(job_id, self.share):
            return self.canary
        return self.production


def goes_to_canary(job_id: int, share: float) -> bool:
    """Return whether a canary of this share answers the job.

    The result is the same in every worker.
    """
    digest = hashlib.blake2b(str(job_id).encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest) < share * (1 << 8 * _HASH_BYTES)


class ModelWatcher:
    """The active models of a process, and the thread that updates them."""

    def __init__(
        self,
        read_versions: Callable[[], ActiveVersions],
        load: Callable[[ModelVersion], AnsweringModel],
        *,
        seconds: float,
        on_swap: Callable[[], None],
    ) -> None:
        """Begin without a model.

        Args:
            read_versions: returns the active versions.
            load: fetches, verifies and loads a version.
            seconds: the mean time between two checks. Higher: fewer queries, later swaps.
            on_swap: called after a swap, to release the memory of old models.
        """
        self._read_versions, self._load, self._on_swap = read_versions, load, on_swap
        self._seconds = seconds
        self._models: ActiveModels | None = None
        self._lock = threading.Lock()  # held during a job, so that models swap between two jobs
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watcher", daemon=True)

    @property
    def version(self) -> str:
        """The version in production that this process has loaded."""
        return self._current().production.version

    def load_first(self) -> str:
        """Load the active versions, and return the one in production."""
        active = self._read_versions()
        production = self._load(active.version)
        self._models = ActiveModels(production)
        self._swap(self._with_canary(production, active.canary))
        return production.version

    def start(self) -> None:
        """Start the thread in the child, after the fork."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after the running check."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def locked(self) -> Iterator[ActiveModels]:
        """Return the models, and prevent a swap within the block."""
        with self._lock:
            yield self._current()

    def refresh(self) -> None:
        """Read the active versions once, and swap models if they have changed."""
        try:
            active = self._read_versions()
        except AnswermillError as error:
            log.warning("versions not looked up", error=str(error))
            return
        production = self._loaded_or_load(active.version) or self._current().production
        self._swap(self._with_canary(production, active.canary))

    def _with_canary(
        self, production: AnsweringModel, version: ModelVersion | None
    ) -> ActiveModels:
        canary = self._loaded_or_load(version) if version else None
        if version is None or canary is None:
            return ActiveModels(production)
        return ActiveModels(production, canary, version.canary_share or 0.0)

    def _loaded_or_load(self, version: ModelVersion) -> AnsweringModel | None:
        """Return the version's model, or None if it does not load."""
        current = self._current()
        for model in (current.production, current.canary):
            if model is not None and model.version == str(version):
                return model
        if time.monotonic() < self._retry_at.get(str(version), 0.0):
            return None
        return self._try_load(version)

    def _try_load(self, version: ModelVersion) -> AnsweringModel | None:
        name = str(version)
        try:
            model = self._load(version)
        except Exception as error:  # noqa: BLE001 - after any error, the loaded model keeps answering
            failures = self._failures[name] = self._failures.get(name, 0) + 1
            pause = min(self._seconds * 2**failures, _MAX_PAUSE_SECONDS)
            self._retry_at[name] = time.monotonic() + pause
            fault = f"{type(error).__name__}: {error}"
            log.error("version not loaded", model=name, error=fault, retry_seconds=round(pause))  # noqa: TRY400 - no traceback needed
            return None
        self._failures.pop(name, None)
        return model

    def _swap(self, models: ActiveModels) -> None:
        if models.identity == self._current().identity:
            return
        with self._lock:
            self._models = models
        production, canary, share = models.identity
        log.info("model swapped", model=production, canary=canary, share=share)
        self._on_swap()

    def _current(self) -> ActiveModels:
        if self._models is None:
            msg = "a task came before the model was loaded"
            raise RuntimeError(msg)
        return self._models

    def _run(self) -> None:
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
            try:
                self.refresh()
            except Exception:
                log.exception("model watch failed")
