"""`answermill worker --health`: whether the workers of this host get on, from their rows alone.

A live process is no health: what is asked is whether work gets done while there is work. A
database that is away is told as a fault too; restarting a worker does not mend that one.
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

# Six reports in a row are missing.
_SILENT = timedelta(seconds=30)


def find_fault_here(settings: Settings) -> str | None:
    """Return what is wrong with the workers of this host, on one line; None: nothing."""
    engine = open_engine(settings)
    try:
        return find_fault(engine, socket.gethostname(), timedelta(seconds=settings.stall_seconds))
    except AnswermillError as error:
        return str(error)
    finally:
        engine.dispose()


def find_fault(engine: sa.Engine, host: str, stall: timedelta) -> str | None:
    """Return what is wrong with the first worker of a host that is not well.

    Args:
        engine: the database.
        host: whose workers.
        stall: how long one may get on with nothing while there is work.

    Raises:
        DatabaseUnavailable: it can't be reached.
    """
    now = DatabaseClock(engine)()
    with reading(engine) as conn:
        found = replicas.on_host(conn, host)
        if not found:
            return f"no worker of {host} has been heard of"
        since = {
            worker.lanes: replicas.waiting_since(conn, _lanes(worker), now) for worker in found
        }
    faults = (check_replica(worker, since[worker.lanes], now, stall) for worker in found)
    return next((told for told in faults if told), None)


def check_replica(
    worker: ReplicaStatus, waiting: datetime | None, now: datetime, stall: timedelta
) -> str | None:
    """Return what is wrong with one replica.

    Args:
        worker: its row.
        waiting: since when the oldest job waits for it; None: none does.
        now: the time.
        stall: how long it may get on with nothing while there is work.
    """
    if now - worker.seen_at > _SILENT:
        return f"{worker.name} was last heard of {_seconds(now - worker.seen_at)} ago"
    if worker.state is ReplicaState.PAUSED:
        return f"{worker.name} takes no work: {worker.failures} attempts in a row failed"
    still = now - worker.progress_at
    if worker.job_id is not None and still > stall:
        return f"{worker.name} has been at job {worker.job_id} for {_seconds(still)} without a pass"
    if waiting is not None and min(still, now - waiting) > stall:
        waited = _seconds(now - waiting)
        return f"{worker.name} has had no job for {_seconds(still)}, and one waits for {waited}"
    return None


def _lanes(worker: ReplicaStatus) -> list[Lane]:
    return [Lane(lane) for lane in worker.lanes.split(",")]


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.0f} s"
