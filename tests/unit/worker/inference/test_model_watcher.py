"""Watching the active versions, with models that have only a name."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import structlog
from structlog.testing import capture_logs

from core.domain.model_version import ActiveVersions, ModelVersion, VersionState
from core.errors import BundleInvalid, DatabaseUnavailable, ModelUnknown
from tests.factories import NOW
from worker.inference import model_watcher as module
from worker.inference.model_watcher import ModelWatcher, goes_to_canary


class Named:
    """A model of which only the name matters."""

    def __init__(self, version):
        self.version = version


@dataclass
class World:
    """Active versions in SQL, versions that do not load, and a record of calls."""

    active: ActiveVersions | Exception
    broken: set[str] = field(default_factory=set)
    loads: list[str] = field(default_factory=list)
    swaps: int = 0
    loaded: list[weakref.ref] = field(default_factory=list)

    def read_versions(self):
        if isinstance(self.active, Exception):
            raise self.active
        return self.active

    def load(self, version):
        self.loads.append(str(version))
        if str(version) in self.broken:
            raise BundleInvalid(str(version), "it was changed")
        model = Named(str(version))
        self.loaded.append(weakref.ref(model))
        return model

    def on_swap(self):
        gc.collect()
        self.swaps += 1

    def alive(self):
        return [ref().version for ref in self.loaded if ref() is not None]


def version(number, share=None):
    state = VersionState.PRODUCTION if share is None else VersionState.CANARY
    return ModelVersion("shop", number, state, f"d{number}", {}, NOW, canary_share=share)


@pytest.fixture
def world():
    return World(ActiveVersions(version(1)))


@pytest.fixture
def watcher(world):
    watcher = ModelWatcher(world.read_versions, world.load, seconds=5, on_swap=world.on_swap)
    assert watcher.load_first() == "shop@1"
    return watcher


@pytest.fixture
def moment(monkeypatch):
    """A fake clock."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def answering(watcher, job=1):
    with watcher.locked() as models:
        return models.for_job(job).version


def answered_by(watcher, jobs=1000):
    return [answering(watcher, job) for job in range(1, jobs + 1)]


def test_a_promotion_swaps_the_model_and_releases_the_old_one(world, watcher):
    world.active = ActiveVersions(version(2))
    watcher.refresh()
    assert answering(watcher) == "shop@2"
    assert (world.loads, world.alive(), world.swaps) == (["shop@1", "shop@2"], ["shop@2"], 1)


def test_without_a_change_nothing_is_loaded_or_logged(world, watcher):
    with capture_logs() as logs:
        for _ in range(3):
            watcher.refresh()
    assert (world.loads, world.swaps, logs) == (["shop@1"], 0, [])


def test_a_version_that_does_not_load_changes_nothing_and_is_logged(world, watcher):
    world.active, world.broken = ActiveVersions(version(2)), {"shop@2"}
    with capture_logs() as logs:
        watcher.refresh()
    assert answering(watcher) == "shop@1"
    (entry,) = logs
    assert (entry["event"], entry["model"]) == ("version not loaded", "shop@2")
    assert "it was changed" in entry["error"]


def test_loading_is_retried_with_growing_pauses(world, watcher, moment):
    world.active, world.broken = ActiveVersions(version(2)), {"shop@2"}
    tried_at = []
    for _ in range(2_000):
        before = len(world.loads)
        watcher.refresh()
        if len(world.loads) > before:
            tried_at.append(moment[0])
        moment[0] += 1
    pauses = [later - earlier for earlier, later in pairwise(tried_at)]
    assert pauses[:3] == [10, 20, 40]
    assert pauses == sorted(pauses)
    assert max(pauses) == 300


def test_a_repaired_version_is_loaded(world, watcher, moment):
    world.active, world.broken = ActiveVersions(version(2)), {"shop@2"}
    watcher.refresh()
    world.broken.clear()
    watcher.refresh()
    assert answering(watcher) == "shop@1"
    moment[0] += 60
    watcher.refresh()
    assert answering(watcher) == "shop@2"


def test_a_broken_version_does_not_stop_the_next_one(world, watcher):
    world.active, world.broken = ActiveVersions(version(2)), {"shop@2"}
    watcher.refresh()
    world.active = ActiveVersions(version(3))
    watcher.refresh()
    assert answering(watcher) == "shop@3"


@pytest.mark.parametrize(
    "fault", [DatabaseUnavailable("url", "gone"), ModelUnknown("shop")], ids=str
)
def test_an_error_of_reading_versions_changes_nothing(world, watcher, fault):
    world.active = fault
    with capture_logs() as logs:
        watcher.refresh()
    assert answering(watcher) == "shop@1"
    assert [entry["event"] for entry in logs] == ["versions not looked up"]


def test_a_first_version_that_does_not_load_is_raised(world):
    world.broken = {"shop@1"}
    with pytest.raises(BundleInvalid):
        ModelWatcher(world.read_versions, world.load, seconds=5, on_swap=world.on_swap).load_first()


def test_models_are_swapped_between_two_jobs_and_never_inside_one(world, watcher):
    inside, leave, swapped = threading.Event(), threading.Event(), threading.Event()

    def work():
        with watcher.locked() as models:
            inside.set()
            assert leave.wait(10)
            answers.append((models.for_job(1).version, world.alive()))

    def refresh():
        watcher.refresh()
        swapped.set()

    answers = []
    job = threading.Thread(target=work)
    job.start()
    assert inside.wait(10)
    world.active = ActiveVersions(version(2))
    swap = threading.Thread(target=refresh)
    swap.start()
    assert not swapped.wait(0.2)
    leave.set()
    job.join()
    swap.join()
    assert answers == [("shop@1", ["shop@1", "shop@2"])]
    assert (answering(watcher), world.alive()) == ("shop@2", ["shop@2"])


def test_a_canary_gets_its_share_of_the_jobs(world, watcher):
    world.active = ActiveVersions(version(1), version(2, share=0.2))
    watcher.refresh()
    first = answered_by(watcher)
    assert 150 < first.count("shop@2") < 250
    assert set(first) == {"shop@1", "shop@2"}
    assert answered_by(watcher) == first
    assert world.loads == ["shop@1", "shop@2"]


def test_a_canary_is_loaded_from_the_beginning(world):
    world.active = ActiveVersions(version(1), version(2, share=0.5))
    watcher = ModelWatcher(world.read_versions, world.load, seconds=5, on_swap=world.on_swap)
    assert watcher.load_first() == "shop@1"
    assert set(answered_by(watcher, 50)) == {"shop@1", "shop@2"}


def test_a_canary_that_is_promoted_is_not_loaded_again(world, watcher):
    world.active = ActiveVersions(version(1), version(2, share=0.5))
    watcher.refresh()
    world.active = ActiveVersions(version(2))
    watcher.refresh()
    assert set(answered_by(watcher, 50)) == {"shop@2"}
    assert (world.loads, world.alive()) == (["shop@1", "shop@2"], ["shop@2"])


def test_a_withdrawn_canary_is_released(world, watcher):
    world.active = ActiveVersions(version(1), version(2, share=0.5))
    watcher.refresh()
    world.active = ActiveVersions(version(1))
    watcher.refresh()
    assert set(answered_by(watcher, 50)) == {"shop@1"}
    assert world.alive() == ["shop@1"]


def test_a_canary_that_does_not_load_leaves_all_jobs_to_production(world, watcher):
    world.active, world.broken = ActiveVersions(version(1), version(2, share=0.9)), {"shop@2"}
    watcher.refresh()
    assert set(answered_by(watcher, 50)) == {"shop@1"}


def test_a_changed_share_takes_effect(world, watcher):
    for share, least, most in ((0.1, 50, 150), (0.9, 850, 950)):
        world.active = ActiveVersions(version(1), version(2, share=share))
        watcher.refresh()
        assert least < answered_by(watcher).count("shop@2") < most
    assert world.loads == ["shop@1", "shop@2"]


def test_a_larger_share_keeps_the_jobs_of_a_smaller_one():
    small, large = (
        {job for job in range(10_000) if goes_to_canary(job, share)} for share in (0.05, 0.3)
    )
    assert small < large
    assert 400 < len(small) < 600


def test_the_thread_watches_versions_and_survives_a_bug(world):
    calls, swapped = [], threading.Event()

    def read_versions():
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError
        return ActiveVersions(version(1 if len(calls) < 4 else 2))

    watcher = ModelWatcher(read_versions, world.load, seconds=0.01, on_swap=swapped.set)
    watcher.load_first()
    watcher.start()
    structlog.reset_defaults()
    assert swapped.wait(10)
    watcher.stop()
    assert answering(watcher) == "shop@2"
