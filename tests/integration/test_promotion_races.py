"""Two promotions of a model, one started between two statements of the other.

Every interleaving must leave one version in production, and at most one canary.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing, suppress
from itertools import count

import pytest
import sqlalchemy as sa

from core.domain.model_version import VersionState
from core.errors import ModelUnknown, PromotionRefused
from db import tables
from db.queries import model_versions
from db.session import reading, transaction
from tests import factories
from tests.factories import NOW, later
from tests.integration.interleaving import Interleaving

ALLOWED = (ModelUnknown, PromotionRefused)


@pytest.fixture
def shop(engine):
    """Return versions 1 to 3 of a model: 2 is in production, and 1 was before."""
    versions = [factories.built_version(engine, digest=digest) for digest in ("d1", "d2", "d3")]
    for version in versions[:2]:
        with transaction(engine) as conn:
            model_versions.promote(conn, version, by="test", now=NOW)
    return versions


def _moves(shop):
    first, _, third = shop
    by = {"by": "race", "now": later(1)}

    def moved(move):
        def run(engine):
            with transaction(engine) as conn:
                move(conn)

        return run

    return {
        "promote": moved(lambda conn: model_versions.promote(conn, third, **by)),
        "promote another": moved(lambda conn: model_versions.promote(conn, first, **by)),
        "roll back": moved(lambda conn: model_versions.roll_back(conn, "shop", **by)),
        "canary": moved(lambda conn: model_versions.begin_canary(conn, third, 0.1, **by)),
        "withdraw": moved(lambda conn: model_versions.withdraw_canary(conn, "shop", **by)),
    }


@pytest.mark.parametrize("second", ["promote another", "roll back", "canary"])
@pytest.mark.parametrize("first", ["promote", "canary"])
def test_one_version_is_in_production(first, second, shop, settings, engine):
    moves = _moves(shop)
    with closing(Interleaving(settings, ALLOWED)) as both:
        for point in count(1):
            inside = both.run(moves[first], moves[second], point)
            with reading(engine) as conn:
                states = Counter(version.state for version in model_versions.listed(conn, "shop"))
                last = conn.execute(
                    sa.select(tables.promotions).order_by(tables.promotions.c.id.desc())
                ).first()
                active = model_versions.active_by_state(conn, "shop")
            assert states[VersionState.PRODUCTION] == 1
            assert states[VersionState.CANARY] <= 1
            if last.kind in ("promoted", "rolled_back"):
                assert active[VersionState.PRODUCTION].version == last.version
            with suppress(*ALLOWED):
                moves["withdraw"](engine)
            if not inside:
                break
        assert point > 1
