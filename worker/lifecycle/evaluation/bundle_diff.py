"""Comparison of two bundles: parameters, files and entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from worker.model.bundle.bundle import Entry

if TYPE_CHECKING:
    from worker.model.bundle.bundle import Bundle, Manifest

# Fields of the manifest that are not parameters.
_NOT_PARAMETERS = ("name", "created", "files")


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry of both bundles, and its differences."""

    id: str
    fields: list[str]
    phrasings_added: int
    phrasings_removed: int


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """The differences of two bundles, empty if only the build times differ."""

    parameters: dict[str, tuple[Any, Any]]  # the values in both; None: missing
    files: list[str]  # of the encoder and the index, whose bytes differ
    added: list[str]  # entries of the second only
    removed: list[str]
    changed: list[EntryChange]


def diff_bundles(first: Bundle, second: Bundle) -> BundleDiff:
    """Compare two bundles."""
    before, after = (_flat(_parameters(bundle.manifest)) for bundle in (first, second))
    names = [name for name in before | after if before.get(name) != after.get(name)]
    old, new = ({entry.id: entry for entry in bundle.entries()} for bundle in (first, second))
    return BundleDiff(
        parameters={name: (before.get(name), after.get(name)) for name in names},
        files=_differing_files(first.manifest.files, second.manifest.files),
        added=[name for name in new if name not in old],
        removed=[name for name in old if name not in new],
        changed=list(_changed_entries(old, new)),
    )


def _parameters(manifest: Manifest) -> dict[str, Any]:
    return {k: v for k, v in asdict(manifest).items() if k not in _NOT_PARAMETERS}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def _differing_files(first: dict[str, str], second: dict[str, str]) -> list[str]:
    return sorted(name for name in first | second if first.get(name) != second.get(name))


def _changed_entries(first: dict[str, Entry], second: dict[str, Entry]) -> Iterator[EntryChange]:
    for name, entry in first.items():
        other = second.get(name)
        if other is None or other == entry:
            continue
        names = (field.name for field in fields(Entry))
        differing = [name for name in names if getattr(entry, name) != getattr(other, name)]
        before, after = set(entry.questions), set(other.questions)
        yield EntryChange(entry.id, differing, len(after - before), len(before - after))
