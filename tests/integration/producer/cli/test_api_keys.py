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
def am(environment, capfd):  # noqa: ARG001 - set before it runs
    """Run `keys` with these words: exit status, standard output, standard error."""

    def am(*words: str) -> tuple[int, str, str]:
        status = console.run(app, ["keys", *words])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return am


@pytest.fixture
def opens(engine):
    """Tell whether a secret opens anything."""

    def opens(secret: str) -> bool:
        with reading(engine) as conn:
            return api_keys.find(conn, secret.strip(), DatabaseClock(engine)()) is not None

    return opens


def test_a_key_is_made_shown_once_and_listed_without_its_secret(am, opens):
    status, secret, _ = am("create", "site", "--scope", "submit", "--expires", "90d")
    assert (status, opens(secret)) == (0, True)
    listed = json.loads(am("list", "--json")[1])["keys"]
    assert [(key["name"], key["scopes"], key["state"]) for key in listed] == [
        ("site", ["submit"], "live")
    ]
    assert secret.strip() not in am("list", "--json")[1] + am("list")[1]


def test_a_rotated_key_opens_until_the_overlap_is_over(am, opens):
    old = am("create", "site", "--scope", "desk")[1]
    new = json.loads(am("rotate", "site", "--json")[1])
    assert (opens(old), opens(new["key"]), new["scopes"]) == (True, True, ["desk"])
    newest = am("rotate", "site", "--overlap", "0s")[1]
    assert [opens(old), opens(new["key"]), opens(newest)] == [False, False, True]


def test_a_revoked_key_opens_nothing_and_its_name_is_never_given_again(am, opens):
    secret = am("create", "site")[1]
    assert am("revoke", "site") == (0, "revoked 1 secret of site\n", "")
    assert not opens(secret)
    assert "this name is already used" in am("create", "site")[2]
    for word in ("revoke", "rotate"):
        status, _, told = am(word, "site")
        assert status == 2
        assert "no active key has this name" in told


def test_every_change_of_a_key_is_recorded(am, engine):
    for word in ("create", "rotate", "revoke"):
        am(word, "site")
    am("revoke", "site")
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
def test_a_wrong_word_is_told_in_one_line(words, problem, am):
    status, out, told = am(*words)
    assert (status, out, len(told.splitlines())) == (2, "", 1)
    assert problem in told
