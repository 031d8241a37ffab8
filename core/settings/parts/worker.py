"""Settings of workers: leases, retries, recovery and resources."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.settings.base import PositiveCount, PositiveSeconds, SettingsPart


class WorkerSettings(SettingsPart):
    """Leases, retries, recovery and resources of workers."""

    lease_seconds: PositiveSeconds = Field(
        default=24.0,
        description="Seconds until the lease of a claimed job expires without renewal. Higher:"
        " slower recovery from a dead worker, more tolerance for a stalled database.",
    )
    sweep_seconds: PositiveSeconds = Field(
        default=3.0,
        description="Mean seconds between two sweeps of a worker. Higher: fewer queries, slower"
        " recovery.",
    )
    follow_seconds: PositiveSeconds = Field(
        default=5.0,
        description="Mean seconds between two checks of a worker for the active model versions."
        " Higher: fewer queries, and promotions and rollbacks take effect later.",
    )
    job_time_limit: Annotated[int, Field(gt=0)] = Field(
        default=300,
        description="Seconds after which the process of a job is killed and the attempt counts as"
        " failed. Higher: slower recovery from a question on which the model hangs.",
    )
    drain_seconds: PositiveSeconds = Field(
        default=20.0,
        description="Seconds after SIGTERM until a worker releases its running job. Keep it below"
        " the grace period of the process manager. Higher: fewer jobs start again.",
    )
    attempts: PositiveCount = Field(
        default=3,
        description="Failed attempts after which a single question fails. Higher: more tolerance"
        " for unreliable machines, more time lost on a question that crashes the worker.",
    )
    stall_seconds: PositiveSeconds = Field(
        default=120.0,
        description="Seconds without progress, while jobs wait, after which `worker --health`"
        " fails. Higher: later detection, more tolerance for a slow model.",
    )
    breaker_failures: PositiveCount = Field(
        default=5,
        description="Consecutive failed attempts after which a worker stops claiming jobs. Higher:"
        " a broken model tries more of the backlog.",
    )
    breaker_seconds: PositiveSeconds = Field(
        default=10.0,
        description="Seconds that the worker then waits before it tries one job. The wait doubles"
        " after each failed try, up to ten minutes. Higher: later return to work.",
    )
    replicas: PositiveCount = Field(
        default=1,
        description="Copies of the model in one worker, which share its CPU cores. Higher: more"
        " memory.",
    )
    memory_bytes: PositiveCount | None = Field(
        default=None,
        description="Memory limit of each replica in bytes; passes shrink as memory runs short."
        " Unset: the limit of `ulimit`, the container and the machine. Higher: larger passes.",
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="CPU threads of each replica. 0: its share of the CPU budget.",
    )
