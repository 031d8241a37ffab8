"""The page over a real database and Redis, with what people would see in it.

Its questions and answers are those of the sample shop. Results are written here, as a worker
would: what is tried is the page, and it must be the same each time.
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
from producer.web.context import install_context
from tests import services
from tests.factories import finish, question, running_job, stored_batch

_SAMPLE = Path(__file__).parents[2] / "stack" / "sample"
_MODEL = "shop@1"
_WORDS = 5  # of an English question


@dataclass(frozen=True)
class World:
    """An address, what is behind it, and keys to it."""

    address: str
    engine: sa.Engine
    settings: Settings
    admin: str  # keys' secrets
    agent: str


@contextmanager
def world(redis_socket: str | None = None) -> Iterator[World]:
    """Serve the page over a database with a model, batches and hand-offs."""
    with services.short_folder() as folder:
        if redis_socket is None:
            with services.redis_server(folder) as socket, _served(folder, socket) as found:
                yield found
            return
        with _served(folder, redis_socket) as found:
            yield found


@contextmanager
def _served(folder: Path, socket: str) -> Iterator[World]:
    urls = {
        "database_url": f"sqlite:///{folder / 'page.db'}",
        "broker_url": f"redis+socket://{socket}",
    }
    settings = load.load(home=folder, job_size=20, **urls)
    engine = open_engine(settings)
    upgrade(engine)
    with open_broker(settings) as client:
        app = create_app(install_context(settings, engine, client))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            admin, agent = _key(engine, "mei", Scope.ADMIN), _key(engine, "ann", Scope.DESK)
            address = f"http://127.0.0.1:{server.server_port}"
            yield World(address, engine, settings, admin, agent)
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
    """Return the sample's entries by their ids."""
    lines = (_SAMPLE / "knowledge.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return {
        one["id"]: KnownEntry(one["id"], one["answer"], one["questions"][0], one.get("url"))
        for one in found
    }


def asked(language: str = "en") -> list[tuple[str, str]]:
    """Return the sample's labelled questions with their entries, empty for a hand-off."""
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
    return text.isascii() and len(text.split()) >= _WORDS and not entry.endswith("-zh")


def add_model(engine: sa.Engine) -> None:
    """Build three versions: one in production, a canary that passed the gate, one untried."""
    figures = [(0.884, 0.952, 0.741, 0.861), (0.912, 0.957, 0.783, 0.88), (0.9, 0.951, 0.77, 0.87)]
    names = ("cv_accuracy", "cv_precision", "cv_coverage", "near_handoff_recall")
    now = DatabaseClock(engine)()
    for number, values in enumerate(figures, 1):
        metrics = {
            "entries": 92,
            "phrasings": 430 + 9 * number,
            **dict(zip(names, values, strict=True)),
        }
        with transaction(engine) as conn:
            made = model_versions.register(
                conn,
                name="shop",
                digest=f"d{number}",
                metrics=metrics,
                now=now - timedelta(days=9 - number),
            )
            knowledge_entries.store(conn, made, entries().values())
            if number == 1:
                model_versions.promote(conn, made, by="mei", now=now - timedelta(days=7))
            if number == 2:
                compared = {"figure": "accuracy", "worse": False}
                note = PromotionNote(gate={"production": "shop@1", "compared": [compared]})
                model_versions.begin_canary(conn, made, 0.05, by="mei", now=now, note=note)


def add_batch(
    engine: sa.Engine,
    name: str,
    texts: Sequence[tuple[str, str]],
    *,
    final: int | None = None,
    minutes: float = 9,
) -> Batch:
    """Store a batch of these questions, in jobs of 20, so many of which are final."""
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
    """Answer the batch's next job, as a worker would."""
    now = DatabaseClock(engine)()
    job = running_job(engine, batch)
    positions = range(job.first_position, job.last_position + 1)
    found = [
        Result(n, f"T-{1000 + n}", _answer(n, texts[n - 1][1]), _MODEL, now) for n in positions
    ]
    finish(engine, job, found, now=now)


def _answer(position: int, expected: str) -> Answer:
    known = list(entries().values())
    first, second = known[position * 7 % len(known)], known[position * 11 % len(known)]
    others = tuple(
        RunnerUp(one.entry_id, one.phrasing, 0.62 - 0.07 * n)
        for n, one in enumerate((first, second))
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


def mixed(language: str, answered: int, handed_off: int) -> list[tuple[str, str]]:
    """Return so many questions of each kind, one hand-off among every few."""
    found = asked(language)
    good, odd = [row for row in found if row[1]], [row for row in found if not row[1]]
    good, odd = good[:answered], odd[:handed_off]
    step = max(1, len(good) // max(1, len(odd)))
    for place, row in enumerate(odd):
        good.insert(min(len(good), 2 + place * (step + 1)), row)
    return good
