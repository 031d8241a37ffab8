"""Build of a version: train, build the bundle, publish, register.

Not covered: the bundle's content (`build_bundle`), and how progress is shown: the caller
passes a function that takes a title and returns a context manager.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from worker.lifecycle.build.options import BuildOptions, Tune
from worker.model.encoder.embed import EmbedProgress
from worker.process.cpu_threads import set_thread_limits

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.settings.settings import Settings
    from worker.lifecycle.build.build_bundle import BuildResult, EncoderTraining
    from worker.lifecycle.training.encoder_source import EncoderSource
    from worker.model.bundle.bundle import Bundle, Entry

Progress = Callable[[str], AbstractContextManager[EmbedProgress]]


def build_version(
    settings: Settings,
    database: sa.Engine,
    name: str,
    entries: list[Entry],
    options: BuildOptions,
    *,
    progress: Progress,
) -> BuildResult:
    """Build a bundle, publish it, and register it as the next version.

    Raises:
        AnswermillError: see `build_bundle.build`, `tune_encoder`, `distill_encoder`, `publish`.
    """
    threads = set_thread_limits(settings.threads)
    from worker.lifecycle.build import publish
    from worker.lifecycle.conversion import convert

    publish.check(settings)
    convert.check_installed(options.kind)
    # This imports torch, so the checks come first.
    from worker.lifecycle.build.build_bundle import register

    bundle, training = _build(settings, name, entries, options, threads=threads, progress=progress)
    publish.publish(settings, bundle, progress)
    return register(database, bundle, training)


def _build(
    settings: Settings,
    name: str,
    entries: list[Entry],
    options: BuildOptions,
    *,
    threads: int,
    progress: Progress,
) -> tuple[Bundle, EncoderTraining]:
    from worker.lifecycle.build.build_bundle import build
    from worker.lifecycle.training.encoder_source import find_encoder
    from worker.model.bundle.staging import staging_folder

    source = find_encoder(options.encoder)
    with staging_folder(settings.models / name) as folder:
        training = _train(source, entries, options, folder, threads=threads, progress=progress)
        with progress("Embedding phrasings") as on_progress:
            bundle = build(
                settings.models,
                name,
                entries,
                source,
                options,
                training=training,
                threads=threads,
                on_progress=on_progress,
            )
    return bundle, training


def _train(
    source: EncoderSource,
    entries: list[Entry],
    options: BuildOptions,
    folder: Path,
    *,
    threads: int,
    progress: Progress,
) -> EncoderTraining:
    from worker.lifecycle.build.build_bundle import EncoderTraining
    from worker.lifecycle.training.distill import distill_encoder
    from worker.lifecycle.training.fine_tune import tune_encoder

    distilled = tuned = None
    if options.layers:
        with progress("Distilling the encoder") as on_progress:
            distilled = distill_encoder(
                source,
                entries,
                options.layers,
                folder / "distilling",
                threads=threads,
                on_progress=on_progress,
            )
        source = distilled.source
    if options.tune is Tune.ENCODER:
        with progress("Tuning the encoder") as on_progress:
            tuned = tune_encoder(source, entries, folder, threads=threads, on_progress=on_progress)
    return EncoderTraining(distilled, tuned)
