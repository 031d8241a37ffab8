"""The conversion of a version's encoder to another engine or precision.

Everything but the encoder stays. Each step is compared with the original on real questions, and
its figures go into the manifest. If a step drifts beyond the limits, the conversion fails and
nothing is stored.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
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

_PACKAGES = ("onnx", "onnxruntime")  # to export and to quantize

_Pair = tuple[str, str]  # an engine and a precision

_ROUTES: dict[tuple[_Pair, _Pair], tuple[EncoderKind, ...]] = {
    (TORCH, _BF16): (_BF16,),
    (TORCH, _ONNX): (_ONNX,),
    (TORCH, _INT8): (_ONNX, _INT8),
    (_ONNX, _INT8): (_INT8,),
}


def check(manifest: Manifest, to: EncoderKind, version: str) -> None:
    """Check, before long work, that the encoder can be converted.

    Raises:
        ConversionRefused: the encoder's kind cannot become the requested one.
        ExtraMissing: a package for it is not installed.
    """
    _route(manifest, to, version)
    check_installed(to)


def check_installed(to: EncoderKind) -> None:
    """Check, before long work, that the packages for a kind are installed.

    Raises:
        ExtraMissing: a package is not.
    """
    for package in _PACKAGES if to.engine is Engine.ONNX else ():
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(package, "lifecycle")


def _route(manifest: Manifest, to: EncoderKind, version: str) -> tuple[EncoderKind, ...]:
    source = (manifest.engine, manifest.precision)
    named = " ".join(source)
    if source == to:
        raise ConversionRefused(version, str(to), f"its encoder is already {named}")
    if (source, to) not in _ROUTES:
        problem = f"{named} cannot be converted to it; convert the version that this was made from"
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
    """Store a converted copy of a bundle.

    Args:
        store: the folder of the bundles.
        original: a verified bundle.
        to: the requested kind of encoder.
        version: the name of the original in errors.
        sample: the questions to compare on; None: its phrasings.
        threads: threads of the arithmetic.
        on_progress: called with the number of texts embedded, and that of all.

    Raises:
        BundleInvalid: the store cannot be written to.
        ConversionRefused: the kind cannot be converted, or the encoder drifts too far.
        EncoderInvalid: the encoder cannot be exported or quantized.
    """
    name = original.manifest.name
    with staging_folder(store / name) as folder:
        copy = Bundle(folder / "bundle", original.manifest)
        shutil.copytree(original.path, copy.path)
        converted = convert(
            copy, to, version=version, sample=sample, threads=threads, on_progress=on_progress
        )
        target = bundle_path(store, name, converted.manifest.digest)
        return publish_atomically(converted.path, target)


def convert(
    staged: Bundle,
    to: EncoderKind,
    *,
    version: str,
    sample: DriftSample | None = None,
    threads: int,
    on_progress: EmbedProgress,
) -> Bundle:
    """Convert the encoder of a bundle in a staging folder.

    The arguments and errors are those of `convert_version`.
    """
    manifest, steps = staged.manifest, _route(staged.manifest, to, version)
    sample = sample or sample_phrasings(staged.entries())
    with staging_folder(staged.path.parent) as folder:
        comparison = _Comparison(
            version, sample, known(staged), threads, on_progress, 1 + len(steps)
        )
        before, last, figures = comparison.embed(staged), staged, []
        for step in steps:
            last = _convert_step(last, step, folder, version)
            figures.append(comparison.measure(step, before, last))
        shutil.rmtree(staged.encoder)
        last.encoder.rename(staged.encoder)
    source = {"engine": manifest.engine, "precision": manifest.precision, "digest": manifest.digest}
    conversion = {"from": source, "asked": sample.title, "steps": figures}
    return _with_manifest(staged, to, conversion)


def _with_manifest(staged: Bundle, kind: EncoderKind, conversion: dict[str, Any]) -> Bundle:
    converted = replace(
        staged.manifest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=kind.engine,
        precision=kind.precision,
        conversion=conversion,
        files=bundles.hash_files(staged.path),
    )
    bundles.save_manifest(staged.path, converted)
    return Bundle(staged.path, converted)


def _convert_step(source: Bundle, step: EncoderKind, folder: Path, version: str) -> Bundle:
    """Return a bundle of a converted encoder and a manifest, nothing else."""
    path = folder / f"{step.engine}-{step.precision}"
    path.mkdir()
    manifest = replace(source.manifest, engine=step.engine, precision=step.precision)
    converted = Bundle(path, manifest)
    _writer(step)(source.encoder, converted.encoder, version)
    return converted


def _writer(step: EncoderKind) -> Callable[[Path, Path, str], None]:
    """Return the function that writes an encoder of the kind."""
    if step == _ONNX:
        from worker.lifecycle.conversion.onnx_export import export

        return export
    from worker.lifecycle.conversion import quantize

    return quantize.quantize if step == _INT8 else quantize.shorten


@dataclass
class _Comparison:
    """The comparison of several encoders on the same questions."""

    version: str
    sample: DriftSample
    known: KnownEmbeddings
    threads: int
    on_progress: EmbedProgress
    encoders: int
    done: int = 0  # texts

    def embed(self, bundle: Bundle) -> Floats:
        """Embed the questions with the encoder of a bundle."""
        texts, before = self.sample.texts, self.done
        total = self.encoders * len(texts)
        self.done += len(texts)
        encoder = open_encoder(bundle, self.threads)
        return embed(encoder, texts, lambda done, _: self.on_progress(before + done, total))

    def measure(self, step: EncoderKind, before: Floats, converted: Bundle) -> dict[str, Any]:
        """Return the figures of a step for the manifest.

        Raises:
            ConversionDrifted: the drift is beyond the limits.
        """
        drift = compare(self.sample, before, self.embed(converted), self.known)
        limits = LIMITS[step.precision]
        if messages := drift.beyond(limits):
            raise ConversionDrifted(self.version, str(step), messages)
        kind = {"engine": step.engine.value, "precision": step.precision.value}
        return kind | asdict(drift) | {"limits": asdict(limits)}
