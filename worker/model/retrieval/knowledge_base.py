"""The knowledge base for retrieval: all phrasings, and their entries.

The rows of an index are the phrasings, then the answer text of each entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.model.bundle.bundle import Entry
from worker.text.normalization import normalize_for_match

_SMALL_TALK = "smalltalk"


@dataclass(frozen=True)
class KnowledgeBase:
    """The entries, and every phrasing with its entry."""

    entries: list[Entry]
    phrasings: list[str]
    entry_of: list[int]  # of each phrasing
    exact: dict[str, int]  # normalized phrasing to its index, if only one entry has it

    @classmethod
    def of(cls, entries: list[Entry]) -> KnowledgeBase:
        """Put the phrasings of all entries in one list."""
        pairs = [(text, i) for i, entry in enumerate(entries) for text in entry.questions]
        phrasings, entry_of = [text for text, _ in pairs], [i for _, i in pairs]
        exact: dict[str, int] = {}
        shared: set[str] = set()
        for index, text in enumerate(phrasings):
            first = exact.setdefault(_key(text), index)
            if entry_of[first] != entry_of[index]:
                shared.add(_key(text))
        unshared = {key: index for key, index in exact.items() if key not in shared}
        return cls(entries, phrasings, entry_of, unshared)

    @property
    def rows(self) -> list[str]:
        """The texts of an index's rows, as written."""
        return self.phrasings + [entry.answer for entry in self.entries]

    @property
    def row_entries(self) -> list[int]:
        """The entry of each row."""
        return self.entry_of + list(range(len(self.entries)))

    def equal(self, text: str) -> int | None:
        """Return the phrasing that equals the text, if only one entry has it."""
        return self.exact.get(_key(text))


def is_small_talk(entry: Entry) -> bool:
    """Return whether an entry is tagged as small talk, such as thanks."""
    return any(normalize_for_match(tag).replace(" ", "") == _SMALL_TALK for tag in entry.tags)


def _key(text: str) -> str:
    return normalize_for_match(text) or text.strip()
