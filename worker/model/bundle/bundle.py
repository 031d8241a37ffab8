"""A model version as a folder: what is in it, and the proof that nothing was changed.

    manifest.json             parameters, and the sha256 of every other file
    encoder/                  config.json, tokenizer.json, and by the engine
                              model.safetensors (torch) or model.onnx (onnx)
    entries.jsonl             the knowledge base
    embeddings.npy            (rows, dimensions) float32: every phrasing, in the order of
                              the entries, then every entry's answer text
    head.npy                  (rows, entries) float32; missing where the vote decides
    codes.npy, idf.npy        the lexicon
    cascade_*.npy             the cascade's grams and weights: `worker.model.cascade.classifier`
    cells.faiss               of a large knowledge base: `worker.model.retrieval.ivf`

The digest names the version: the sha256 of the files' hashes and of the parameters. When,
under which name and from where it was built is no part of it, so the same inputs on the
same machine build the same digest. Nothing in a bundle is code or can carry any: no pickle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from core.errors import BundleInvalid

FORMAT = 2
MANIFEST = "manifest.json"
ENCODER = "encoder"
ENTRIES = "entries.jsonl"

_DESCRIPTION = ("name", "created", "encoder", "files", "metrics", "tuning", "conversion")


@dataclass(frozen=True)
class Entry:
    """One thing the shop can say, and how people ask for it."""

    id: str
    answer: str
    questions: list[str]
    language: str | None = None
    tags: list[str] = field(default_factory=list)
    url: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says."""

    name: str
    created: str  # ISO 8601, UTC
    encoder: str  # where it came from
    engine: str
    precision: str
    pooling: str
    dimensions: int
    max_tokens: int
    languages: list[str]  # ISO 639-1, that the knowledge base speaks
    retrieval: dict[str, Any]
    confidence: dict[str, Any]
    threshold: float  # an answer less sure is handed off
    precision_target: float  # that the threshold was chosen for
    metrics: dict[str, Any]  # what leaving phrasings out has shown; docs/how-to/measure.md
    tuning: dict[str, Any] | None  # of the encoder to the knowledge base
    entries: int
    phrasings: int
    files: dict[str, str]  # path: sha256
    conversion: dict[str, Any] | None = None  # from which encoder, and how far it drifts
    cascade: dict[str, Any] | None = None  # its cut and its curves; None: there is none
    scope_cut: float | None = None  # tells out of scope from ambiguous; None: at evens
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """What tells this version from every other."""
        parameters = {k: v for k, v in asdict(self).items() if k not in _DESCRIPTION}
        for later in ("cascade", "scope_cut"):
            if parameters[later] is None:  # as in bundles of before there were any
                del parameters[later]
        return _sha256(_canonical({"files": self.files, "parameters": parameters}))


_MANIFEST = TypeAdapter(Manifest)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file is as it was built."""

    path: Path
    manifest: Manifest

    @property
    def encoder(self) -> Path:
        """The folder of the encoder."""
        return self.path / ENCODER

    def entries(self) -> list[Entry]:
        """Return the knowledge base."""
        text = (self.path / ENTRIES).read_text(encoding="utf-8")
        return [Entry(**json.loads(line)) for line in text.split("\n") if line]

    def has(self, name: str) -> bool:
        """Tell whether there is a NAME.npy."""
        return f"{name}.npy" in self.manifest.files

    def array(self, name: str, *shape: int) -> NDArray[Any]:
        """Return NAME.npy.

        Raises:
            BundleInvalid: it is not an array of numbers, or not of that shape.
        """
        try:
            array: NDArray[Any] = np.load(self.path / f"{name}.npy", allow_pickle=False)
        except ValueError as error:
            raise BundleInvalid(str(self.path), f"{name}.npy is not an array") from error
        if shape and array.shape != shape:
            problem = f"{name}.npy has the shape {array.shape}, not {shape}"
            raise BundleInvalid(str(self.path), problem)
        return array


def save_array(folder: Path, name: str, array: NDArray[Any]) -> None:
    """Write NAME.npy."""
    np.save(folder / f"{name}.npy", array, allow_pickle=False)


def save_entries(folder: Path, entries: list[Entry]) -> None:
    """Write the knowledge base."""
    lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries]
    (folder / ENTRIES).write_text("".join(lines), encoding="utf-8", newline="\n")


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, sealed with its own hash."""
    (folder / MANIFEST).write_bytes(_sealed(asdict(manifest)))


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file but the manifest, by its path in the folder."""
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: hash_file(path) for name, path in names.items() if name != MANIFEST}


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and verify every byte of it.

    Raises:
        BundleInvalid: naming the file that is missing, unexpected or changed.
    """
    manifest = read_manifest(path)
    found = _hashes(path)
    for name in sorted({*found, *manifest.files}):
        if name not in found:
            raise BundleInvalid(str(path), f"{name} is missing")
        if name not in manifest.files:
            raise BundleInvalid(str(path), f"{name} does not belong to it")
        if found[name] != manifest.files[name]:
            raise BundleInvalid(str(path), f"{name} was changed since it was built")
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest, and check it alone.

    Raises:
        BundleInvalid: it is missing, changed, of another format, or names files elsewhere.
    """
    manifest = _read_manifest(path)
    for name in manifest.files:
        _check_name(path, name)
    return manifest


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleInvalid(str(path), f"{MANIFEST}: {error.strerror}") from error
    try:
        content = json.loads(raw)
        content.pop("sha256", None)
        whole = _sealed(content) == raw
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BundleInvalid(str(path), f"{MANIFEST} was changed since it was built") from error
    if not whole:
        raise BundleInvalid(str(path), f"{MANIFEST} was changed since it was built")
    if content.get("format") != FORMAT:
        problem = f"format {content.get('format')}, but this release reads format {FORMAT}"
        raise BundleInvalid(str(path), problem)
    try:
        _MANIFEST.validate_json(raw, strict=True)
        return Manifest(**content)
    except (TypeError, ValueError) as error:
        raise BundleInvalid(str(path), f"{MANIFEST} has not the fields that we read") from error


def _check_name(path: Path, name: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or pure.as_posix() != name:
        raise BundleInvalid(str(path), f"{MANIFEST} names {name!r}, which is outside of it")


def _hashes(path: Path) -> dict[str, str]:
    for file in sorted(path.rglob("*")):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            name = file.relative_to(path).as_posix()
            raise BundleInvalid(str(path), f"{name} is not a plain file")
    try:
        return hash_files(path)
    except OSError as error:
        raise BundleInvalid(str(path), f"{error.filename}: {error.strerror}") from error


def _sealed(content: dict[str, Any]) -> bytes:
    return _canonical(content | {"sha256": _sha256(_canonical(content))})


def _canonical(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)
    return text.encode() + b"\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
