"""The format of a bundle: a model version as a verified folder.

    manifest.json             parameters, and the sha256 of every other file
    encoder/                  config.json, tokenizer.json, and model.safetensors or model.onnx
    entries.jsonl             the knowledge base
    embeddings.npy            (rows, dimensions) float32: all phrasings, then all answer texts
    head.npy                  (rows, entries) float32; missing if the nearest rows vote
    codes.npy, idf.npy        the lexicon
    cascade_*.npy             `worker.model.cascade.classifier`
    cells.faiss               of a large knowledge base: `worker.model.retrieval.ivf`

The digest hashes files and parameters, not time, name or origin. No file can carry code.
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

_NOT_IN_DIGEST = ("name", "created", "encoder", "files", "metrics", "tuning", "conversion")
# Fields that older bundles of this format lack. Without a value they leave the digest unchanged.
_OPTIONAL_IN_DIGEST = ("cascade", "scope_cut")
_CHANGED = "was changed after the build"


@dataclass(frozen=True)
class Entry:
    """One answer of the knowledge base, and the phrasings that ask for it."""

    id: str
    answer: str
    questions: list[str]
    language: str | None = None
    tags: list[str] = field(default_factory=list)
    url: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    name: str
    created: str  # ISO 8601, UTC
    encoder: str  # its origin
    engine: str
    precision: str
    pooling: str
    dimensions: int
    max_tokens: int
    languages: list[str]  # ISO 639-1, of the knowledge base
    retrieval: dict[str, Any]
    confidence: dict[str, Any]
    threshold: float  # an answer with less confidence is handed off
    precision_target: float  # the threshold was chosen for it
    metrics: dict[str, Any]  # measured on left-out phrasings; docs/how-to/measure.md
    tuning: dict[str, Any] | None  # of the encoder to the knowledge base
    entries: int
    phrasings: int
    files: dict[str, str]  # path: sha256
    conversion: dict[str, Any] | None = None  # from which encoder, and the drift of each step
    cascade: dict[str, Any] | None = None  # its threshold ("cut") and curves; None: no cascade
    scope_cut: float | None = None  # separates out of scope from ambiguous; None: 0.5
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """The sha256 that identifies this version."""
        parameters = {k: v for k, v in asdict(self).items() if k not in _NOT_IN_DIGEST}
        for name in _OPTIONAL_IN_DIGEST:
            if parameters[name] is None:
                del parameters[name]
        return _sha256(_canonical({"files": self.files, "parameters": parameters}))


_MANIFEST = TypeAdapter(Manifest)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files match its manifest."""

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
        """Return whether the bundle has an array NAME.npy."""
        return f"{name}.npy" in self.manifest.files

    def array(self, name: str, *shape: int) -> NDArray[Any]:
        """Return NAME.npy.

        Raises:
            BundleInvalid: it is not an array of numbers, or has another shape.
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
    """Write the manifest with its own hash."""
    (folder / MANIFEST).write_bytes(manifest_bytes(asdict(manifest)))


def manifest_bytes(content: dict[str, Any]) -> bytes:
    """Return manifest.json with the given fields and the hash of them."""
    return _canonical(content | {"sha256": _sha256(_canonical(content))})


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file but the manifest, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: hash_file(path) for name, path in names.items() if name != MANIFEST}


def hash_file(path: Path) -> str:
    """Return the sha256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and verify every byte of it.

    Raises:
        BundleInvalid: a file is missing, unexpected or changed; the error names it.
    """
    manifest = read_manifest(path)
    hashes = _hash_plain_files(path)
    for name in sorted({*hashes, *manifest.files}):
        if name not in hashes:
            raise BundleInvalid(str(path), f"{name} is missing")
        if name not in manifest.files:
            raise BundleInvalid(str(path), f"{name} is not in its {MANIFEST}")
        if hashes[name] != manifest.files[name]:
            raise BundleInvalid(str(path), f"{name} {_CHANGED}")
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a bundle, and verify the manifest alone.

    Raises:
        BundleInvalid: it is missing, changed, of another format, or names files outside.
    """
    raw = _read_manifest_bytes(path)
    content = _verified_content(path, raw)
    if content.get("format") != FORMAT:
        problem = f"format {content.get('format')}, but this release reads format {FORMAT}"
        raise BundleInvalid(str(path), problem)
    try:
        _MANIFEST.validate_json(raw, strict=True)
        manifest = Manifest(**content)
    except (TypeError, ValueError) as error:
        problem = f"{MANIFEST} does not have the fields of format {FORMAT}"
        raise BundleInvalid(str(path), problem) from error
    for name in manifest.files:
        _check_name(path, name)
    return manifest


def _read_manifest_bytes(path: Path) -> bytes:
    try:
        return (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleInvalid(str(path), f"{MANIFEST}: {error.strerror}") from error


def _verified_content(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(raw)
        content.pop("sha256", None)
        is_intact = manifest_bytes(content) == raw
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BundleInvalid(str(path), f"{MANIFEST} {_CHANGED}") from error
    if not is_intact:
        raise BundleInvalid(str(path), f"{MANIFEST} {_CHANGED}")
    return content


def _check_name(path: Path, name: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or pure.as_posix() != name:
        raise BundleInvalid(str(path), f"{MANIFEST} names {name!r}, which is outside the bundle")


def _hash_plain_files(path: Path) -> dict[str, str]:
    for file in sorted(path.rglob("*")):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            name = file.relative_to(path).as_posix()
            raise BundleInvalid(str(path), f"{name} is not a plain file")
    try:
        return hash_files(path)
    except OSError as error:
        raise BundleInvalid(str(path), f"{error.filename}: {error.strerror}") from error


def _canonical(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)
    return text.encode() + b"\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
