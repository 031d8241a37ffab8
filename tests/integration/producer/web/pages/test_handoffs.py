from __future__ import annotations

import sqlalchemy as sa

from core.domain.api_key import Scope
from core.domain.handoff import Proposal
from db.session import reading
from db.tables import desk_answers

EVIL = "<script>alert(1)</script>"


def test_two_agents_share_the_desk(visitor, batch, engine):
    ann, bob = visitor(Scope.DESK, name="ann"), visitor(Scope.DESK, name="bob")
    seen = ann.get("/desk")
    assert EVIL not in seen.text
    assert seen.text.count("/take") == 2
    first = ann.post("/desk/next").headers["Location"]
    assert first == f"/desk/{batch.id}/1"
    assert "Taken by ann" in bob.get("/desk").text
    assert 'name="answer"' not in bob.get(first).text
    assert bob.post(f"{first}/take").headers["Location"] == "/desk"
    second = bob.post("/desk/next").headers["Location"]
    assert second == f"/desk/{batch.id}/2"
    assert bob.post("/desk/next").headers["Location"] == second  # their own again
    bob.post(f"{second}/release")
    assert "Taken by bob" not in ann.get("/desk").text

    ann.get(first)
    assert "write an answer or choose an entry" in ann.post(first).text
    assert "no entry has the id" in ann.post(first, entry="none").text
    location = ann.post(first, answer=f"Ours. {EVIL}", learn="on", next="1").headers["Location"]
    assert location == second
    bob.get("/desk")
    assert "is answered already" in bob.post(first, answer="Mine.").text
    ann.get(second)
    assert "By bike." in ann.get(f"{second}?q=deliver").text
    ann.post(second, entry="bike")
    assert "No questions need a human answer." in ann.get("/desk").text
    with reading(engine) as conn:
        rows = conn.execute(sa.select(desk_answers).order_by(desk_answers.c.position)).all()
    assert [(r.answer, r.entry_id, r.by, r.proposal) for r in rows] == [
        (f"Ours. {EVIL}", None, "ann", Proposal.PROPOSED),
        ("By bike.", "bike", "ann", None),
    ]


def test_proposals_are_decided_at_the_desk(mei, batch):
    mei.get("/desk")
    first = mei.post("/desk/next").headers["Location"]
    mei.get(first)
    mei.post(first, answer="Ours.", learn="on")
    assert "Ours." in mei.get("/desk/proposals").text
    mei.post(f"{first}/proposal", state="accepted")
    assert "Ours." not in mei.get("/desk/proposals").text
    assert "Ours." in mei.get("/desk/proposals?state=accepted").text
    assert mei.post(f"{first}/proposal", state="x").status_code == 422
    assert mei.post(f"/desk/{batch.id}/2/proposal", state="accepted").status_code == 404
    seen = mei.get(f"/batches/{batch.id}").text
    assert "Answered by mei" in seen
