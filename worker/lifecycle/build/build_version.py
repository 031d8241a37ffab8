"""CAPTION worker.lifecycle.build.build_version."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from worker.model.encoder.base import EncoderKind
from worker.model.encoder.embed import EmbedProgress
from worker.process.cpu_threads import set_thread_limits

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.settings.settings import Settings
    from worker.lifecycle.build.build_bundle import BuildResult
    from worker.lifecycle.inputs.labelled_questions import Labelled
    from worker.model.bundle.bundle import Entry


class Tune(StrEnum):
    """What is trained on the knowledge base, and kept if it then answers better."""

    NONE = "none"
    HEAD = "head"  # what decides, on the encoder's embeddings
    ENCODER = "encoder"  # the encoder as well, which takes minutes


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build."""

    encoder: str | None
    layers: int | None
    tune: Tune
    labelled: list[Labelled]
    precision_target: float
    kind: EncoderKind
    cascade: bool


def build_version(
    settings: Settings,
    database: sa.Engine,
    name: str,
    entries: list[Entry],
    options: BuildOptions,
    *,
    progress: Callable[[str], AbstractContextManager[EmbedProgress]],
) -> BuildResult:
    threads = set_thread_limits(settings.threads)
    from worker.lifecycle.build import publish
    from worker.lifecycle.conversion import convert

    publish.check(settings)
    convert.check_installed(options.kind)
    from worker.lifecycle.build import (
        build_bundle as building,  # torch comes only when the rest is right
    )
    from worker.lifecycle.training.distill import distill_encoder
    from worker.lifecycle.training.encoder_source import find_encoder
    from worker.lifecycle.training.fine_tune import tune_encoder
    from worker.model.bundle.staging import staging_folder

    source, distilled, tuned = find_encoder(options.encoder), None, None
    with staging_folder(settings.models / name) as folder:
        if options.layers:
            with progress("Distilling the encoder") as hear:
                distilled = distill_encoder(
                    source,
                    entries,
                    options.layers,
                    folder / "distilling",
                    threads=threads,
                    on_progress=hear,
                )
            source = distilled.source
        if options.tune is Tune.ENCODER:
            with progress("Tuning the encoder") as hear:
                tuned = tune_encoder(source, entries, folder, threads=threads, on_progress=hear)
        with progress("Embedding phrasings") as hear:
            made = building.build(
                settings.models,
                name,
                entries,
                source,
                distilled=distilled,
                tuned=tuned,
                threads=threads,
                on_progress=hear,
                labelled=options.labelled,
                precision_target=options.precision_target,
                kind=options.kind,
                cascade=options.cascade,
            )
    publish.publish(settings, made, progress)
    return building.register(database, made, distilled, tuned)
