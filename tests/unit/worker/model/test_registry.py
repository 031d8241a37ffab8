from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa

from core.errors import BundleInvalid, ModelUnknown
from core.settings.settings import Settings
from worker.lifecycle.build.build_bundle import BuildResult, register
from worker.model.bundle.bundle import Bundle
from worker.model.bundle.location import bundle_path
from worker.model.registry import load_model


@pytest.fixture
def built(engine: sa.Engine, settings: Settings, tiny_bundle: Bundle) -> BuildResult:
    """The tiny bundle in the settings' store, registered."""
    path = bundle_path(settings.models, "tiny", tiny_bundle.manifest.digest)
    shutil.copytree(tiny_bundle.path, path)
    return register(engine, Bundle(path, tiny_bundle.manifest))


@pytest.mark.parametrize("spec", ["tiny", "tiny@1", "tiny@latest", None])
def test_a_name_loads_its_version(
    built: BuildResult, settings: Settings, engine: sa.Engine, spec: str | None
):
    model = load_model(settings, spec, engine)
    assert model.version == str(built.version) == "tiny@1"
    assert model.threshold == built.bundle.manifest.threshold
    assert len(model.knowledge.entries) == 4


def test_an_unknown_name_is_reported(settings: Settings, engine: sa.Engine):
    with pytest.raises(ModelUnknown, match="nope"):
        load_model(settings, "nope", engine)


def test_a_missing_folder_is_reported_with_the_store(
    built: BuildResult, settings: Settings, engine: sa.Engine
):
    shutil.rmtree(built.bundle.path)
    with pytest.raises(BundleInvalid, match=str(settings.models)) as caught:
        load_model(settings, "tiny", engine)
    assert built.version.digest[:16] in str(caught.value)


def test_a_changed_byte_is_reported(built: BuildResult, settings: Settings, engine: sa.Engine):
    (built.bundle.path / "entries.jsonl").write_bytes(b"{}")
    with pytest.raises(BundleInvalid, match=r"entries\.jsonl was changed"):
        load_model(settings, "tiny", engine)


def test_an_intact_bundle_that_is_not_the_registered_one_is_refused(
    built: BuildResult, settings: Settings, engine: sa.Engine
):
    with engine.begin() as conn:
        forged = built.version.digest[:16] + "0" * 48
        conn.execute(sa.text("UPDATE model_versions SET digest = :d"), {"d": forged})
    with pytest.raises(BundleInvalid, match="another bundle"):
        load_model(settings, "tiny", engine)
