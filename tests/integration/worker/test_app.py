"""What a worker's parent settles before it forks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from db.entities import Lane
from db.errors import ModelUnknown, SettingsInvalid
from tests.factories import built_version, promoted_version
from worker import app


@pytest.fixture
def started(settings, monkeypatch):
    """Run a worker that forks nothing; return the settings its children would get."""

    def started(**changes):
        seen = []

        def create_app(given, _load):
            seen.append(given)
            return SimpleNamespace(worker_main=lambda _: None)

        monkeypatch.setattr(app, "create_app", create_app)
        monkeypatch.setattr(app.logs, "configure", lambda _: None)
        monkeypatch.setattr(app, "limit", lambda *_: 2)
        assert app.run(settings.model_copy(update=changes), [Lane.BULK]) == 0
        return seen[0]

    return started


@pytest.mark.parametrize(
    ("told", "followed"), [(None, "shop"), ("shop", "shop"), ("shop@1", "shop@1")]
)
def test_children_follow_the_name_unless_a_number_was_told(started, engine, told, followed):
    """A second name that comes into production must not leave them without a choice."""
    promoted_version(engine)
    assert started(model=told).model == followed


def test_a_model_that_is_not_there_is_told_before_any_fork(started, engine):
    built_version(engine)
    with pytest.raises(ModelUnknown):
        started()


def test_a_store_that_nothing_speaks_to_is_told_before_any_fork(started, engine, settings):
    promoted_version(engine)
    store = type(settings)(model_store="s3://bucket", home=settings.home).model_store
    with pytest.raises(SettingsInvalid, match="s3fs"):
        started(model_store=store)
