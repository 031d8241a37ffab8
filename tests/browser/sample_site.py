"""The pages over a real database and Redis, with the data of the sample shop.

This module stores results in place of a worker, so that the pages are the same in every run.
"""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from werkzeug.serving import make_server

from broker.client import open_broker
from core.domain.api_key import Scope
from core.domain.batch import Batch
from core.domain.model_version import PromotionNote
from core.domain.result import Answer, Result, RunnerUp, Status
from core.settings import load
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.engine import open_engine
from db.migrations.run import upgrade
from db.queries import api_keys, knowledge_entries, model_versions
from db.queries.batches import close_finished
from db.queries.knowledge_entries import KnownEntry
from db.session import transaction
from producer.web.app import create_app
from producer.web.context import build_context
from tests import services
from tests.factories import finish, question, running_job, stored_batch

_SAMPLE = Path(__file__).parents[2] / "stack" / "sample"
_MODEL = "shop@1"
_MIN_WORDS = 5  # of an English question


@dataclass(frozen=True)
class Site:
    """The address of the pages, their database and settings, and two API keys."""

    address: str
    engine: sa.Engine
    settings: Settings
    admin: str  # secret of a key with the scope admin
    agent: str  # secret of a key with the scope desk


@contextmanager
def serve_site(redis_socket: str | None = None) -> Iterator[Site]:
    """Serve the pages over an empty database."""
    with services.short_folder() as folder:
        if redis_socket is None:
            with services.redis_server(folder) as socket, _served(folder, socket) as site:
                yield site
            return
        with _served(folder, redis_socket) as site:
            yield site


@contextmanager
def _served(folder: Path, socket: str) -> Iterator[Site]:
    urls = {
        "database_url": f"sqlite:///{folder / 'page.db'}",
        "broker_url": f"redis+socket://{socket}",
    }
    settings = load.load(home=folder, job_size=20, **urls)
    engine = open_engine(settings)
    upgrade(engine)
    with open_broker(settings) as client:
        app = create_app(build_context(settings, engine, client))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            admin, agent = _key(engine, "mei", Scope.ADMIN), _key(engine, "ann", Scope.DESK)
            address = f"http://127.0.0.1:{server.server_port}"
            yield Site(address, engine, settings, admin, agent)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            engine.dispose()


def _key(engine: sa.Engine, name: str, scope: Scope) -> str:
    secret = api_keys.new_secret()
    with transaction(engine) as conn:
        now = DatabaseClock(engine)()
        api_keys.create(conn, name, secret, [scope], expires_at=None, now=now)
    return secret


def entries() -> dict[str, KnownEntry]:
    """Return the entries of the sample by id."""
    lines = (_SAMPLE / "knowledge.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {
        row["id"]: KnownEntry(row["id"], row["answer"], row["questions"][0], row.get("url"))
        for row in rows
    }


def labelled_questions(language: str) -> list[tuple[str, str]]:
    """Return the labelled questions of the sample with their entry, empty for a hand-off."""
    with (_SAMPLE / "labelled.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (row["question"], row["expected"].partition("|")[0]) for row in csv.DictReader(file)
        ]
    if language == "zh":
        return [
            row for row in rows if not row[0].isascii() and (row[1] == "" or row[1].endswith("-zh"))
        ]
    return [(text, entry) for text, entry in rows if _is_english(text, entry)]


def _is_english(text: str, entry: str) -> bool:
    return text.isascii() and len(text.split()) >= _MIN_WORDS and not entry.endswith("-zh")


def add_model(engine: sa.Engine) -> None:
    """Register three versions: production, a canary that passed the gate, and a new one."""
    rows = [(0.884, 0.952, 0.741, 0.861), (0.912, 0.957, 0.783, 0.88), (0.9, 0.951, 0.77, 0.87)]
    names = ("cv_accuracy", "cv_precision", "cv_coverage", "near_handoff_recall")
    now = DatabaseClock(engine)()
    for number, values in enumerate(rows, 1):
        metrics = {
            "entries": 92,
            "phrasings": 430 + 9 * number,
            **dict(zip(names, values, strict=True)),
        }
        with transaction(engine) as conn:
            version = model_versions.register(
                conn,
                name="shop",
                digest=f"d{number}",
                metrics=metrics,
                now=now - timedelta(days=9 - number),
            )
            knowledge_entries.store(conn, version, entries().values())
            if number == 1:
                model_versions.promote(conn, version, by="mei", now=now - timedelta(days=7))
            if number == 2:
                compared = {"figure": "accuracy", "worse": False}
                note = PromotionNote(gate={"production": "shop@1", "compared": [compared]})
                model_versions.begin_canary(conn, version, 0.05, by="mei", now=now, note=note)


def add_batch(
    engine: sa.Engine,
    name: str,
    texts: Sequence[tuple[str, str]],
    *,
    final: int | None = None,
    minutes: float = 9,
) -> Batch:
    """Store a batch of these questions in jobs of 20, with `final` results (default: all)."""
    now = DatabaseClock(engine)()
    rows = [question(n, text, key=f"T-{1000 + n}") for n, (text, _) in enumerate(texts, 1)]
    batch = stored_batch(
        engine,
        rows,
        job_size=20,
        name=name,
        source=f"{name}.csv",
        now=now - timedelta(minutes=minutes),
    )
    for _ in range((len(texts) if final is None else final) // 20):
        answer_job(engine, batch, texts)
    with transaction(engine) as conn:
        close_finished(conn, DatabaseClock(engine)())
    return batch


def answer_job(engine: sa.Engine, batch: Batch, texts: Sequence[tuple[str, str]]) -> None:
    """Store results for the next job of the batch, as a worker does."""
    now = DatabaseClock(engine)()
    job = running_job(engine, batch)
    positions = range(job.first_position, job.last_position + 1)
    results = [
        Result(n, f"T-{1000 + n}", _answer(n, texts[n - 1][1]), _MODEL, now) for n in positions
    ]
    finish(engine, job, results, now=now)


def _answer(position: int, expected: str) -> Answer:
    known = list(entries().values())
    first, second = known[position * 7 % len(known)], known[position * 11 % len(known)]
    others = tuple(
        RunnerUp(entry.entry_id, entry.phrasing, 0.62 - 0.07 * n)
        for n, entry in enumerate((first, second))
    )
    if not expected:
        reason = ("out_of_scope", "ambiguous", "several_questions")[position % 3]
        return Answer(
            Status.HANDED_OFF,
            entry_id=first.entry_id,
            matched=first.phrasing,
            confidence=0.11 + position % 7 / 20,
            reason=reason,
            runners_up=others,
        )
    entry = entries()[expected]
    return Answer(
        Status.ANSWERED,
        answer=entry.answer,
        entry_id=entry.entry_id,
        matched=entry.phrasing,
        confidence=0.83 + position % 16 / 100,
        url=entry.url,
        runners_up=others,
    )


def sample_mix(language: str, answered: int, handed_off: int) -> list[tuple[str, str]]:
    """Return labelled questions of each kind, with the hand-offs spread evenly."""
    rows = labelled_questions(language)
    mix = [row for row in rows if row[1]][:answered]
    hand_offs = [row for row in rows if not row[1]][:handed_off]
    step = max(1, len(mix) // max(1, len(hand_offs)))
    for number, row in enumerate(hand_offs):
        mix.insert(min(len(mix), 2 + number * (step + 1)), row)
    return mix
