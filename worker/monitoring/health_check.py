"""`answermill worker --health`: check this host's workers by their rows.

A worker is healthy if jobs make progress while jobs wait; a live process is not enough. An
unavailable database counts as a fault, although a restart of the worker does not fix it.
Not covered: writing the rows: `worker.monitoring.heartbeat`.
"""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.replica import ReplicaState, ReplicaStatus
from core.errors import AnswermillError
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import replicas
from db.session import reading

# Six missing heartbeats. Higher: slower detection of a dead replica, fewer false faults.
_MAX_HEARTBEAT_AGE = timedelta(seconds=30)


def find_fault_here(settings: Settings) -> str | None:
    """Return one line about a fault of this host's workers, or None."""
    engine = open_engine(settings)
    try:
        return find_fault(engine, socket.gethostname(), timedelta(seconds=settings.stall_seconds))
    except AnswermillError as error:
        return str(error)
    finally:
        engine.dispose()


def find_fault(engine: sa.Engine, host: str, stall: timedelta) -> str | None:
    """Return the first fault of a host's replicas, or None.

    Args:
        engine: the database.
        host: the name of the host.
        stall: the longest time without progress while jobs wait.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
    """
    now = DatabaseClock(engine)()
    with reading(engine) as conn:
        statuses = replicas.on_host(conn, host)
        if not statuses:
            return f"no worker of {host} has sent a heartbeat"
        waiting_since = {
            status.lanes: replicas.waiting_since(conn, _lanes(status), now) for status in statuses
        }
    faults = (check_replica(status, waiting_since[status.lanes], now, stall) for status in statuses)
    return next((fault for fault in faults if fault), None)


def check_replica(
    status: ReplicaStatus, waiting_since: datetime | None, now: datetime, stall: timedelta
) -> str | None:
    """Return the fault of one replica, or None.

    Args:
        status: the replica's row.
        waiting_since: since when the oldest job of its lanes waits; None: no job waits.
        now: the time.
        stall: the longest time without progress while jobs wait.
    """
    heartbeat_age = now - status.seen_at
    if heartbeat_age > _MAX_HEARTBEAT_AGE:
        return f"{status.name} sent its last heartbeat {_seconds(heartbeat_age)} ago"
    if status.state is ReplicaState.PAUSED:
        return f"{status.name} claims no jobs: {status.failures} attempts in a row failed"
    idle = now - status.progress_at
    if status.job_id is not None and idle > stall:
        return f"{status.name} made no progress with job {status.job_id} for {_seconds(idle)}"
    if waiting_since is not None and min(idle, now - waiting_since) > stall:
        waited = _seconds(now - waiting_since)
        return f"{status.name} has had no job for {_seconds(idle)}, but a job waits for {waited}"
    return None


def _lanes(status: ReplicaStatus) -> list[Lane]:
    return [Lane(lane) for lane in status.lanes.split(",")]


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.0f} s"
