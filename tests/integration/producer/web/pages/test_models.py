from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from core.domain.api_key import Scope
from core.domain.model_version import PromotionNote
from db.queries import model_versions
from db.session import reading, transaction
from db.tables import audit
from tests.factories import (
    NOW,
    built_version,
    promoted_version,
)


def _messages(response) -> list[str]:
    return re.findall(r'<p class="note" role="status">([^<]*)', response.text)


def _gated(engine, candidate, *, worse=False, against="shop@1"):
    compared = [{"figure": "accuracy", "worse": worse}]
    note = PromotionNote(forced=worse, gate={"production": against, "compared": compared})
    with transaction(engine) as conn:
        model_versions.begin_canary(conn, candidate, 0.1, by="test", now=NOW, note=note)


def test_a_version_that_passed_the_gate_is_promoted_and_rolled_back(mei, engine):
    promoted_version(engine)
    candidate = built_version(engine, digest="d2")
    _gated(engine, candidate)
    assert "Promote shop@2" in mei.get("/models").text
    mei.post("/models/shop/promote", version="2", reason="figures")
    seen = mei.get("/models")
    assert _messages(seen) == ["shop@2 is in production."]
    mei.post("/models/shop/roll-back")
    assert _messages(mei.get("/models")) == ["Enter a reason for the history."]
    mei.post("/models/shop/roll-back", reason="slow")
    seen = mei.get("/models")
    assert _messages(seen) == ["shop@1 is in production."]
    assert "slow" in seen.text
    with reading(engine) as conn:
        assert str(model_versions.find(conn, "shop")) == "shop@1"
        actions = conn.scalars(sa.select(audit.c.action).where(audit.c.target == "shop")).all()
    assert actions == ["page.promote", "page.roll_back", "page.roll_back"]


@pytest.mark.parametrize(
    "gate",
    [None, {"worse": True}, {"against": "shop@9"}],
    ids=["ungated", "worse", "other-production"],
)
def test_a_version_that_has_not_passed_the_gate_is_not_promoted(gate, mei, engine):
    promoted_version(engine)
    candidate = built_version(engine, digest="d2")
    if gate is not None:
        _gated(engine, candidate, **gate)
    seen = mei.get("/models").text
    assert "Promote shop@2" not in seen
    assert "answermill model promote shop@2" in seen
    mei.post("/models/shop/promote", version="2")
    (message,) = _messages(mei.get("/models"))
    assert "gate" in message
    assert "shop@1" in message
    with reading(engine) as conn:
        assert str(model_versions.find(conn, "shop")) == "shop@1"


def test_only_an_admin_promotes_and_rolls_back(visitor, engine):
    promoted_version(engine)
    reader = visitor(Scope.READ)
    assert "<form" not in reader.get("/models").text.partition("<main")[2]
    assert reader.post("/models/shop/roll-back", reason="x").status_code == 403
