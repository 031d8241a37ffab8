from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.domain.model_version import VersionState
from core.errors import ModelUnknown
from db.queries import model_versions
from db.session import reading, transaction
from db.tables import model_versions as t
from tests.factories import NOW, built_version, later


def _promote(engine, version, now=NOW):
    with transaction(engine) as conn:
        model_versions.promote(conn, version, by="ann", now=now)


def _roll_back(engine, name="shop", now=NOW):
    with transaction(engine) as conn:
        return model_versions.roll_back(conn, name, by="bob", now=now)


def _find(engine, spec):
    with reading(engine) as conn:
        return model_versions.find(conn, spec)


def _states(engine):
    with reading(engine) as conn:
        return {str(version): version.state for version in model_versions.listed(conn)}


def test_versions_of_a_name_are_numbered_from_1(engine):
    built = [built_version(engine, digest=digest) for digest in ("d1", "d2", "d3")]
    assert [str(version) for version in built] == ["shop@1", "shop@2", "shop@3"]
    assert str(built_version(engine, "bank")) == "bank@1"
    first = built[0]
    assert (first.state, first.digest, first.metrics) == (
        VersionState.BUILT,
        "d1",
        {"accuracy": 0.9},
    )
    assert (first.created_at, first.promoted_at) == (NOW, None)


def test_the_same_bundle_keeps_its_number(engine):
    first = built_version(engine, digest="d1")
    built_version(engine, digest="d2")
    assert built_version(engine, digest="d1") == first
    assert len(_states(engine)) == 2


def test_a_name_stands_for_its_production_version(engine):
    first, second = (built_version(engine, digest=digest) for digest in ("d1", "d2"))
    _promote(engine, first)
    assert str(_find(engine, "shop")) == "shop@1"
    assert str(_find(engine, "shop@latest")) == "shop@2"
    assert _find(engine, "shop@2") == second


@pytest.mark.parametrize(
    "spec", ["shop", "bank", "bank@latest", "shop@9", "shop@", "shop@one", "", "shop@" + "9" * 30]
)
def test_what_no_version_answers_to_is_an_error(engine, spec):
    built_version(engine)
    with pytest.raises(ModelUnknown):
        _find(engine, spec)


def test_promoting_retires_the_version_before(engine):
    first, second = (built_version(engine, digest=digest) for digest in ("d1", "d2"))
    _promote(engine, first, later(1))
    _promote(engine, second, later(2))
    assert _states(engine) == {"shop@1": VersionState.RETIRED, "shop@2": VersionState.PRODUCTION}
    assert _find(engine, "shop@1").retired_at == later(2)
    promoted = _find(engine, "shop")
    assert (promoted.promoted_at, promoted.promoted_by) == (later(2), "ann")


def test_promoting_leaves_other_names_alone(engine):
    _promote(engine, built_version(engine, "bank"))
    _promote(engine, built_version(engine, "shop"))
    assert _states(engine) == {"bank@1": VersionState.PRODUCTION, "shop@1": VersionState.PRODUCTION}


def test_promoting_again_changes_nothing_but_the_note(engine):
    version = built_version(engine)
    _promote(engine, version)
    _promote(engine, version, later(5))
    again = _find(engine, "shop")
    assert (again.promoted_at, again.retired_at) == (later(5), None)


def test_rolling_back_withdraws_and_restores_the_version_before(engine):
    built = [built_version(engine, digest=digest) for digest in ("d1", "d2", "d3")]
    for seconds, version in enumerate(built):
        _promote(engine, version, later(seconds))
    restored = _roll_back(engine, now=later(9))
    assert (str(restored), restored.promoted_by) == ("shop@2", "bob")
    assert (restored.promoted_at, restored.retired_at) == (later(9), None)
    assert _states(engine) == {
        "shop@1": VersionState.RETIRED,
        "shop@2": VersionState.PRODUCTION,
        "shop@3": VersionState.WITHDRAWN,
    }
    assert str(_roll_back(engine)) == "shop@1"
    with pytest.raises(ModelUnknown, match="no earlier version of it was in production"):
        _roll_back(engine)
    assert str(_find(engine, "shop")) == "shop@1"


def test_rolling_back_goes_to_what_retired_last_and_not_to_the_number_before(engine):
    first, second, third = (built_version(engine, digest=d) for d in ("d1", "d2", "d3"))
    for seconds, version in enumerate((second, first, third)):
        _promote(engine, version, later(seconds))
    assert str(_roll_back(engine)) == "shop@1"


def test_a_name_has_one_version_in_production_whatever_the_code_does(engine):
    for digest in ("d1", "d2"):
        built_version(engine, digest=digest)
    with pytest.raises(sa.exc.IntegrityError), transaction(engine) as conn:
        conn.execute(t.update().values(state=VersionState.PRODUCTION))


def test_the_only_production_version_is_what_workers_answer_with(engine):
    built_version(engine, "bank")
    _promote(engine, built_version(engine, "shop"))
    with reading(engine) as conn:
        assert str(model_versions.only_production(conn)) == "shop@1"


def test_without_a_production_version_the_error_names_the_fix(engine):
    built_version(engine)
    with reading(engine) as conn, pytest.raises(ModelUnknown, match="answermill model build"):
        model_versions.only_production(conn)


def test_with_several_production_versions_the_error_names_them(engine):
    for name in ("bank", "shop"):
        _promote(engine, built_version(engine, name))
    with reading(engine) as conn, pytest.raises(ModelUnknown, match=r"\(bank, shop\); set"):
        model_versions.only_production(conn)
