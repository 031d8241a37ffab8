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
        told = chaos(database, SECONDS, seed=1)
    except ModuleNotFoundError as error:
        services.missing(str(error.name), error)
    assert (told["lost"], told["doubled"], told["wrong"]) == (0, 0, 0), told
    assert told["faults"] >= FEWEST_FAULTS
    assert told["questions"] > 0
