from __future__ import annotations

import dataclasses

import pytest

from core.domain.batch import BATCH_TRANSITIONS, BatchProgress, BatchState
from core.domain.job import JOB_TRANSITIONS, JobState
from core.domain.model_version import ModelVersion, VersionState
from core.domain.result import Status
from tests.factories import NOW, question, result

_TABLES = [(JobState, JOB_TRANSITIONS), (BatchState, BATCH_TRANSITIONS)]


@pytest.mark.parametrize(("states", "transitions"), _TABLES, ids=["jobs", "batches"])
def test_the_transitions_of_every_state_are_listed(states, transitions):
    assert set(transitions) == set(states)
    assert all(isinstance(state, states) for targets in transitions.values() for state in targets)


def test_terminal_states_have_no_transitions():
    assert {state for state in JobState if not JOB_TRANSITIONS[state]} == {
        JobState.SPLIT,
        JobState.CANCELLED,
        JobState.EXPIRED,
    }
    terminal = {state for state in BatchState if not BATCH_TRANSITIONS[state]}
    assert terminal == {BatchState.PRUNED}


@pytest.mark.parametrize(("states", "transitions"), _TABLES, ids=["jobs", "batches"])
def test_every_state_can_follow_from_the_first_one(states, transitions):
    first = next(iter(states))
    reached, waiting = {first}, [first]
    while waiting:
        new = transitions[waiting.pop()] - reached
        reached |= new
        waiting += new
    assert reached == set(states)


@pytest.mark.parametrize(("states", "transitions"), _TABLES, ids=["jobs", "batches"])
def test_no_state_follows_itself(states, transitions):
    assert not [state for state in states if state in transitions[state]]


def test_a_stopped_job_has_the_name_of_its_results():
    """`close_queued` writes the status as the state."""
    for status in (Status.CANCELLED, Status.EXPIRED):
        assert JobState(status.value).value == BatchState(status.value).value == status.value


def test_entities_are_frozen():
    with pytest.raises(AttributeError):
        question().text = "another"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result().key = "another"


def test_progress_counts_final_questions():
    progress = BatchProgress(
        queued=3,
        running=2,
        by_status={Status.ANSWERED: 4, Status.FAILED: 1},
        recent=0,
        oldest_queued_at=None,
    )
    assert progress.final == 5


def test_a_model_version_is_named_as_results_name_it():
    version = ModelVersion("shop", 3, VersionState.BUILT, "digest", {}, NOW)
    assert str(version) == "shop@3"
