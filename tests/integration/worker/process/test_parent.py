"""Checks and settings of a worker's parent before it forks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery

from broker import celery_config, ownership
from core.domain.batch import Lane
from core.errors import BrokerInUse, BundleInvalid, ModelUnknown, SettingsInvalid
from tests.factories import built_version, promoted_version
from worker.model.bundle.location import bundle_path
from worker.process import parent


@pytest.fixture
def promoted(engine, settings):
    """A version in production, with its folder in the model store."""
    version = promoted_version(engine)
    bundle_path(settings.models, version.name, version.digest).mkdir(parents=True)
    return version


@pytest.fixture
def started(settings, monkeypatch):
    """Run a worker that does not fork, and return the settings of its children."""

    def started(**changes):
        child_settings = []

        def create_app(settings, *_):
            child_settings.append(settings)
            return SimpleNamespace(worker_main=lambda _: None)

        monkeypatch.setattr(parent, "create_app", create_app)
        monkeypatch.setattr(parent.ownership, "claim_broker", lambda *_: None)
        monkeypatch.setattr(parent.logging_setup, "configure", lambda _: None)
        monkeypatch.setattr(parent, "set_thread_limits", lambda *_: 2)
        assert parent.run(settings.model_copy(update=changes), [Lane.BULK]) == 0
        return child_settings[0]

    return started


@pytest.mark.parametrize(
    ("setting", "watched"), [(None, "shop"), ("shop", "shop"), ("shop@1", "shop@1")]
)
@pytest.mark.usefixtures("promoted")
def test_children_watch_the_name_unless_the_setting_has_a_number(started, setting, watched):
    """With a second name in production, children could not choose between the two."""
    assert started(model=setting).model == watched


def test_a_missing_model_is_reported_before_any_fork(started, engine):
    built_version(engine)
    with pytest.raises(ModelUnknown):
        started()


def test_a_model_store_without_its_package_is_reported_before_any_fork(started, engine, settings):
    promoted_version(engine)
    store = type(settings)(model_store="s3://bucket", home=settings.home).model_store
    with pytest.raises(SettingsInvalid, match="s3fs"):
        started(model_store=store)


def test_an_empty_model_store_is_reported_before_any_fork(started, engine):
    promoted_version(engine)
    with pytest.raises(BundleInvalid, match=r"shop@1: shop/.* is not in the model store"):
        started()


@pytest.mark.usefixtures("promoted")
def test_a_redis_of_another_stack_is_reported_before_any_fork(settings_with_redis):
    other = Celery("other", set_as_current=False)
    other.conf.update(celery_config.celery_settings(settings_with_redis))
    ownership.claim_broker(other, settings_with_redis, "postgresql:another")
    with pytest.raises(BrokerInUse):
        parent.run(settings_with_redis, [Lane.BULK])
    other.close()
