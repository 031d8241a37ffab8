"""Keys that come twice, found in bounded memory: SQLite keeps the keys in a temporary file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from core.domain.batch import Question
from core.errors import SourceInvalid

_STEP = 10_000  # keys added at once, sorted: those that are near each other share a page
_CACHE_KIB = 4 << 10  # memory for keys before they go to disk
_SHOWN = 60  # characters of a key in a message


def refuse_duplicates(
    found: Iterable[tuple[int, Question]], shown: str
) -> Iterator[tuple[int, Question]]:
    """Pass the rows and questions on; after at most a step, tell of a key that came before.

    Raises:
        SourceInvalid: naming both rows.
    """
    with closing(sqlite3.connect("")) as seen:
        seen.execute("PRAGMA journal_mode=OFF")
        seen.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        seen.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        step: list[tuple[str, int]] = []
        for row, question in found:
            step.append((question.key, row))
            if len(step) == _STEP:
                _add(seen, step, shown)
                step.clear()
            yield row, question
        _add(seen, step, shown)


def _add(seen: sqlite3.Connection, step: list[tuple[str, int]], shown: str) -> None:
    before = seen.total_changes
    seen.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", sorted(step))
    if seen.total_changes - before == len(step):
        return
    for key, row in step:
        (first,) = seen.execute("SELECT row FROM keys WHERE key = ?", (key,)).fetchone()
        if first != row:
            named = key if len(key) <= _SHOWN else f"{key[:_SHOWN]}…"
            raise SourceInvalid(shown, f"the key {named!r} is in row {first} already", row=row)
