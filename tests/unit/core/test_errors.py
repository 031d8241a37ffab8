from __future__ import annotations

import re

import pytest

from core import errors
from core.errors import (
    AnswermillError,
    BatchClosed,
    BatchUnknown,
    BrokerUnavailable,
    DatabaseUnavailable,
    LeaseLost,
    MessageInvalid,
    SchemaMissing,
    ServiceUnavailable,
    SettingsInvalid,
    SourceInvalid,
    UserError,
)


def _drawn() -> dict[str, str]:
    """Return the parent of each error in the tree of the module's docstring."""
    parents, path = {}, {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if match:
            depth = len(match[1]) // 4
            path[depth] = match[2]
            if depth:
                parents[match[2]] = path[depth - 1]
    return parents


def _real() -> dict[str, str]:
    parents, waiting = {}, [AnswermillError]
    while waiting:
        parent = waiting.pop()
        # No other module may add errors to the tree.
        for child in parent.__subclasses__():
            parents[child.__name__] = parent.__name__
            waiting.append(child)
    return parents


def test_the_tree_in_the_docstring_is_the_real_one():
    assert _drawn() == _real()
    assert len(_real()) > 10


@pytest.mark.parametrize(
    ("error", "status", "transient"),
    [
        (SettingsInvalid(["x"]), 2, False),
        (BatchUnknown("x"), 2, False),
        (SchemaMissing("sqlite:///x", None, "0001"), 2, False),
        (DatabaseUnavailable("sqlite:///x", "gone"), 3, True),
        (BrokerUnavailable("redis://x", "gone"), 3, True),
        (MessageInvalid("junk"), 1, False),
        (LeaseLost(1, 2), 1, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_has_an_exit_status_and_is_transient_or_not(error, status, transient):
    assert (error.exit_status, error.transient) == (status, transient)


def test_every_user_error_exits_with_2_and_every_unavailable_service_with_3():
    for name in _real():
        kind = getattr(errors, name)
        expected = (
            2 if issubclass(kind, UserError) else 3 if issubclass(kind, ServiceUnavailable) else 1
        )
        assert kind.exit_status == expected, name
        assert kind.transient is issubclass(kind, ServiceUnavailable), name


def test_an_error_builds_its_message_from_the_facts_and_keeps_them():
    error = BatchClosed(7, "cancelled", "added to")
    assert str(error) == "batch 7 is cancelled: it cannot be added to"
    assert (error.batch, error.state) == (7, "cancelled")


def test_a_fault_in_a_file_names_its_row_if_it_has_one():
    assert str(SourceInvalid("q.csv", "no question", row=12)) == "q.csv, row 12: no question"
    assert str(SourceInvalid("q.csv", "empty")) == "q.csv: empty"


def test_a_missing_schema_names_the_command_to_run():
    assert "`answermill db upgrade`" in str(SchemaMissing("sqlite:///x", None, "0001"))
    assert "at revision 0001, not 0002" in str(SchemaMissing("sqlite:///x", "0001", "0002"))
