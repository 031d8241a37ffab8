"""Fixtures of a producer: both databases, a real Redis, small jobs and slices."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from broker import lanes
from broker.client import open_broker
from core import console
from core.domain.batch import BatchState, Lane
from core.settings import load
from core.settings.settings import Settings
from db.queries import batches
from db.session import reading
from db.tables import batches as b
from db.tables import jobs as j
from db.tables import questions as q
from producer.cli.batches import app
from producer.connections import ProducerContext
from producer.question_files.question_file import check, opened
from producer.submission.submit import SubmitCallbacks, SubmitRequest, submit
from tests.factories import job_rows

SLICE = 4  # questions: two jobs of two


@pytest.fixture
def settings(database_url: str, redis_url: str, home: Path) -> Settings:
    """Return settings with a migrated database and an empty Redis."""
    urls = {"database_url": database_url, "broker_url": redis_url}
    return load.load(home=home, job_size=2, slice_jobs=SLICE // 2, **urls)


@pytest.fixture
def client(settings: Settings):
    """Return a client of Redis."""
    with open_broker(settings) as client:
        yield client


@pytest.fixture
def context(settings: Settings, engine: sa.Engine, client):
    """Return the context of use cases."""
    return ProducerContext(settings, engine, client)


@pytest.fixture
def write(tmp_path: Path):
    """Write a file. A number as content means this many questions."""

    def write(name: str, content: str | bytes | int) -> Path:
        path = tmp_path / name
        if isinstance(content, int):
            rows = (f"ticket-{n},Where is parcel {n}?\n" for n in range(1, content + 1))
            content = "key,question\n" + "".join(rows)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def submitted(engine: sa.Engine, client, settings: Settings):
    """Submit a file, to another Redis if one is given."""

    def submitted(path: Path, client=client, settings=settings, **values):
        functions = {name: values.pop(name) for name in list(values) if name.startswith("on_")}
        with opened(str(path)) as source:
            request = SubmitRequest(check(source), **values)
            context = ProducerContext(settings, engine, client)
            return submit(context, request, SubmitCallbacks(**functions))

    return submitted


@pytest.fixture
def stored(engine: sa.Engine):
    """Return how many batches, questions and jobs there are."""

    def stored() -> tuple[int, ...]:
        counts = [sa.select(sa.func.count()).select_from(table) for table in (b, q, j)]
        with reading(engine) as conn:
            return tuple(conn.scalar(count) for count in counts)

    return stored


@pytest.fixture
def all_there_once(engine: sa.Engine):
    """Assert that a batch has each of its written questions once."""

    def all_there_once(batch_id: int, count: int) -> None:
        columns = (q.c.position, q.c.key, q.c.text)
        query = sa.select(*columns).where(q.c.batch_id == batch_id).order_by(q.c.position)
        with reading(engine) as conn:
            rows = [tuple(row) for row in conn.execute(query)]
            batch = batches.find(conn, str(batch_id))
        expected = [(n, f"ticket-{n}", f"Where is parcel {n}?") for n in range(1, count + 1)]
        assert rows == expected
        spans = [(row.first_position, row.last_position) for row in job_rows(engine, batch)]
        assert (spans[0][0], spans[-1][1]) == (1, count)
        assert all(before[1] + 1 == after[0] for before, after in pairwise(spans))
        assert (batch.question_count, batch.state) == (count, BatchState.SEALED)

    return all_there_once


@pytest.fixture
def waiting(client, settings: Settings):
    """Return how many messages of a lane wait in Redis."""
    return lambda lane=Lane.BULK: lanes.waiting(client, lane, settings)


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of commands to these settings."""
    for name in ("home", "job_size", "slice_jobs"):
        monkeypatch.setenv(f"ANSWERMILL_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("ANSWERMILL_DATABASE_URL", settings.database)
    monkeypatch.setenv("ANSWERMILL_BROKER_URL", settings.broker)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def cli(environment: None, capfd: pytest.CaptureFixture[str]):  # noqa: ARG001 - set before it runs
    """Run a command; return exit status, standard output and standard error."""

    def cli(*words: object) -> tuple[int, str, str]:
        status = console.run(app, [str(word) for word in words])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return cli
