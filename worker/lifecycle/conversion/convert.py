"""Converting a version's encoder to another engine or precision; all else of it stays.

Each step is compared with the original on real questions. What was measured goes into the
manifest; a step that drifts beyond the limits ends it all, and nothing is stored.
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import ConversionDrifted, ConversionRefused, ExtraMissing
from worker.lifecycle.conversion.drift import (
    LIMITS,
    DriftSample,
    KnownEmbeddings,
    compare,
    known,
    sample_phrasings,
)
from worker.model.bundle import bundle as bundles
from worker.model.bundle.bundle import Bundle, Manifest
from worker.model.bundle.location import bundle_path
from worker.model.bundle.staging import publish_atomically, staging_folder
from worker.model.encoder.base import EncoderKind, Engine, Precision
from worker.model.encoder.embed import EmbedProgress, embed
from worker.model.encoder.open import open_encoder
from worker.model.retrieval.index import Floats

TORCH = EncoderKind(Engine.TORCH, Precision.FP32)
_BF16 = EncoderKind(Engine.TORCH, Precision.BF16)
_ONNX = EncoderKind(Engine.ONNX, Precision.FP32)
_INT8 = EncoderKind(Engine.ONNX, Precision.INT8)

_NEEDED = ("onnx", "onnxruntime")  # packages, to export and to quantise

_Pair = tuple[str, str]  # an engine and a precision

_ROUTES: dict[tuple[_Pair, _Pair], tuple[EncoderKind, ...]] = {
    (TORCH, _BF16): (_BF16,),
    (TORCH, _ONNX): (_ONNX,),
    (TORCH, _INT8): (_ONNX, _INT8),
    (_ONNX, _INT8): (_INT8,),
}


def check(manifest: Manifest, to: EncoderKind, version: str) -> None:
    """Check, before long work, that there is a way to convert.

    Raises:
        ConversionRefused: from its kind of encoder none leads to the wanted one.
        ExtraMissing: a package for it is not installed.
    """
    _route(manifest, to, version)
    check_installed(to)


def check_installed(to: EncoderKind) -> None:
    """Check, before long work, that what converts to a kind of encoder is installed.

    Raises:
        ExtraMissing: a package is not.
    """
    for package in _NEEDED if to.engine is Engine.ONNX else ():
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(package, "lifecycle")


def _route(manifest: Manifest, to: EncoderKind, version: str) -> tuple[EncoderKind, ...]:
    source = (manifest.engine, manifest.precision)
    if source == to:
        raise ConversionRefused(version, str(to), "it is that already")
    if (source, to) not in _ROUTES:
        problem = f"no way leads there from {' '.join(source)}; convert what it was made from"
        raise ConversionRefused(version, str(to), problem)
    return _ROUTES[source, to]


def convert_version(
    store: Path,
    original: Bundle,
    to: EncoderKind,
    *,
    version: str,
    sample: DriftSample | None = None,
    threads: int,
    on_progress: EmbedProgress,
) -> Bundle:
    """Make a new bundle from one in the store, and put it beside it.

    Args:
        store: the folder that bundles are in.
        original: a verified bundle.
        to: what its encoder becomes.
        version: what errors call it.
        sample: what to compare on; None: its phrasings.
        threads: of the arithmetic.
        on_progress: hears how many texts the encoders have read.

    Raises:
        BundleInvalid: the store can't be written to.
        ConversionRefused: no way leads there, or it drifts too far.
        EncoderInvalid: the encoder can't be exported or quantised.
    """
    name = original.manifest.name
    with staging_folder(store / name) as folder:
        copy = Bundle(folder / "bundle", original.manifest)
        shutil.copytree(original.path, copy.path)
        made = convert(
            copy, to, version=version, sample=sample, threads=threads, on_progress=on_progress
        )
        return publish_atomically(made.path, bundle_path(store, name, made.manifest.digest))


def convert(
    work: Bundle,
    to: EncoderKind,
    *,
    version: str,
    sample: DriftSample | None = None,
    threads: int,
    on_progress: EmbedProgress,
) -> Bundle:
    """Convert the encoder of a bundle that is not in its place yet; arguments as above."""
    manifest, steps = work.manifest, _route(work.manifest, to, version)
    sample = sample or sample_phrasings(work.entries())
    with staging_folder(work.path.parent) as folder:
        trial = _Trial(version, sample, known(work), threads, on_progress, 1 + len(steps))
        before, made, told = trial.embed(work), work, []
        for step in steps:
            made = _step(made, step, folder, version)
            told.append(trial.judge(step, before, made))
        shutil.rmtree(work.encoder)
        made.encoder.rename(work.encoder)
    source = {"engine": manifest.engine, "precision": manifest.precision, "digest": manifest.digest}
    converted = replace(
        manifest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=to.engine,
        precision=to.precision,
        conversion={"from": source, "asked": sample.title, "steps": told},
        files=bundles.hash_files(work.path),
    )
    bundles.save_manifest(work.path, converted)
    return Bundle(work.path, converted)


def _step(source: Bundle, step: EncoderKind, folder: Path, version: str) -> Bundle:
    """Convert one step on; what is returned has an encoder and a manifest, nothing more."""
    place = folder / f"{step.engine}-{step.precision}"
    place.mkdir()
    made = Bundle(place, replace(source.manifest, engine=step.engine, precision=step.precision))
    if step == _ONNX:
        from worker.lifecycle.conversion.onnx_export import export as write
    elif step == _INT8:
        from worker.lifecycle.conversion.quantize import quantize as write
    else:
        from worker.lifecycle.conversion.quantize import shorten as write
    write(source.encoder, made.encoder, version)
    return made


@dataclass
class _Trial:
    """Embeds the questions with one encoder after the other, and compares."""

    version: str
    sample: DriftSample
    known: KnownEmbeddings
    threads: int
    on_progress: EmbedProgress
    rounds: int  # encoders in all
    done: int = 0

    def embed(self, whose: Bundle) -> Floats:
        """Embed the questions with a bundle's encoder."""
        texts, before = self.sample.texts, self.done
        total = self.rounds * len(texts)
        self.done += len(texts)
        encoder = open_encoder(whose, self.threads)
        return embed(encoder, texts, lambda done, _: self.on_progress(before + done, total))

    def judge(self, step: EncoderKind, before: Floats, made: Bundle) -> dict[str, Any]:
        """Return what the manifest tells of a step.

        Raises:
            ConversionDrifted: it goes beyond the limits.
        """
        drift, limits = (
            compare(self.sample, before, self.embed(made), self.known),
            LIMITS[step.precision],
        )
        if faults := drift.beyond(limits):
            raise ConversionDrifted(self.version, str(step), faults)
        kind = {"engine": step.engine.value, "precision": step.precision.value}
        return kind | asdict(drift) | {"limits": asdict(limits)}
