"""Canaries, and the log of promotions and rollbacks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from core.domain.model_version import ActiveVersions, PromotionKind, PromotionNote, VersionState
from core.errors import ModelUnknown, PromotionRefused
from db.queries import model_versions, promotion_log
from db.session import reading, transaction
from db.tables import model_versions as t
from tests.factories import NOW, built_version, later, promoted_version


@pytest.fixture
def shop(engine):
    """Return shop@1, in production, and shop@2 and shop@3, built."""
    return [
        promoted_version(engine),
        *(built_version(engine, digest=digest) for digest in ("d2", "d3")),
    ]


def _canary(engine, version, share=0.25, **values):
    with transaction(engine) as conn:
        model_versions.begin_canary(
            conn, version, share, **{"by": "ann", "now": later(1), **values}
        )


def _withdraw(engine, name="shop"):
    with transaction(engine) as conn:
        return model_versions.withdraw_canary(conn, name, by="bob", now=later(2))


def _active(engine, spec=None):
    with reading(engine) as conn:
        active = model_versions.active(conn, spec)
    return str(active.version), active.canary and str(active.canary)


def _history(engine, version):
    with reading(engine) as conn:
        events = promotion_log.history(conn, version)
    return [(event.kind, event.version, event.previous_version, event.by) for event in events]


def _state(engine, spec):
    with reading(engine) as conn:
        return model_versions.find(conn, spec).state


def test_a_canary_is_active_next_to_production(engine, shop):
    _canary(engine, shop[1], 0.25)
    for spec in (None, "shop"):
        assert _active(engine, spec) == ("shop@1", "shop@2")
    with reading(engine) as conn:
        assert model_versions.active(conn, "shop").canary.canary_share == 0.25
        assert model_versions.active(conn, "shop@1") == ActiveVersions(
            model_versions.find(conn, "shop@1")
        )
    assert _active(engine, "shop@2") == ("shop@2", None)


def test_a_canary_ends_in_production(engine, shop):
    _canary(engine, shop[1])
    with transaction(engine) as conn:
        model_versions.promote(conn, shop[1], by="ann", now=later(2))
    assert _active(engine) == ("shop@2", None)
    assert _state(engine, "shop@1") is VersionState.RETIRED
    with reading(engine) as conn:
        assert model_versions.find(conn, "shop").canary_share is None


def test_a_canary_that_is_withdrawn_leaves_production_alone(engine, shop):
    _canary(engine, shop[1])
    assert str(_withdraw(engine)) == "shop@2"
    assert _active(engine) == ("shop@1", None)
    assert _state(engine, "shop@2") is VersionState.WITHDRAWN
    assert _withdraw(engine) is None


def test_a_canary_is_nothing_to_roll_back_to(engine, shop):
    _canary(engine, shop[1])
    with transaction(engine) as conn, pytest.raises(ModelUnknown, match="no earlier version"):
        model_versions.roll_back(conn, "shop", by="bob", now=later(2))
    assert _active(engine) == ("shop@1", "shop@2")


def test_the_share_of_a_canary_can_be_changed(engine, shop):
    _canary(engine, shop[1], 0.05)
    _canary(engine, shop[1], 0.5)
    with reading(engine) as conn:
        assert model_versions.active(conn, "shop").canary.canary_share == 0.5


def test_a_canary_survives_the_promotion_of_another_version(engine, shop):
    _canary(engine, shop[1])
    with transaction(engine) as conn:
        model_versions.promote(conn, shop[2], by="ann", now=later(2))
    assert _active(engine) == ("shop@3", "shop@2")


def test_a_name_has_one_canary_next_to_a_production_version(engine, shop):
    with pytest.raises(PromotionRefused, match="shop@1 is not promoted: it is in production"):
        _canary(engine, shop[0])
    with pytest.raises(PromotionRefused, match="no version of bank is in production"):
        _canary(engine, built_version(engine, "bank"))
    _canary(engine, shop[1])
    with pytest.raises(PromotionRefused, match="shop@2 is a canary; promote it or roll it back"):
        _canary(engine, shop[2])
    with pytest.raises(sa.exc.IntegrityError), transaction(engine) as conn:
        conn.execute(t.update().where(t.c.version == 3).values(state=VersionState.CANARY))


def test_every_move_is_kept_with_who_and_why(engine, shop):
    gate = {"margin": 0.01, "compared": [{"figure": "accuracy", "candidate": 0.9}]}
    with transaction(engine) as conn:
        note = PromotionNote(forced=True, reason="a new law", gate=gate)
        model_versions.promote(conn, shop[1], by="ann", now=later(1), note=note)
    _canary(engine, shop[2], 0.05, now=later(2))
    _withdraw(engine)
    with transaction(engine) as conn:
        model_versions.roll_back(conn, "shop", by="bob", now=later(3))

    assert _history(engine, shop[0]) == [
        (PromotionKind.PROMOTED, 1, None, "test"),
        (PromotionKind.PROMOTED, 2, 1, "ann"),
        (PromotionKind.ROLLED_BACK, 1, 2, "bob"),
    ]
    assert _history(engine, shop[2]) == [
        (PromotionKind.CANARY, 3, 2, "ann"),
        (PromotionKind.CANARY_WITHDRAWN, 3, 2, "bob"),
    ]
    with reading(engine) as conn:
        promoted = promotion_log.history(conn, shop[0])[1]
        assert (promoted.forced, promoted.reason, promoted.gate) == (True, "a new law", gate)
        assert (promoted.name, promoted.at, promoted.share) == ("shop", later(1), None)
        begun, _ = promotion_log.history(conn, shop[2])
        assert (begun.share, begun.forced, begun.gate) == (0.05, False, None)


def test_a_move_that_is_refused_is_not_kept(engine, shop):
    before = _history(engine, shop[0])
    with pytest.raises(PromotionRefused):
        _canary(engine, shop[0])
    with pytest.raises(ModelUnknown), transaction(engine) as conn:
        model_versions.roll_back(conn, "shop", by="bob", now=NOW)
    assert _history(engine, shop[0]) == before


def test_promotions_of_other_names_are_not_listed(engine, shop):
    promoted_version(engine, "bank")
    assert _history(engine, shop[0]) == [(PromotionKind.PROMOTED, 1, None, "test")]


def test_two_who_promote_at_once_do_so_one_after_the_other(engine, shop):
    """Without a lock, both would retire the same version, and the index would reject the second."""
    begin = threading.Barrier(2)

    def promote(version):
        for _ in range(10):
            begin.wait(10)
            with transaction(engine) as conn:
                model_versions.promote(conn, version, by="ann", now=NOW)

    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(promote, version) for version in shop[1:]]:
            done.result(60)
    assert _active(engine)[0] in ("shop@2", "shop@3")
    moves = _history(engine, shop[1])
    assert [move[0] for move in moves] == [PromotionKind.PROMOTED] * len(moves)
