"""What differs between two bundles: parameters, files, and the entries of the knowledge base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from worker.model.bundle.bundle import Entry

if TYPE_CHECKING:
    from worker.model.bundle.bundle import Bundle, Manifest

# When, under which name, and hashes: no parameters.
_NO_PARAMETERS = ("name", "created", "files")


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry that both have, and what differs of it."""

    id: str
    fields: list[str]
    phrasings_added: int
    phrasings_removed: int


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """What differs; all of it empty: nothing but when they were built."""

    parameters: dict[str, tuple[Any, Any]]  # what both say, None where one says nothing
    files: list[str]  # of the encoder and the index, whose bytes differ
    added: list[str]  # entries that only the second has
    removed: list[str]
    changed: list[EntryChange]


def diff_bundles(first: Bundle, second: Bundle) -> BundleDiff:
    """Compare two bundles."""
    ours, theirs = _flat(_parameters(first.manifest)), _flat(_parameters(second.manifest))
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    before, after = ({entry.id: entry for entry in b.entries()} for b in (first, second))
    return BundleDiff(
        parameters={name: (ours.get(name), theirs.get(name)) for name in names},
        files=_files(first.manifest.files, second.manifest.files),
        added=[name for name in after if name not in before],
        removed=[name for name in before if name not in after],
        changed=list(_changed(before, after)),
    )


def _parameters(manifest: Manifest) -> dict[str, Any]:
    return {k: v for k, v in asdict(manifest).items() if k not in _NO_PARAMETERS}


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{before}{name}.") if inner else {f"{before}{name}": value}
    return found


def _files(first: dict[str, str], second: dict[str, str]) -> list[str]:
    return sorted(name for name in first | second if first.get(name) != second.get(name))


def _changed(first: dict[str, Entry], second: dict[str, Entry]) -> Iterator[EntryChange]:
    for name, entry in first.items():
        other = second.get(name)
        if other is None or other == entry:
            continue
        names = (field.name for field in fields(Entry))
        differing = [n for n in names if getattr(entry, n) != getattr(other, n)]
        before, after = set(entry.questions), set(other.questions)
        yield EntryChange(name, differing, len(after - before), len(before - after))
