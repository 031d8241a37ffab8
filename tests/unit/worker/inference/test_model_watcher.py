"""Following the pointers, with models that are a name each."""

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
    """What SQL says, what loads, and what was done."""

    wanted: ActiveVersions | Exception
    broken: set[str] = field(default_factory=set)
    loads: list[str] = field(default_factory=list)
    let_go: int = 0
    loaded: list[weakref.ref] = field(default_factory=list)

    def look(self):
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    def load(self, version):
        self.loads.append(str(version))
        if str(version) in self.broken:
            raise BundleInvalid(str(version), "it was changed")
        model = Named(str(version))
        self.loaded.append(weakref.ref(model))
        return model

    def give_back(self):
        gc.collect()
        self.let_go += 1

    def alive(self):
        return [ref().version for ref in self.loaded if ref() is not None]


def version(number, share=None):
    state = VersionState.PRODUCTION if share is None else VersionState.CANARY
    return ModelVersion("shop", number, state, f"d{number}", {}, NOW, canary_share=share)


@pytest.fixture
def world():
    return World(ActiveVersions(version(1)))


@pytest.fixture
def following(world):
    made = ModelWatcher(world.look, world.load, seconds=5, let_go=world.give_back)
    assert made.load_first() == "shop@1"
    return made


@pytest.fixture
def moment(monkeypatch):
    """Simulated time."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def answering(following, job=1):
    with following.locked() as models:
        return models.for_job(job).version


def answered_by(following, jobs=1000):
    return [answering(following, job) for job in range(1, jobs + 1)]


def test_a_promotion_is_followed_and_the_old_model_let_go(world, following):
    world.wanted = ActiveVersions(version(2))
    following.refresh()
    assert answering(following) == "shop@2"
    assert (world.loads, world.alive(), world.let_go) == (["shop@1", "shop@2"], ["shop@2"], 1)


def test_nothing_is_loaded_or_logged_while_nothing_moves(world, following):
    with capture_logs() as logs:
        for _ in range(3):
            following.refresh()
    assert (world.loads, world.let_go, logs) == (["shop@1"], 0, [])


def test_a_version_that_does_not_load_changes_nothing_and_is_told(world, following):
    world.wanted, world.broken = ActiveVersions(version(2)), {"shop@2"}
    with capture_logs() as logs:
        following.refresh()
    assert answering(following) == "shop@1"
    (told,) = logs
    assert (told["event"], told["model"]) == ("version not loaded", "shop@2")
    assert "it was changed" in told["error"]


def test_loading_is_tried_again_less_and_less_often(world, following, moment):
    world.wanted, world.broken = ActiveVersions(version(2)), {"shop@2"}
    tried = []
    for _ in range(2_000):
        before = len(world.loads)
        following.refresh()
        if len(world.loads) > before:
            tried.append(moment[0])
        moment[0] += 1
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[:3] == [10, 20, 40]
    assert pauses == sorted(pauses)
    assert max(pauses) == 300


def test_a_version_that_is_mended_is_taken(world, following, moment):
    world.wanted, world.broken = ActiveVersions(version(2)), {"shop@2"}
    following.refresh()
    world.broken.clear()
    following.refresh()
    assert answering(following) == "shop@1"
    moment[0] += 60
    following.refresh()
    assert answering(following) == "shop@2"


def test_a_broken_version_does_not_stop_the_next_one(world, following):
    world.wanted, world.broken = ActiveVersions(version(2)), {"shop@2"}
    following.refresh()
    world.wanted = ActiveVersions(version(3))
    following.refresh()
    assert answering(following) == "shop@3"


@pytest.mark.parametrize(
    "fault", [DatabaseUnavailable("url", "gone"), ModelUnknown("shop")], ids=str
)
def test_what_can_not_be_looked_up_changes_nothing(world, following, fault):
    world.wanted = fault
    with capture_logs() as logs:
        following.refresh()
    assert answering(following) == "shop@1"
    assert [told["event"] for told in logs] == ["versions not looked up"]


def test_a_first_version_that_does_not_load_is_raised(world):
    world.broken = {"shop@1"}
    with pytest.raises(BundleInvalid):
        ModelWatcher(world.look, world.load, seconds=5, let_go=world.give_back).load_first()


def test_models_are_swapped_between_two_jobs_and_never_inside_one(world, following):
    inside, leave, swapped = threading.Event(), threading.Event(), threading.Event()

    def work():
        with following.locked() as models:
            inside.set()
            assert leave.wait(10)
            answers.append((models.for_job(1).version, world.alive()))

    def follow():
        following.refresh()
        swapped.set()

    answers = []
    job = threading.Thread(target=work)
    job.start()
    assert inside.wait(10)
    world.wanted = ActiveVersions(version(2))
    swap = threading.Thread(target=follow)
    swap.start()
    assert not swapped.wait(0.2)
    leave.set()
    job.join()
    swap.join()
    assert answers == [("shop@1", ["shop@1", "shop@2"])]
    assert (answering(following), world.alive()) == ("shop@2", ["shop@2"])


def test_a_canary_gets_its_share_of_the_jobs(world, following):
    world.wanted = ActiveVersions(version(1), version(2, share=0.2))
    following.refresh()
    first = answered_by(following)
    assert 150 < first.count("shop@2") < 250
    assert set(first) == {"shop@1", "shop@2"}
    assert answered_by(following) == first
    assert world.loads == ["shop@1", "shop@2"]


def test_a_canary_is_held_from_the_beginning(world):
    world.wanted = ActiveVersions(version(1), version(2, share=0.5))
    made = ModelWatcher(world.look, world.load, seconds=5, let_go=world.give_back)
    assert made.load_first() == "shop@1"
    assert set(answered_by(made, 50)) == {"shop@1", "shop@2"}


def test_a_canary_that_is_promoted_is_not_loaded_again(world, following):
    world.wanted = ActiveVersions(version(1), version(2, share=0.5))
    following.refresh()
    world.wanted = ActiveVersions(version(2))
    following.refresh()
    assert set(answered_by(following, 50)) == {"shop@2"}
    assert (world.loads, world.alive()) == (["shop@1", "shop@2"], ["shop@2"])


def test_a_canary_that_is_withdrawn_is_let_go(world, following):
    world.wanted = ActiveVersions(version(1), version(2, share=0.5))
    following.refresh()
    world.wanted = ActiveVersions(version(1))
    following.refresh()
    assert set(answered_by(following, 50)) == {"shop@1"}
    assert world.alive() == ["shop@1"]


def test_a_canary_that_does_not_load_leaves_all_jobs_to_production(world, following):
    world.wanted, world.broken = ActiveVersions(version(1), version(2, share=0.9)), {"shop@2"}
    following.refresh()
    assert set(answered_by(following, 50)) == {"shop@1"}


def test_a_share_that_changes_is_followed(world, following):
    for share, least, most in ((0.1, 50, 150), (0.9, 850, 950)):
        world.wanted = ActiveVersions(version(1), version(2, share=share))
        following.refresh()
        assert least < answered_by(following).count("shop@2") < most
    assert world.loads == ["shop@1", "shop@2"]


def test_a_larger_share_keeps_the_jobs_of_a_smaller_one():
    small, large = (
        {job for job in range(10_000) if goes_to_canary(job, share)} for share in (0.05, 0.3)
    )
    assert small < large
    assert 400 < len(small) < 600


def test_the_thread_follows_by_itself_and_outlives_a_bug_of_ours(world):
    looks, swapped = [], threading.Event()

    def look():
        looks.append(1)
        if len(looks) == 2:
            raise ZeroDivisionError
        return ActiveVersions(version(1 if len(looks) < 4 else 2))

    made = ModelWatcher(look, world.load, seconds=0.01, let_go=swapped.set)
    made.load_first()
    made.start()
    structlog.reset_defaults()
    assert swapped.wait(10)
    made.stop()
    assert answering(made) == "shop@2"
