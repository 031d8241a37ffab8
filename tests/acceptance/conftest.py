"""Models built once, and a mill on each kind of database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from db.clock import DatabaseClock
from db.queries import model_versions
from db.session import transaction
from stack.local.demo import PRECISION_TARGET
from tests import services
from tests.acceptance.mill import Mill
from worker.model.bundle.bundle import open_bundle


@pytest.fixture(scope="session")
def model_store():
    """A folder with the shop's model, built by the command line."""
    with services.short_folder() as folder:
        sample = Path(str(files("stack"))) / "sample"
        words = ["--calibrate", str(sample / "labelled.csv")]
        words += ["--precision-target", PRECISION_TARGET]
        build(folder, sample / "knowledge.jsonl", "shop", *words)
        yield folder / "models"


@pytest.fixture(scope="session")
def data_folder():
    """The folder of public data sets in the project's own file forms."""
    named = os.environ.get("TEST_DATA_FOLDER")
    if not named:
        if os.environ.get("CI"):
            pytest.fail("set TEST_DATA_FOLDER")
        pytest.skip("TEST_DATA_FOLDER names no folder of data sets")
    return Path(named)


def build(folder, knowledge, name, *more):
    """Build a model into a home of its own; return what the command printed."""
    words = ["model", "build", "--knowledge", str(knowledge), "--name", name, "--json", *more]
    done = subprocess.run(
        [sys.executable, "-m", "stack", *words],
        env={**os.environ, "ANSWERMILL_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def mill(home, database_url, model_store):
    """Redis and a migrated database with the shop's model in production, no worker yet."""
    with closing(Mill(home, database_url, model_store)) as mill:
        install(mill.settings, mill.engine, "shop")
        yield mill


def install(settings, engine, name):
    """Make the only bundle of the name in the model store its production version."""
    (bundle,) = (settings.models / name).iterdir()
    digest = open_bundle(bundle).manifest.digest
    with transaction(engine) as conn:
        now = DatabaseClock(engine)()
        version = model_versions.register(conn, name=name, digest=digest, metrics={}, now=now)
        model_versions.promote(conn, version, by="test", now=now)
