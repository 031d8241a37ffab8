"""A minute of faults on each database: every question has one result, and the right one."""

from __future__ import annotations

import pytest

from tests import services
from tests.chaos.run import chaos

SECONDS = 55
FEWEST_FAULTS = 12


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_whatever_dies_nothing_is_lost_doubled_or_wrong(database):
    try:
        report = chaos(database, SECONDS, seed=1)
    except ModuleNotFoundError as error:
        services.missing(str(error.name), error)
    assert (report["lost"], report["doubled"], report["wrong"]) == (0, 0, 0), report
    assert report["faults"] >= FEWEST_FAULTS
    assert report["questions"] > 0
