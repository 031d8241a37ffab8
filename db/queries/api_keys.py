"""API keys and the record of changes: what they are, and every query on them. None commits.

A key's secret is 256 random bits, told once; the database holds its SHA-256, which needs no
salt, since nobody can guess such a secret. Names are never given out twice, so that the
record stays true. A rotation adds a secret to a name and lets the earlier ones end.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.api_key import ApiKey, Scope
from core.errors import KeyInvalid
from db.tables import api_keys as k

PREFIX = "am_"  # lets scanners for leaked secrets know ours
_BYTES = 32
_LONGEST_NAME = 100  # characters


def new_secret() -> str:
    """Return a secret that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    conn: sa.Connection,
    name: str,
    secret: str,
    scopes: Iterable[Scope],
    *,
    expires_at: datetime | None,
    now: datetime,
) -> ApiKey:
    """Add a name's first secret.

    Raises:
        KeyInvalid: the name is taken, or no key can have it.
    """
    _check_name(name)
    if _of(conn, name):
        raise KeyInvalid(name, "the name is taken, for good")
    return _insert(conn, name, 1, secret, frozenset(scopes), expires_at=expires_at, now=now)


def sign_in(
    conn: sa.Connection,
    name: str,
    scopes: Iterable[Scope],
    *,
    expires_at: datetime,
    now: datetime,
) -> ApiKey | None:
    """Give somebody whom an issuer names a key whose secret nobody has; earlier ones end.

    None: one of theirs was revoked, so they stay out.

    Raises:
        KeyInvalid: no key can have the name.
    """
    _check_name(name)
    before = _of(conn, name)
    if any(key.revoked_at is not None for key in before):
        return None
    conn.execute(
        k.update()
        .where(k.c.name == name, sa.or_(k.c.expires_at.is_(None), k.c.expires_at > now))
        .values(expires_at=now)
    )
    serial = before[-1].serial + 1 if before else 1
    allowed = frozenset(scopes)
    return _insert(conn, name, serial, new_secret(), allowed, expires_at=expires_at, now=now)


def rotate(
    conn: sa.Connection,
    name: str,
    secret: str,
    *,
    expires_at: datetime | None,
    others_until: datetime,
    now: datetime,
) -> ApiKey:
    """Add a secret to a name, with the same scopes; its live ones end at the given moment.

    Raises:
        KeyInvalid: no live key has that name.
    """
    last = _live(conn, name, now)[-1]
    ends_later = sa.or_(k.c.expires_at.is_(None), k.c.expires_at > others_until)
    conn.execute(
        k.update()
        .where(k.c.name == name, k.c.revoked_at.is_(None), ends_later)
        .values(expires_at=others_until)
    )
    serial = last.serial + 1
    return _insert(conn, name, serial, secret, last.scopes, expires_at=expires_at, now=now)


def revoke(conn: sa.Connection, name: str, now: datetime) -> int:
    """End every live secret of a name; return how many.

    Raises:
        KeyInvalid: no live key has that name.
    """
    live = _live(conn, name, now)
    conn.execute(k.update().where(k.c.id.in_([key.id for key in live])).values(revoked_at=now))
    return len(live)


def find(conn: sa.Connection, secret: str, now: datetime) -> ApiKey | None:
    """Return the live key of a secret."""
    return _one_live(conn, k.c.digest == digest_of(secret), now)


def live(conn: sa.Connection, key_id: int, now: datetime) -> ApiKey | None:
    """Return the key of this id, if it opens anything now."""
    return _one_live(conn, k.c.id == key_id, now)


def listed(conn: sa.Connection) -> list[ApiKey]:
    """Return every key there ever was, by name."""
    return [_entity(row) for row in conn.execute(sa.select(k).order_by(k.c.name, k.c.serial))]


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise KeyInvalid(name, f"a name has 1 to {_LONGEST_NAME} characters that can be shown")


def _of(conn: sa.Connection, name: str) -> list[ApiKey]:
    query = sa.select(k).where(k.c.name == name).order_by(k.c.serial)
    return [_entity(row) for row in conn.execute(query)]


def _one_live(conn: sa.Connection, which: sa.ColumnElement[bool], now: datetime) -> ApiKey | None:
    row = conn.execute(sa.select(k).where(which)).first()
    key = None if row is None else _entity(row)
    return key if key is not None and key.live(now) else None


def _live(conn: sa.Connection, name: str, now: datetime) -> list[ApiKey]:
    live = [key for key in _of(conn, name) if key.live(now)] if name.isprintable() else []
    if not live:
        raise KeyInvalid(name, "no live key has that name; `answermill keys list` shows them")
    return live


def _insert(
    conn: sa.Connection,
    name: str,
    serial: int,
    secret: str,
    scopes: frozenset[Scope],
    *,
    expires_at: datetime | None,
    now: datetime,
) -> ApiKey:
    row = conn.execute(
        k.insert()
        .values(
            name=name,
            serial=serial,
            digest=digest_of(secret),
            scopes=",".join(scope for scope in Scope if scope in scopes),
            created_at=now,
            expires_at=expires_at,
        )
        .returning(k)
    ).one()
    return _entity(row)


def _entity(row: Any) -> ApiKey:  # noqa: ANN401 - a Row of the table
    return ApiKey(
        id=row.id,
        name=row.name,
        serial=row.serial,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split(",")),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
