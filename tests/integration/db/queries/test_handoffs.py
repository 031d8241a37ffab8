from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.domain.handoff import Proposal
from core.domain.result import Status
from core.errors import HandOffTaken, HandOffUnknown
from db.queries import handoffs, retention
from db.queries.batches import close_finished
from db.session import reading, transaction
from db.tables import desk_answers, desk_claims
from tests.factories import (
    NOW,
    all_results,
    finish,
    later,
    partly_final_batch,
    result,
    running_job,
    stored_batch,
)

UNTIL = later(600)


@pytest.fixture
def batch(engine):
    """Return a batch with five hand-offs."""
    batch = stored_batch(engine, 5, job_size=5)
    finish(
        engine,
        running_job(engine, batch),
        [result(number, Status.HANDED_OFF) for number in range(1, 6)],
    )
    return batch


@pytest.fixture
def waiting(engine):
    """Return the positions of the unanswered hand-offs."""

    def waiting(now=NOW, **values):
        with reading(engine) as conn:
            return [row.position for row in handoffs.waiting(conn, now=now, limit=9, **values)]

    return waiting


def _claim(engine, ref, by="ann", now=NOW):
    with transaction(engine) as conn:
        handoffs.claim(conn, ref, by=by, until=now + timedelta(minutes=10), now=now)


def _answer(engine, ref, text="By bike.", *, by="ann", entry_id=None, learn=True, now=NOW):
    with transaction(engine) as conn:
        handoffs.answer(conn, ref, text, entry_id=entry_id, by=by, learn=learn, now=now)


def test_only_hand_offs_wait_at_the_desk_and_are_paged(engine, waiting):
    first = partly_final_batch(engine, 6)
    second = stored_batch(engine, 2, job_size=2, name="second")
    job = running_job(engine, second)
    finish(engine, job, [result(number, Status.HANDED_OFF) for number in (1, 2)])
    assert waiting() == [2, 1, 2]
    assert waiting(after=(first.id, 2)) == [1, 2]
    assert waiting(after=(second.id, 1)) == [2]
    assert waiting(batch_id=first.id) == [2]
    with reading(engine) as conn:
        row = handoffs.waiting(conn, now=NOW, limit=1)[0]
        assert (row.question, row.reason, row.held_by) == (
            "Where is my parcel?",
            "nothing fits",
            None,
        )
        assert [handoffs.waiting_count(conn, most) for most in (9, 2)] == [3, 2]


def test_a_claimed_hand_off_is_not_given_to_another_agent(engine, batch):
    ref = (batch.id, 1)
    _claim(engine, ref)
    _claim(engine, ref)  # extends the claim
    with pytest.raises(HandOffTaken, match="claimed by ann"):
        _claim(engine, ref, by="bob")
    with pytest.raises(HandOffTaken, match="claimed by ann"):
        _answer(engine, ref, by="bob")
    with reading(engine) as conn:
        assert handoffs.hand_off(conn, ref, NOW).held_by == "ann"


def test_a_claim_ends_by_itself_or_is_let_go(engine, batch):
    ref = (batch.id, 1)
    _claim(engine, ref)
    _claim(engine, ref, by="bob", now=later(601))
    with transaction(engine) as conn:
        handoffs.release(conn, ref, "ann")  # no effect: bob has claimed it
        assert handoffs.hand_off(conn, ref, later(602)).held_by == "bob"
        handoffs.release(conn, ref, "bob")
        assert handoffs.hand_off(conn, ref, later(602)).held_by is None


def test_an_answer_is_stored_once_and_the_result_stays(engine, batch, waiting):
    ref = (batch.id, 2)
    before = all_results(engine, batch)
    _claim(engine, ref)
    _answer(engine, ref, "By bike.", entry_id="bike")
    with pytest.raises(HandOffTaken, match="answered already"):
        _answer(engine, ref, "By car.", by="bob")
    with pytest.raises(HandOffTaken, match="answered already"):
        _claim(engine, ref)
    assert waiting() == [1, 3, 4, 5]
    row, was = all_results(engine, batch)[1], before[1]
    assert (row.desk_answer, row.desk_entry_id, row.desk_by, row.desk_at) == (
        "By bike.",
        "bike",
        "ann",
        NOW,
    )
    assert (row.status, row.answer, row.reason, row.cursor) == (
        was.status,
        was.answer,
        was.reason,
        was.cursor,
    )
    assert was.desk_answer is None


def test_what_was_not_handed_off_is_not_answered(engine):
    batch = partly_final_batch(engine, 6)
    for position in (1, 3, 4, 99):
        with pytest.raises(HandOffUnknown):
            _answer(engine, (batch.id, position))
        with pytest.raises(HandOffUnknown):
            _claim(engine, (batch.id, position))


def test_a_pair_is_proposed_accepted_and_rejected(engine, batch):
    _answer(engine, (batch.id, 1), "one")
    _answer(engine, (batch.id, 2), "two", entry_id="parcel", now=later(1))
    _answer(engine, (batch.id, 3), "three", learn=False)

    def answers(state, model=None):
        with reading(engine) as conn:
            return [row.answer for row in handoffs.proposals(conn, state, limit=9, model=model)]

    assert answers(Proposal.PROPOSED) == answers(Proposal.PROPOSED, "shop") == ["one", "two"]
    assert answers(Proposal.PROPOSED, "other") == []
    with transaction(engine) as conn:
        handoffs.decide(conn, (batch.id, 1), Proposal.ACCEPTED, by="bob", now=later(2))
        handoffs.decide(conn, (batch.id, 2), Proposal.REJECTED, by="bob", now=later(2))
    for position in (3, 4):
        with transaction(engine) as conn, pytest.raises(HandOffUnknown):
            handoffs.decide(conn, (batch.id, position), Proposal.ACCEPTED, by="bob", now=NOW)
    assert [answers(state) for state in Proposal] == [[], ["one"], ["two"]]
    with reading(engine) as conn:
        assert list(handoffs.proposal_counts(conn).values()) == [0, 1, 1]
        (row,) = handoffs.proposals(conn, Proposal.ACCEPTED, limit=9)
        assert (row.question, row.model, row.decided_by) == ("Where is my parcel?", "shop", "bob")


def test_pruning_a_batch_deletes_its_claims_and_answers(engine, batch):
    _answer(engine, (batch.id, 1))
    _claim(engine, (batch.id, 2))
    with transaction(engine) as conn:
        close_finished(conn, NOW)
        assert retention.mark(conn, [batch.id], later(1)) == [batch.id]
        retention.delete_range(conn, batch.id, 1, 5)
        for table in (desk_answers, desk_claims):
            assert conn.execute(sa.select(table)).all() == []


def test_of_two_agents_who_answer_at_once_one_gets_an_error(engine, batch):
    from concurrent.futures import ThreadPoolExecutor

    def tried(number):
        try:
            _answer(engine, (batch.id, 1), f"answer {number}", by=f"agent {number}")
        except HandOffTaken:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(tried, range(4))) == 1
