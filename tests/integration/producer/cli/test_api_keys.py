from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from core import console
from db.clock import DatabaseClock
from db.queries import api_keys
from db.session import reading
from db.tables import audit
from producer.cli.api_keys import app


@pytest.fixture
def keys(environment, capfd):  # noqa: ARG001 - set before it runs
    """Run `keys` with these words: exit status, standard output, standard error."""

    def keys(*words: str) -> tuple[int, str, str]:
        status = console.run(app, ["keys", *words])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return keys


@pytest.fixture
def is_valid(engine):
    """Return whether a secret is valid."""

    def is_valid(secret: str) -> bool:
        with reading(engine) as conn:
            return api_keys.find(conn, secret.strip(), DatabaseClock(engine)()) is not None

    return is_valid


def test_a_key_is_created_shown_once_and_listed_without_its_secret(keys, is_valid):
    status, secret, _ = keys("create", "site", "--scope", "submit", "--expires", "90d")
    assert (status, is_valid(secret)) == (0, True)
    listed = json.loads(keys("list", "--json")[1])["keys"]
    assert [(key["name"], key["scopes"], key["state"]) for key in listed] == [
        ("site", ["submit"], "live")
    ]
    assert secret.strip() not in keys("list", "--json")[1] + keys("list")[1]


def test_a_rotated_key_is_valid_until_the_overlap_is_over(keys, is_valid):
    old = keys("create", "site", "--scope", "desk")[1]
    new = json.loads(keys("rotate", "site", "--json")[1])
    assert (is_valid(old), is_valid(new["key"]), new["scopes"]) == (True, True, ["desk"])
    newest = keys("rotate", "site", "--overlap", "0s")[1]
    assert [is_valid(old), is_valid(new["key"]), is_valid(newest)] == [False, False, True]


def test_a_revoked_key_is_invalid_and_its_name_stays_used(keys, is_valid):
    secret = keys("create", "site")[1]
    assert keys("revoke", "site") == (0, "revoked 1 secret of site\n", "")
    assert not is_valid(secret)
    assert "this name is already used" in keys("create", "site")[2]
    for word in ("revoke", "rotate"):
        status, _, message = keys(word, "site")
        assert status == 2
        assert "no active key has this name" in message


def test_every_change_of_a_key_is_recorded(keys, engine):
    for word in ("create", "rotate", "revoke"):
        keys(word, "site")
    keys("revoke", "site")
    with reading(engine) as conn:
        rows = conn.execute(sa.select(audit).order_by(audit.c.id)).all()
    assert [(row.action, row.target) for row in rows] == [
        ("keys.create", "site"),
        ("keys.rotate", "site"),
        ("keys.revoke", "site"),
    ]
    assert all(row.actor.startswith("user ") for row in rows)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["create", " "], "a name must have 1 to 100 printable characters"),
        (["create", "a\nb"], "a name must have 1 to 100 printable characters"),
        (["create", "x", "--scope", "all"], "'all' is not one of 'submit', 'read', 'desk', 'adm"),
        (["create", "x", "--expires", "0s"], "--expires 0s leaves no time"),
        (["create", "x", "--expires", "soon"], "'soon' is not a duration"),
        (["rotate", "a\0b"], "no active key has this name"),
    ],
)
def test_a_wrong_option_is_reported_on_one_line(words, problem, keys):
    status, out, message = keys(*words)
    assert (status, out, len(message.splitlines())) == (2, "", 1)
    assert problem in message
