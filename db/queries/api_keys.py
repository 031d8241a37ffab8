"""Queries on API keys.

A secret has 256 random bits and is shown once. The database holds its SHA-256, without a salt:
no attacker can guess such a secret. A name is never reused, so that the audit log stays
unambiguous. A rotation adds a secret to a name and makes the earlier secrets expire.
Not covered: the audit log (`db.queries.audit_log`).
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

PREFIX = "am_"  # scanners for leaked secrets recognize it
_SECRET_BYTES = 32
_MAX_NAME_LENGTH = 100  # characters


def new_secret() -> str:
    """Return a new random secret."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(secret: str) -> str:
    """Return the digest that is stored for a secret."""
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
    """Add a new name with its first secret.

    Raises:
        KeyInvalid: the name is already used, or is not valid.
    """
    _check_name(name)
    if _keys_named(conn, name):
        raise KeyInvalid(name, "this name is already used and cannot be reused; choose another")
    return _insert(conn, name, 1, secret, frozenset(scopes), expires_at=expires_at, now=now)


def sign_in(
    conn: sa.Connection,
    name: str,
    scopes: Iterable[Scope],
    *,
    expires_at: datetime,
    now: datetime,
) -> ApiKey | None:
    """Return a new key for a user signed in by OIDC, or None if revoked.

    The secret of the key is discarded, so only the session uses the key. Earlier keys of the
    user expire. A user of whom one key was revoked gets no new key.

    Raises:
        KeyInvalid: the user's name is not valid.
    """
    _check_name(name)
    earlier = _keys_named(conn, name)
    if any(key.revoked_at is not None for key in earlier):
        return None
    conn.execute(
        k.update()
        .where(k.c.name == name, sa.or_(k.c.expires_at.is_(None), k.c.expires_at > now))
        .values(expires_at=now)
    )
    serial = earlier[-1].serial + 1 if earlier else 1
    return _insert(
        conn, name, serial, new_secret(), frozenset(scopes), expires_at=expires_at, now=now
    )


def rotate(
    conn: sa.Connection,
    name: str,
    secret: str,
    *,
    expires_at: datetime | None,
    others_until: datetime,
    now: datetime,
) -> ApiKey:
    """Add a secret to a name, and make its active secrets expire later.

    Args:
        conn: a transaction.
        name: the key's name; the new secret gets the scopes of the newest active one.
        secret: the new secret.
        expires_at: the new secret's expiry; None: it does not expire.
        others_until: the active secrets' new expiry, unless they expire before.
        now: the time.

    Raises:
        KeyInvalid: no active key has this name.
    """
    last = _active_keys(conn, name, now)[-1]
    ends_later = sa.or_(k.c.expires_at.is_(None), k.c.expires_at > others_until)
    conn.execute(
        k.update()
        .where(k.c.name == name, k.c.revoked_at.is_(None), ends_later)
        .values(expires_at=others_until)
    )
    serial = last.serial + 1
    return _insert(conn, name, serial, secret, last.scopes, expires_at=expires_at, now=now)


def revoke(conn: sa.Connection, name: str, now: datetime) -> int:
    """Revoke every active secret of a name, and return how many.

    Raises:
        KeyInvalid: no active key has this name.
    """
    active = _active_keys(conn, name, now)
    conn.execute(k.update().where(k.c.id.in_([key.id for key in active])).values(revoked_at=now))
    return len(active)


def find(conn: sa.Connection, secret: str, now: datetime) -> ApiKey | None:
    """Return the active key of a secret, or None."""
    return _active_key(conn, k.c.digest == digest_of(secret), now)


def find_by_id(conn: sa.Connection, key_id: int, now: datetime) -> ApiKey | None:
    """Return the active key of an id, or None."""
    return _active_key(conn, k.c.id == key_id, now)


def listed(conn: sa.Connection) -> list[ApiKey]:
    """Return every key, expired and revoked ones included, by name."""
    return [_entity(row) for row in conn.execute(sa.select(k).order_by(k.c.name, k.c.serial))]


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME_LENGTH:
        problem = f"a name must have 1 to {_MAX_NAME_LENGTH} printable characters; choose another"
        raise KeyInvalid(name, problem)


def _keys_named(conn: sa.Connection, name: str) -> list[ApiKey]:
    query = sa.select(k).where(k.c.name == name).order_by(k.c.serial)
    return [_entity(row) for row in conn.execute(query)]


def _active_key(
    conn: sa.Connection, condition: sa.ColumnElement[bool], now: datetime
) -> ApiKey | None:
    row = conn.execute(sa.select(k).where(condition)).first()
    key = None if row is None else _entity(row)
    return key if key is not None and key.is_active(now) else None


def _active_keys(conn: sa.Connection, name: str, now: datetime) -> list[ApiKey]:
    # PostgreSQL rejects a name with a NUL, so a name that is not printable is never looked up.
    keys = _keys_named(conn, name) if name.isprintable() else []
    active = [key for key in keys if key.is_active(now)]
    if not active:
        raise KeyInvalid(
            name, "no active key has this name; list the keys with `answermill keys list`"
        )
    return active


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
