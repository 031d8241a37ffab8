"""Detection of duplicate keys in bounded memory.

SQLite keeps the keys in a temporary file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from core.domain.batch import Question
from core.errors import SourceInvalid

_CHUNK = 10_000  # keys inserted together, sorted, because neighboring keys share a page
_CACHE_KIB = 4 << 10  # memory for keys; higher: fewer writes to the temporary file
_KEY_CHARS = 60  # characters of a key in a message


def refuse_duplicates(
    rows: Iterable[tuple[int, Question]], display_name: str
) -> Iterator[tuple[int, Question]]:
    """Yield the rows and questions, and raise after a chunk with a duplicate.

    Raises:
        SourceInvalid: a key occurs twice; the message names both rows.
    """
    with closing(sqlite3.connect("")) as database:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        database.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        chunk: list[tuple[str, int]] = []
        for row, question in rows:
            chunk.append((question.key, row))
            if len(chunk) == _CHUNK:
                _insert(database, chunk, display_name)
                chunk.clear()
            yield row, question
        _insert(database, chunk, display_name)


def _insert(database: sqlite3.Connection, chunk: list[tuple[str, int]], display_name: str) -> None:
    before = database.total_changes
    database.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", sorted(chunk))
    if database.total_changes - before == len(chunk):
        return
    for key, row in chunk:
        (first,) = database.execute("SELECT row FROM keys WHERE key = ?", (key,)).fetchone()
        if first != row:
            shown = key if len(key) <= _KEY_CHARS else f"{key[:_KEY_CHARS]}…"
            raise SourceInvalid(
                display_name, f"the key {shown!r} is already in row {first}", row=row
            )
