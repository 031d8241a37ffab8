"""Build of a bundle in the model store, and its registration as a version.

Everything is fitted and calibrated with the encoder on PyTorch in fp32. For another engine or
precision the encoder is converted afterwards, and the index stays the same.

Not covered: training of the encoder and upload of the bundle (`build_version`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.current_user import current_user
from core.domain.model_version import ModelVersion, VersionState
from db.clock import DatabaseClock
from db.queries import knowledge_entries, model_versions
from db.queries.knowledge_entries import KnownEntry
from db.session import transaction
from worker.lifecycle.build.index import EncoderTrial, IndexResult, make_index
from worker.lifecycle.build.options import DEFAULTS, BuildOptions
from worker.lifecycle.conversion import convert
from worker.lifecycle.training.distill import DistillResult
from worker.lifecycle.training.encoder_source import EncoderSource, read_pooling, write_encoder
from worker.lifecycle.training.fine_tune import FineTuneResult
from worker.model.bundle import bundle as bundles
from worker.model.bundle.bundle import Bundle, Entry, Manifest
from worker.model.bundle.location import bundle_path
from worker.model.bundle.staging import publish_atomically, staging_folder
from worker.model.cascade.classifier import parameters
from worker.model.cascade.classifier import write as write_cascade
from worker.model.encoder.embed import EmbedProgress
from worker.model.encoder.torch_encoder import TorchEncoder
from worker.model.registry import load_bundle
from worker.model.retrieval import ivf
from worker.text.language_id import languages


@dataclass(frozen=True)
class EncoderTraining:
    """The results of training the encoder, None if it was not trained."""

    distilled: DistillResult | None = None
    tuned: FineTuneResult | None = None

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of distillation. Those of tuning have a field."""
        return {"distilling": self.distilled.figures()} if self.distilled else {}


NOT_TRAINED = EncoderTraining()


@dataclass(frozen=True)
class BuildResult:
    """The version that a build has registered."""

    version: ModelVersion
    bundle: Bundle
    is_new: bool  # False: the same bundle was registered already
    training: EncoderTraining = NOT_TRAINED


def build(
    store: Path,
    name: str,
    entries: list[Entry],
    source: EncoderSource,
    options: BuildOptions = DEFAULTS,
    *,
    training: EncoderTraining = NOT_TRAINED,
    threads: int,
    on_progress: EmbedProgress,
) -> Bundle:
    """Build a bundle and put it into the store.

    Args:
        store: the folder of the bundles.
        name: the name of the model.
        entries: the knowledge base.
        source: the encoder before training.
        options: the options, of which `encoder`, `layers` and `tune` are not used here.
        training: the trained encoders, which replace `source`.
        threads: threads of torch.
        on_progress: called with the number of texts that the encoder has read, and with all.

    Raises:
        ConversionDrifted: the converted encoder gives other embeddings.
        EncoderInvalid: the encoder cannot be loaded.
        BundleInvalid: the store cannot be written to.
        ExtraMissing: there are too many phrasings for exact search, and faiss is missing.
    """
    if sum(len(entry.questions) for entry in entries) > options.max_exact_search:
        ivf.check_installed()
    with staging_folder(store / name) as folder:
        encoder = _write_encoder(folder, source, training, threads)
        index = make_index(
            encoder.loaded, entries, options, trial=encoder.trial, on_progress=on_progress
        )
        _write_index(folder, index, entries)
        parts = encoder.manifest | _index_manifest(index, training)
        built = _write_manifest(folder, name, entries, options, parts)
        if options.kind != convert.TORCH:
            built = convert.convert(
                built, options.kind, version=name, threads=threads, on_progress=on_progress
            )
        return publish_atomically(folder, bundle_path(store, name, built.manifest.digest))


@dataclass(frozen=True)
class _WrittenEncoder:
    """The encoder of a bundle, loaded, with its part of the manifest."""

    loaded: TorchEncoder
    trial: EncoderTrial | None
    manifest: dict[str, Any]


def _write_encoder(
    folder: Path, source: EncoderSource, training: EncoderTraining, threads: int
) -> _WrittenEncoder:
    """Write the trained encoder into the bundle's folder, and load it."""
    tuned = training.tuned
    original = training.distilled.source if training.distilled else source
    pooling = read_pooling(original)
    chosen = tuned.source if tuned else original
    max_tokens = write_encoder(chosen, folder / bundles.ENCODER)
    load = partial(TorchEncoder.load, threads=threads, max_tokens=max_tokens, pooling=pooling)
    loaded = load(folder / bundles.ENCODER)
    trial = None
    if tuned and tuned.helped:
        trial = EncoderTrial(load(tuned.trial.folder), tuned.held_out)
    manifest = {
        "encoder": chosen.id,
        "engine": convert.TORCH.engine,
        "precision": convert.TORCH.precision,
        "pooling": pooling,
        "dimensions": loaded.dimensions,
        "max_tokens": max_tokens,
        "tuning": tuned.figures() if tuned else None,
    }
    return _WrittenEncoder(loaded, trial, manifest)


def _write_index(folder: Path, index: IndexResult, entries: list[Entry]) -> None:
    bundles.save_entries(folder, entries)
    bundles.save_array(folder, "embeddings", index.embeddings)
    bundles.save_array(folder, "codes", index.index.lexicon.codes)
    bundles.save_array(folder, "idf", index.index.lexicon.idf)
    if index.index.head is not None:
        bundles.save_array(folder, "head", index.index.head)
    if index.cascade.cascade is not None:
        write_cascade(folder, index.cascade.cascade)
    if index.ivf is not None:
        index.ivf.write(folder / ivf.FILE)


def _index_manifest(index: IndexResult, training: EncoderTraining) -> dict[str, Any]:
    calibration, cascade = index.calibration, index.cascade
    return {
        "retrieval": asdict(index.index.parameters),
        "confidence": asdict(calibration.confidence),
        "threshold": calibration.threshold,
        "scope_cut": calibration.scope_cut,
        "metrics": {**calibration.metrics, "cascade": cascade.metrics, **training.metrics()},
        "cascade": parameters(cascade.cascade),
        "phrasings": index.index.phrasings,
    }


def _write_manifest(
    folder: Path, name: str, entries: list[Entry], options: BuildOptions, parts: dict[str, Any]
) -> Bundle:
    manifest = Manifest(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        languages=_languages(entries),
        precision_target=options.precision_target,
        entries=len(entries),
        files=bundles.hash_files(folder),
        **parts,
    )
    bundles.save_manifest(folder, manifest)
    return Bundle(folder, manifest)


def _languages(entries: Sequence[Entry]) -> list[str]:
    """Return the declared languages, and those detected in other entries."""
    declared = {entry.language.partition("-")[0].lower() for entry in entries if entry.language}
    undeclared = (text for entry in entries if not entry.language for text in entry.questions)
    return sorted(declared | languages(undeclared))


def register(
    engine: sa.Engine, bundle: Bundle, training: EncoderTraining = NOT_TRAINED
) -> BuildResult:
    """Give the bundle a version number, and promote a first version.

    Raises:
        BundleInvalid: the bundle does not answer, so it gets no number.
    """
    manifest = bundle.manifest
    load_bundle(bundle, manifest.name)
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        known = model_versions.listed(conn, manifest.name)
        version = model_versions.register(
            conn, name=manifest.name, digest=manifest.digest, metrics=_metrics(manifest), now=now
        )
        knowledge_entries.store(conn, version, _known_entries(bundle.entries()))
        if all(other.state is VersionState.BUILT for other in known) and version.version == 1:
            model_versions.promote(conn, version, by=current_user(), now=now)
            version = model_versions.find(conn, str(version))
    is_new = manifest.digest not in {other.digest for other in known}
    return BuildResult(version, bundle, is_new, training)


def _metrics(manifest: Manifest) -> dict[str, Any]:
    return {
        "entries": manifest.entries,
        "phrasings": manifest.phrasings,
        "encoder": manifest.encoder,
        "threshold": manifest.threshold,
        "precision_target": manifest.precision_target,
        **manifest.metrics,
        **({"tuning": manifest.tuning} if manifest.tuning else {}),
    }


def _known_entries(entries: Sequence[Entry]) -> list[KnownEntry]:
    return [KnownEntry(entry.id, entry.answer, entry.questions[0], entry.url) for entry in entries]
