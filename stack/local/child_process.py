"""Child processes that are restarted with backoff and leave no orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

# seconds; after a run of this length, the next pause is FIRST_PAUSE again
_WELL_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


class Service:
    """One process that runs until it is stopped."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        grace_seconds: float,
    ) -> None:
        self.name, self.log = name, log
        self._command, self._environment = list(command), dict(environment)
        self._grace_seconds = grace_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = FIRST_PAUSE
        self._restart_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process in its own session, out of reach of Ctrl-C."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one prctl call
            )
        self._started, self._restart_at = time.monotonic(), None

    def watch(self, report: Callable[[str], None]) -> None:
        """Restart the process when it has died and its pause is over."""
        if self.pid is not None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started > _WELL_SECONDS:
                self._pause = FIRST_PAUSE
            self._restart_at = now + self._pause
            status = self._process.returncode if self._process else None
            report(
                f"{self.name} ended ({_ending(status)}), starts again in {self._pause:.0f} s;"
                f" its log: {self.log}"
            )
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        elif now >= self._restart_at:
            self.start()

    def terminate(self) -> None:
        """Send SIGTERM, after which the process may finish its work."""
        if self.pid is not None and self._process:
            self._process.terminate()

    def stop(self) -> None:
        """Stop the process, and kill it and its children after the grace period."""
        if self._process is None:
            return
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return signal.Signals(-status).name
    return f"exit status {status}"


def _die_with_parent() -> None:
    # Should we be killed with -9, the kernel ends the child (prctl(2), PR_SET_PDEATHSIG).
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
