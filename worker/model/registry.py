"""From a model's name to the loaded model: SQL says which version, the store has its bundle.

A version is taken for loaded when it has answered one of its own phrasings, and workers take
one on when it is known how large its passes should be.
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
    """Load what NAME, NAME@latest or NAME@3 stands for; None: the only one in production.

    Args:
        settings: where the store is, and how many threads, if they are set.
        spec: the model version.
        engine: the database that knows the versions.
        threads: of the arithmetic, when the settings leave them open; 0: the engine decides.

    Raises:
        ModelUnknown: no version, or more than one, fits.
        BundleInvalid: its bundle is missing or damaged, or does not answer.
        EncoderInvalid: its encoder can't be loaded.
    """
    with reading(engine) as conn:
        version = model_versions.find(conn, spec) if spec else model_versions.only_production(conn)
    return load_version(settings, version, threads)


def load_version(settings: Settings, version: ModelVersion, threads: int = 0) -> LoadedModel:
    """Verify and load a version, let it answer, and measure how large its passes should be.

    Raises:
        BundleInvalid: its bundle is missing or damaged, or does not answer.
        EncoderInvalid: its encoder can't be loaded.
    """
    bundle, threads = find_bundle(settings, version), settings.threads or threads
    how = threads, settings.runners_up, settings.device
    return _paced(load_bundle(bundle, str(version), *how))


def _paced(model: LoadedModel) -> LoadedModel:
    from worker.inference.pass_size import measure, sample
    from worker.inference.passes import answer_in_passes

    budgets = model.encoder.budgets
    found = measure(
        lambda budget, texts: answer_in_passes(replace(model, budget=budget), texts),
        budgets,
        sample(model.knowledge.phrasings, budgets),
    )
    return replace(model, budget=found.budget, rates=found.rates)


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
        EncoderInvalid: its encoder can't be loaded.
    """
    from worker.model.load import load  # an engine comes with it

    try:
        model = load(bundle, version, threads, runners_up, device)
        _prove(model, bundle)
    except AnswermillError:
        raise
    except Exception as error:  # whatever a bundle that is whole but senseless leads to
        problem = f"it does not answer: {type(error).__name__}: {error}".splitlines()[0]
        raise BundleInvalid(version, problem) from error
    return model


def _prove(model: LoadedModel, bundle: Bundle) -> None:
    text = bundle.entries()[0].questions[0]
    embeddings = model.encode(model.tokenize([text]))
    if not np.isfinite(embeddings).all():
        raise BundleInvalid(model.version, "its encoder gives no numbers")
    model.decide([text], embeddings)


def find_bundle(settings: Settings, version: ModelVersion) -> Bundle:
    """Open and verify the bundle of a version.

    Raises:
        BundleInvalid: it is missing, damaged, or not the one that was registered.
        StoreUnavailable: a store behind a URL does not answer.
    """
    path = bundle_path(settings.models, version.name, version.digest)
    if settings.store_url is not None:
        from worker.model.bundle import remote_store  # fsspec: only where a URL needs it

        return remote_store.fetch(settings.store_url, version, path)
    require_bundle(settings, version)
    bundle = open_bundle(path)
    if bundle.manifest.digest != version.digest:
        raise BundleInvalid(str(version), f"{path} holds another bundle than the one registered")
    return bundle
