from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.domain.api_key import Scope
from core.domain.result import Status
from db.queries import knowledge_entries
from db.queries.knowledge_entries import KnownEntry
from db.session import reading, transaction
from db.tables import audit
from tests.factories import finish, promoted_version, result, running_job, stored_batch

URL = "/v1/desk"
BIKE = KnownEntry("bike", "By bike.", "How do you deliver?")


@pytest.fixture
def caller(front, key):
    """Create a client with a key of this name, by default for the desk."""

    def caller(name: str, *scopes: Scope):
        http = front.test_client()
        secret = key(*(scopes or (Scope.DESK,)), name=name)
        http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return http

    return caller


@pytest.fixture
def ann(caller):
    """Create a client for the desk."""
    return caller("ann")


@pytest.fixture
def batch(engine):
    """Store a batch with two answers and three hand-offs, of a model with an entry."""
    version = promoted_version(engine)
    with transaction(engine) as conn:
        knowledge_entries.store(conn, version, [BIKE])
    batch = stored_batch(engine, 5, job_size=5)
    statuses = [Status.HANDED_OFF if n % 2 else Status.ANSWERED for n in range(1, 6)]
    finish(engine, running_job(engine, batch), [result(n, s) for n, s in enumerate(statuses, 1)])
    return batch


def test_agents_claim_and_answer_hand_offs_and_decide_on_proposals(batch, ann, caller, engine):
    bob = caller("bob")
    found = ann.get(f"{URL}/questions").json
    assert [row["position"] for row in found["questions"]] == [1, 3, 5]
    after = ann.get(f"{URL}/questions?limit=1").json["next"]
    assert ann.get(f"{URL}/questions?after={after}").json["questions"][0]["position"] == 3

    first = f"{URL}/questions/{batch.id}/1"
    held = ann.post(f"{first}/claim")
    assert (held.status_code, held.json["held_by"]) == (200, "ann")
    taken = bob.post(f"{first}/claim")
    assert (taken.status_code, taken.json["detail"][-14:]) == (409, "claimed by ann")
    assert bob.post(f"{first}/answer", json={"answer": "Mine."}).status_code == 409

    stored = ann.post(f"{first}/answer", json={"entry_id": "bike"})
    assert stored.status_code == 201
    assert (stored.json["answer"], stored.json["by"], stored.json["proposal"]) == (
        "By bike.",
        "ann",
        "proposed",
    )
    assert ann.post(f"{first}/answer", json={"answer": "Twice."}).status_code == 409
    assert [row["position"] for row in ann.get(f"{URL}/questions").json["questions"]] == [3, 5]

    second = f"{URL}/questions/{batch.id}/3"
    ann.post(f"{second}/claim")
    assert ann.delete(f"{second}/claim").status_code == 204
    assert (
        bob.post(f"{second}/answer", json={"answer": "By van.", "learn": False}).status_code == 201
    )

    (pair,) = ann.get(f"{URL}/proposals").json["proposals"]
    assert (pair["question"], pair["entry_id"], pair["model"]) == (
        "Where is my parcel?",
        "bike",
        "shop",
    )
    decided = bob.post(f"{URL}/proposals/{batch.id}/1", json={"state": "accepted"})
    assert decided.json["proposal"] == "accepted"
    assert ann.get(f"{URL}/proposals").json["proposals"] == []
    assert bob.post(f"{URL}/proposals/{batch.id}/3", json={"state": "accepted"}).status_code == 404

    read = caller("reader", Scope.READ)
    rows = {r["position"]: r for r in read.get(f"/v1/batches/{batch.id}/results").json["results"]}
    assert (rows[1]["status"], rows[1]["answer"], rows[1]["desk_answer"], rows[1]["desk_by"]) == (
        "handed_off",
        None,
        "By bike.",
        "ann",
    )
    csv = read.get(f"/v1/batches/{batch.id}/results/download?format=csv").text
    assert csv.splitlines()[0].endswith("desk_answer,desk_entry_id,desk_by,desk_at")
    assert ",By bike.,bike,ann," in csv
    with reading(engine) as conn:
        noted = conn.execute(sa.select(audit.c.actor, audit.c.action, audit.c.target)).all()
    assert ("key bob", "desk.decide", f"{batch.id}/1") in [tuple(row) for row in noted]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "body"),
        ({"answer": "  "}, 422, "body"),
        ({"answer": "a\0b"}, 422, "body"),
        ({"entry_id": "none"}, 422, "entry_id"),
        ({"answer": "x" * 20_001}, 422, "answer"),
        ({"anwser": "typo"}, 422, "anwser"),
    ],
)
def test_an_invalid_answer_is_refused(body, status, field, batch, ann):
    response = ann.post(f"{URL}/questions/{batch.id}/1/answer", json=body)
    assert (response.status_code, response.json["field"]) == (status, field)


def test_only_hand_offs_are_answered_and_only_by_the_desk(batch, ann, caller):
    for question in (f"{batch.id}/2", f"{batch.id}/99", "99/1"):
        assert (
            ann.post(f"{URL}/questions/{question}/answer", json={"answer": "x"}).status_code == 404
        )
    for scope in (Scope.SUBMIT, Scope.READ):
        assert caller(scope, scope).get(f"{URL}/questions").status_code == 403


@pytest.mark.usefixtures("batch")
def test_entries_are_searched(ann):
    found = ann.get(f"{URL}/entries?q=DELIVER").json["entries"]
    assert found == [
        {"entry_id": "bike", "answer": "By bike.", "phrasing": "How do you deliver?", "url": None}
    ]
    assert ann.get(f"{URL}/entries?q=nothing").json == {"entries": []}
    assert ann.get(f"{URL}/entries?q=%00").status_code == 422
