from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from core.domain.handoff import Proposal
from core.domain.result import Status
from db.queries import handoffs
from db.session import transaction
from tests.factories import NOW, finish, question, result, running_job, stored_batch
from worker.lifecycle.inputs.accepted_proposals import add_accepted, with_accepted
from worker.model.bundle.bundle import Entry

ENTRIES = [
    Entry("refund", "Soon.", ["Where is my refund?"]),
    Entry("track", "See My orders.", ["Where is my parcel?"]),
]


def proposal(text: str, answer: str = "Soon.", entry_id: str | None = "refund", position: int = 1):
    return SimpleNamespace(
        question=text, answer=answer, entry_id=entry_id, batch_id=7, position=position
    )


def _counts(merged) -> tuple[int, ...]:
    return merged.phrasings, merged.added, merged.known, merged.skipped


def test_a_picked_answer_is_a_phrasing_of_its_entry():
    merged = add_accepted(ENTRIES, [proposal(" money back when ")])
    assert merged.entries[0].questions == ["Where is my refund?", "money back when"]
    assert merged.entries[1:] == ENTRIES[1:]
    assert _counts(merged) == (1, 0, 0, 0)


def test_a_written_answer_is_an_entry_and_the_same_again_its_phrasing():
    accepted = [
        proposal("Do you ship to Mars?", "Not yet.", None, 3),
        proposal("Mars delivery?", "Not yet. ", None, 4),
    ]
    merged = add_accepted(ENTRIES, accepted)
    assert merged.entries[2] == Entry(
        "desk-7-3", "Not yet.", ["Do you ship to Mars?", "Mars delivery?"]
    )
    assert _counts(merged) == (1, 1, 0, 0)


def test_an_answer_that_an_entry_gives_already_is_its_phrasing():
    merged = add_accepted(ENTRIES, [proposal("refund when", "Soon.", None)])
    assert [entry.id for entry in merged.entries] == ["refund", "track"]
    assert merged.entries[0].questions[-1] == "refund when"


def test_known_proposals_and_those_without_entry_or_words_change_nothing():
    accepted = [
        proposal("where is my REFUND"),
        proposal("Why?", entry_id="gone"),
        proposal("??"),
        proposal(" ", "x", None),
    ]
    merged = add_accepted(ENTRIES, accepted)
    assert merged.entries == ENTRIES
    assert _counts(merged) == (0, 0, 1, 3)
    assert str(merged) == (
        "learned from the hand-off desk: phrasings 0, entries 0; known already 1, skipped 3"
    )


def test_merging_twice_changes_nothing():
    accepted = [proposal("money back when"), proposal("Do you ship to Mars?", "Not yet.", None, 3)]
    once = add_accepted(ENTRIES, accepted)
    again = add_accepted(once.entries, accepted)
    assert again.entries == once.entries
    assert _counts(again) == (0, 0, 2, 0)


@pytest.fixture
def desked(engine):
    """Three answers of the desk: accepted, proposed, rejected."""
    texts = ["money back when", "Why?", "How?"]
    questions = [question(n, text) for n, text in enumerate(texts, 1)]
    batch = stored_batch(engine, questions, job_size=3)
    finish(engine, running_job(engine, batch), [result(n, Status.HANDED_OFF) for n in (1, 2, 3)])
    states = {1: Proposal.ACCEPTED, 2: Proposal.PROPOSED, 3: Proposal.REJECTED}
    for n, state in states.items():
        with transaction(engine) as conn:
            position = (batch.id, n)
            handoffs.answer(
                conn, position, "Soon.", entry_id="refund", by="ann", learn=True, now=NOW
            )
            handoffs.decide(conn, position, state, by="ann", now=NOW)


@pytest.mark.usefixtures("desked")
def test_only_what_was_accepted_of_the_model_is_merged(engine):
    merged = with_accepted(engine, "shop", ENTRIES)
    assert merged.entries[0].questions == ["Where is my refund?", "money back when"]
    assert with_accepted(engine, "other", ENTRIES).entries == ENTRIES


def test_the_build_merges_the_accepted_proposals(run, tmp_path, tiny_encoder):
    from core.settings.load import load
    from db.schema import prepare

    knowledge = tmp_path / "kb.jsonl"
    lines = [{"id": e.id, "answer": e.answer, "questions": e.questions} for e in ENTRIES]
    knowledge.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ["build", "--name", "shop", "--knowledge", str(knowledge)]
    words += ["--encoder", str(tiny_encoder), "--learned"]
    status, out, err = run(*words)
    assert (status, "2 entries, 2 phrasings" in out) == (0, True), out
    assert "phrasings 0, entries 0" in err
    engine = prepare(load())
    batch = stored_batch(engine, [question(1, "money back when")], job_size=1)
    finish(engine, running_job(engine, batch), [result(1, Status.HANDED_OFF)])
    with transaction(engine) as conn:
        handoffs.answer(
            conn, (batch.id, 1), "Soon.", entry_id="refund", by="a", learn=True, now=NOW
        )
        handoffs.decide(conn, (batch.id, 1), Proposal.ACCEPTED, by="a", now=NOW)
        assert [known.entry_id for known in _known(conn)] == ["refund", "track"]
    engine.dispose()
    status, out, err = run(*words)
    assert (status, "2 entries, 3 phrasings" in out) == (0, True), out
    assert "phrasings 1, entries 0" in err
    assert "The same bundle is shop@2 already" in run(*words)[1]


def _known(conn):
    from db.queries import knowledge_entries

    return knowledge_entries.search(conn, "", model="shop", limit=9)
