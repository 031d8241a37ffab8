"""Building a model version: a bundle in the store, its row in SQL.

The bundle is made in a folder beside its place and renamed when it is whole, so that a
killed build leaves nothing that looks like one.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from db import versions
from db.entities import ModelVersion, VersionState
from db.errors import BundleInvalid
from db.session import DatabaseClock, transaction
from worker.lifecycle.calibrate import Calibration, calibrate, with_hubness
from worker.lifecycle.encoders import EncoderSource, read_pooling, write_encoder
from worker.lifecycle.tune import Tuned
from worker.lifecycle.who import whoever_runs_this
from worker.model import bundle, lexical
from worker.model.bundle import Bundle, Entry, Manifest
from worker.model.encoder import CPU_BUDGET, TorchEncoder
from worker.model.loaded import Knowledge
from worker.model.registry import bundle_path
from worker.model.retrieval import Floats, Index, Retrieval
from worker.model.text import Script, normalise
from worker.passes import form_passes

ENGINE = "torch"
PRECISION = "fp32"

Progress = Callable[[int, int], None]  # phrasings done, phrasings in all


@dataclass(frozen=True)
class Built:
    """What a build has made."""

    version: ModelVersion
    bundle: Bundle
    calibration: Calibration
    is_new: bool  # or the same bundle was built before
    tuned: Tuned | None = None  # the encoder, if that was asked for


def build(
    store: Path,
    name: str,
    entries: list[Entry],
    source: EncoderSource,
    *,
    threads: int,
    on_progress: Progress,
) -> tuple[Bundle, Calibration]:
    """Build a bundle and put it into the store.

    Raises:
        EncoderInvalid: the encoder can't be loaded.
        BundleInvalid: the store can't be written to.
    """
    pooling = read_pooling(source)
    with workplace(store / name) as folder:
        max_tokens = write_encoder(source, folder / bundle.ENCODER)
        encoder = TorchEncoder.load(
            folder / bundle.ENCODER, threads, max_tokens=max_tokens, pooling=pooling
        )
        index, calibration = _index(encoder, entries, on_progress)
        _save_index(folder, index, entries)
        manifest = Manifest(
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            encoder=source.id,
            engine=ENGINE,
            precision=PRECISION,
            pooling=pooling,
            dimensions=encoder.dimensions,
            max_tokens=max_tokens,
            retrieval=asdict(index.parameters),
            threshold=calibration.threshold,
            entries=len(entries),
            phrasings=len(index.entry_of),
            files=bundle.hash_files(folder),
        )
        bundle.save_manifest(folder, manifest)
        return _settle(folder, bundle_path(store, name, manifest.digest)), calibration


def register(
    engine: sa.Engine, made: Bundle, calibration: Calibration, tuned: Tuned | None = None
) -> Built:
    """Give the bundle its number; the first of its name goes into production."""
    manifest = made.manifest
    metrics = {
        "entries": manifest.entries,
        "phrasings": manifest.phrasings,
        "encoder": manifest.encoder,
        "threshold": calibration.threshold,
        "left_out_accuracy": calibration.accuracy,
        **({"tuning": tuned.figures()} if tuned else {}),
    }
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        known = versions.listed(conn, manifest.name)
        version = versions.register(
            conn, name=manifest.name, digest=manifest.digest, metrics=metrics, now=now
        )
        if all(other.state is VersionState.BUILT for other in known) and version.version == 1:
            versions.promote(conn, version, by=whoever_runs_this(), now=now)
            version = versions.find(conn, str(version))
    is_new = manifest.digest not in {other.digest for other in known}
    return Built(version, made, calibration, is_new, tuned)


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """Lend a folder inside the parent; it is gone afterwards, whatever happens.

    Raises:
        BundleInvalid: nothing can be written there.
    """
    folder = parent / f".building-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        where = error.filename or folder
        raise BundleInvalid(str(parent), f"{where}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            parent.rmdir()  # only if nothing was ever built there


def _index(
    encoder: TorchEncoder, entries: list[Entry], on_progress: Progress
) -> tuple[Index, Calibration]:
    knowledge = Knowledge.of(entries)
    texts = [normalise(text) for text in knowledge.phrasings]
    lexicon = lexical.learn(texts)
    index = with_hubness(
        Index.of(
            parameters=Retrieval(),
            entry_of=knowledge.entry_of,
            embeddings=embed(encoder, knowledge.phrasings, on_progress),
            hubness=np.zeros((len(Script), len(texts)), np.float32),
            lexicon=lexicon,
            spellings=lexicon.vectors(texts),
        ),
        texts,
    )
    return index, calibrate(index, texts)


def embed(encoder: TorchEncoder, texts: Sequence[str], on_progress: Progress) -> Floats:
    """Return (texts, dimensions), rows of length 1."""
    tokens = encoder.tokenize(texts)
    embeddings = np.empty((len(texts), encoder.dimensions), np.float32)
    done = 0
    for members in form_passes([len(ids) for ids in tokens], CPU_BUDGET):
        embeddings[members] = encoder.encode([tokens[i] for i in members])
        done += len(members)
        on_progress(done, len(texts))
    return embeddings


def _save_index(folder: Path, index: Index, entries: list[Entry]) -> None:
    bundle.save_entries(folder, entries)
    bundle.save_array(folder, "embeddings", index.embeddings)
    bundle.save_array(folder, "hubness", index.hubness)
    bundle.save_array(folder, "codes", index.lexicon.codes)
    bundle.save_array(folder, "idf", index.lexicon.idf)


def _settle(folder: Path, place: Path) -> Bundle:
    """Rename the folder to its place, unless the same bundle is there, whole."""
    try:
        return bundle.open_bundle(place)
    except BundleInvalid:
        shutil.rmtree(place, ignore_errors=True)
    folder.rename(place)
    return bundle.open_bundle(place)
