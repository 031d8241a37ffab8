"""The loading of the model version that a name stands for.

SQL has the version, and the model store has its bundle. A version counts as loaded when it has
answered one of its own phrasings. `load_version` also measures the best pass size, which
workers need.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from core.errors import AnswermillError, BundleInvalid
from core.settings.value_parsers import Device
from db.queries import model_versions
from db.session import reading
from worker.model.bundle.bundle import Bundle, open_bundle
from worker.model.bundle.location import bundle_path, require_bundle

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.domain.model_version import ModelVersion
    from core.settings.settings import Settings
    from worker.model.loaded_model import LoadedModel


def load_model(
    settings: Settings, spec: str | None, engine: sa.Engine, threads: int = 0
) -> LoadedModel:
    """Load the version that NAME, NAME@latest or NAME@3 stands for.

    Args:
        settings: the model store, and the number of threads if it is set.
        spec: the model version; None: the only one in production.
        engine: the database of the versions.
        threads: threads of the arithmetic if the settings have no number; 0: the engine decides.

    Raises:
        ModelUnknown: no version fits, or more than one does.
        BundleInvalid: its bundle is missing or damaged, or does not answer.
        EncoderInvalid: its encoder cannot be loaded.
    """
    with reading(engine) as conn:
        version = model_versions.find(conn, spec) if spec else model_versions.only_production(conn)
    return load_version(settings, version, threads)


def load_version(settings: Settings, version: ModelVersion, threads: int = 0) -> LoadedModel:
    """Verify and load a version, test it, and measure the best pass size.

    Raises:
        BundleInvalid: its bundle is missing or damaged, or does not answer.
        EncoderInvalid: its encoder cannot be loaded.
    """
    bundle = find_bundle(settings, version)
    model = load_bundle(
        bundle,
        str(version),
        settings.threads or threads,
        settings.runners_up,
        settings.device,
    )
    return _with_measured_pass_size(model)


def _with_measured_pass_size(model: LoadedModel) -> LoadedModel:
    from worker.inference.pass_size import measure, sample
    from worker.inference.passes import answer_in_passes

    budgets = model.encoder.budgets
    measured = measure(
        lambda budget, texts: answer_in_passes(replace(model, budget=budget), texts),
        budgets,
        sample(model.knowledge.phrasings, budgets),
    )
    return replace(model, budget=measured.budget, rates=measured.rates)


def load_bundle(
    bundle: Bundle,
    version: str,
    threads: int = 0,
    runners_up: int = 0,
    device: Device = Device.CPU,
) -> LoadedModel:
    """Load a verified bundle, and let it answer one of its phrasings.

    Raises:
        BundleInvalid: it does not answer.
        EncoderInvalid: its encoder cannot be loaded.
    """
    from worker.model.load import load  # imports an engine

    try:
        model = load(bundle, version, threads, runners_up, device)
        _check_answers(model, bundle)
    except AnswermillError:
        raise
    except Exception as error:  # an intact bundle with senseless content may raise any error
        problem = f"it does not answer: {type(error).__name__}: {error}".splitlines()[0]
        raise BundleInvalid(version, problem) from error
    return model


def _check_answers(model: LoadedModel, bundle: Bundle) -> None:
    text = bundle.entries()[0].questions[0]
    embeddings = model.encode(model.tokenize([text]))
    if not np.isfinite(embeddings).all():
        raise BundleInvalid(model.version, "its encoder returns NaN or infinity")
    model.decide([text], embeddings)


def find_bundle(settings: Settings, version: ModelVersion) -> Bundle:
    """Open and verify the bundle of a version.

    Raises:
        BundleInvalid: it is missing or damaged, or is not the registered one.
        StoreUnavailable: the remote model store does not answer.
    """
    path = bundle_path(settings.models, version.name, version.digest)
    if settings.store_url is not None:
        from worker.model.bundle import remote_store  # imports fsspec

        return remote_store.fetch(settings.store_url, version, path)
    require_bundle(settings, version)
    bundle = open_bundle(path)
    if bundle.manifest.digest != version.digest:
        raise BundleInvalid(str(version), f"{path} has another bundle than the registered one")
    return bundle
