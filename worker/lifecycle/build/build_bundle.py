"""Building a model version: a bundle in the store, its row in SQL.

Everything is chosen and calibrated with the encoder on PyTorch in fp32. For another engine
or precision the encoder is converted afterwards; the index stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from core.current_user import whoever_runs_this
from core.domain.model_version import ModelVersion, VersionState
from db.clock import DatabaseClock
from db.queries import knowledge_entries, model_versions
from db.queries.knowledge_entries import KnownEntry
from db.session import transaction
from worker.lifecycle.build.calibrate import PRECISION_TARGET
from worker.lifecycle.build.index import MOST_EXACT, EncoderTrial, IndexResult, make_index
from worker.lifecycle.conversion import convert
from worker.lifecycle.inputs.labelled_questions import Labelled
from worker.lifecycle.training.distill import DistillResult
from worker.lifecycle.training.encoder_source import EncoderSource, read_pooling, write_encoder
from worker.lifecycle.training.fine_tune import FineTuneResult
from worker.model.bundle import bundle
from worker.model.bundle.bundle import Bundle, Entry, Manifest
from worker.model.bundle.location import bundle_path
from worker.model.bundle.staging import publish_atomically, staging_folder
from worker.model.cascade.classifier import parameters
from worker.model.cascade.classifier import write as write_cascade
from worker.model.encoder.base import EncoderKind
from worker.model.encoder.embed import EmbedProgress
from worker.model.encoder.torch_encoder import TorchEncoder
from worker.model.registry import load_bundle
from worker.model.retrieval import ivf
from worker.text.language_id import languages


@dataclass(frozen=True)
class BuildResult:
    """What a build has made."""

    version: ModelVersion
    bundle: Bundle
    is_new: bool  # or the same bundle was built before
    distilled: DistillResult | None = None  # the encoder, if that was asked for
    tuned: FineTuneResult | None = None  # the encoder, if that was asked for


def build(
    store: Path,
    name: str,
    entries: list[Entry],
    source: EncoderSource,
    *,
    threads: int,
    on_progress: EmbedProgress,
    distilled: DistillResult | None = None,
    tuned: FineTuneResult | None = None,
    labelled: Sequence[Labelled] = (),
    precision_target: float = PRECISION_TARGET,
    kind: EncoderKind = convert.TORCH,
    cascade: bool = True,
    most_exact: int = MOST_EXACT,
) -> Bundle:
    """Build a bundle and put it into the store.

    Args:
        store: the folder that bundles are in.
        name: of the model.
        entries: the knowledge base.
        source: the encoder.
        threads: of torch.
        on_progress: hears how many texts the encoder has read.
        distilled: what distilling the encoder came to, if `source` comes of that.
        tuned: what tuning the encoder to the entries came to.
        labelled: questions to calibrate with, beside the phrasings.
        precision_target: what share of the answers shall be right.
        kind: the engine and the precision that answer with it.
        cascade: whether a cheap model may answer what it is surest of, if that is worth it.
        most_exact: with more phrasings, questions are compared with a shortlist.

    Raises:
        ConversionDrifted: the encoder isn't the same in that kind.
        EncoderInvalid: the encoder can't be loaded.
        BundleInvalid: the store can't be written to.
        ExtraMissing: there are that many phrasings, and faiss is not installed.
    """
    if sum(len(entry.questions) for entry in entries) > most_exact:
        ivf.check_installed()
    pooling = read_pooling(source)
    source = tuned.source if tuned else source
    with staging_folder(store / name) as folder:
        max_tokens = write_encoder(source, folder / bundle.ENCODER)
        load = partial(TorchEncoder.load, threads=threads, max_tokens=max_tokens, pooling=pooling)
        encoder = load(folder / bundle.ENCODER)
        trial = None
        if tuned and tuned.helped:
            trial = EncoderTrial(load(tuned.trial.folder), tuned.held_out)
        made = make_index(
            encoder,
            entries,
            trial=trial,
            labelled=labelled,
            precision_target=precision_target,
            on_progress=on_progress,
            cascade=cascade,
            most_exact=most_exact,
        )
        _save(folder, made, entries)
        manifest = Manifest(
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            encoder=source.id,
            engine=convert.TORCH.engine,
            precision=convert.TORCH.precision,
            pooling=pooling,
            dimensions=encoder.dimensions,
            max_tokens=max_tokens,
            languages=_languages(entries),
            retrieval=asdict(made.index.parameters),
            confidence=asdict(made.calibration.confidence),
            threshold=made.calibration.threshold,
            scope_cut=made.calibration.scope_cut,
            precision_target=precision_target,
            metrics={
                **made.calibration.metrics,
                "cascade": made.cascade.figures,
                **({"distilling": distilled.figures()} if distilled else {}),
            },
            cascade=parameters(made.cascade.cascade),
            tuning=tuned.figures() if tuned else None,
            entries=len(entries),
            phrasings=made.index.phrasings,
            files=bundle.hash_files(folder),
        )
        bundle.save_manifest(folder, manifest)
        whole = Bundle(folder, manifest)
        if kind != convert.TORCH:
            whole = convert.convert(
                whole, kind, version=name, threads=threads, on_progress=on_progress
            )
        return publish_atomically(folder, bundle_path(store, name, whole.manifest.digest))


def register(
    engine: sa.Engine,
    made: Bundle,
    distilled: DistillResult | None = None,
    tuned: FineTuneResult | None = None,
) -> BuildResult:
    """Give the bundle its number; the first of its name goes into production.

    Raises:
        BundleInvalid: it does not answer; it gets no number.
    """
    manifest = made.manifest
    load_bundle(made, manifest.name)  # proves it
    metrics = {
        "entries": manifest.entries,
        "phrasings": manifest.phrasings,
        "encoder": manifest.encoder,
        "threshold": manifest.threshold,
        "precision_target": manifest.precision_target,
        **manifest.metrics,
        **({"tuning": manifest.tuning} if manifest.tuning else {}),
    }
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        known = model_versions.listed(conn, manifest.name)
        version = model_versions.register(
            conn, name=manifest.name, digest=manifest.digest, metrics=metrics, now=now
        )
        knowledge_entries.store(conn, version, _known(made.entries()))
        if all(other.state is VersionState.BUILT for other in known) and version.version == 1:
            model_versions.promote(conn, version, by=whoever_runs_this(), now=now)
            version = model_versions.find(conn, str(version))
    is_new = manifest.digest not in {other.digest for other in known}
    return BuildResult(version, made, is_new, distilled, tuned)


def _known(entries: Sequence[Entry]) -> list[KnownEntry]:
    return [KnownEntry(one.id, one.answer, one.questions[0], one.url) for one in entries]


def _save(folder: Path, made: IndexResult, entries: list[Entry]) -> None:
    bundle.save_entries(folder, entries)
    bundle.save_array(folder, "embeddings", made.embeddings)
    bundle.save_array(folder, "codes", made.index.lexicon.codes)
    bundle.save_array(folder, "idf", made.index.lexicon.idf)
    if made.index.head is not None:
        bundle.save_array(folder, "head", made.index.head)
    if made.cascade.cascade is not None:
        write_cascade(folder, made.cascade.cascade)
    if made.cells is not None:
        made.cells.write(folder / ivf.FILE)


def _languages(entries: Sequence[Entry]) -> list[str]:
    """Return what the entries say they are in, and what the others seem to be in."""
    told = {entry.language.partition("-")[0].lower() for entry in entries if entry.language}
    untold = (text for entry in entries if not entry.language for text in entry.questions)
    return sorted(told | languages(untold))
