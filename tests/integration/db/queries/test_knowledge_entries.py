from __future__ import annotations

import pytest

from core.errors import EntryUnknown
from db.queries import knowledge_entries, model_versions
from db.queries.knowledge_entries import KnownEntry
from db.session import reading, transaction
from tests.factories import NOW, built_version, promoted_version

TRACK = KnownEntry("track", "Open your orders.", "Where is my parcel?", "https://shop.example/t")
CARD = KnownEntry("card", "Yes: 100% of cards.", "Can I pay by card?")


@pytest.fixture
def shop(engine):
    """Return a version in production that has two entries."""
    version = promoted_version(engine)
    with transaction(engine) as conn:
        knowledge_entries.store(conn, version, [TRACK, CARD])
    return version


@pytest.mark.parametrize(
    ("words", "entries"),
    [
        ("", [CARD, TRACK]),
        ("PARCEL", [TRACK]),
        ("orders parcel", [TRACK]),
        ("card parcel", []),
        ("100%", [CARD]),
        ("%", [CARD]),
        ("_", []),
        ("tra", [TRACK]),
    ],
)
def test_entries_are_found_by_their_words(words, entries, engine, shop):
    with reading(engine) as conn:
        assert knowledge_entries.search(conn, words, limit=9) == entries
        assert knowledge_entries.search(conn, words, model=shop.name, limit=1) == entries[:1]
        assert knowledge_entries.search(conn, words, model="other", limit=9) == []


def test_only_entries_of_what_is_in_production_are_offered(engine, shop):
    later = built_version(engine, digest="d2")
    with transaction(engine) as conn:
        knowledge_entries.store(conn, later, [KnownEntry("bike", "By bike.", "How?")])
        knowledge_entries.store(conn, later, [TRACK])  # ignored: its entries are stored already
        with pytest.raises(EntryUnknown):
            knowledge_entries.find(conn, "bike")
        model_versions.promote(conn, later, by="test", now=NOW)
        assert knowledge_entries.find(conn, "bike").answer == "By bike."
        assert knowledge_entries.among(conn, ["track", "bike", "bike"], model=shop.name) == [
            KnownEntry("bike", "By bike.", "How?")
        ]
