"""Fixtures: an admin's browser and a batch of hand-offs."""

from __future__ import annotations

import pytest

from core.domain.api_key import Scope
from core.domain.result import Status
from db.queries import knowledge_entries
from db.queries.knowledge_entries import KnownEntry
from db.session import transaction
from tests.factories import (
    finish,
    promoted_version,
    question,
    result,
    running_job,
    stored_batch,
)

EVIL = "<script>alert(1)</script>"
BIKE = KnownEntry("bike", "By bike.", "How do you deliver?")


@pytest.fixture
def mei(visitor):
    """Create a browser of an admin."""
    return visitor(Scope.ADMIN)


@pytest.fixture
def batch(engine):
    """Store a batch of hand-offs, of a model with an entry."""
    version = promoted_version(engine)
    with transaction(engine) as conn:
        knowledge_entries.store(conn, version, [BIKE])
    batch = stored_batch(engine, [question(1, EVIL), question(2, "How?")], job_size=2)
    finish(engine, running_job(engine, batch), [result(n, Status.HANDED_OFF) for n in (1, 2)])
    return batch
