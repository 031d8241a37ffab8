"""The images, built once; one stack for all the tests, brought up from nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import services
from tests.compose.project import ROOT, Project, command

# So few that a version is built in seconds.
_ENTRIES = "track-order change-address cancel-order damaged-item return-how invoice-vat warranty"
_ENTRIES += " hello track-order-zh cancel-order-zh damaged-item-zh return-how-zh hello-zh"
_NEW_ENTRY = "charged-twice"


def knowledge_folder(folder: Path) -> Path:
    """Make a folder with a part of the sample's knowledge base, and next.jsonl with more of it."""
    sample = (ROOT / "stack/sample/knowledge.jsonl").read_text(encoding="utf-8").splitlines()
    entries = {json.loads(line)["id"]: line for line in sample}
    chosen = [entries[name] for name in _ENTRIES.split()]
    made = folder / "knowledge"
    made.mkdir()
    for file, lines in (("knowledge", chosen), ("next", [*chosen, entries[_NEW_ENTRY]])):
        path = made / f"{file}.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        path.chmod(0o444)
    made.chmod(0o755)  # the builder's user is another one
    return made


@pytest.fixture(scope="session")
def _engine():
    """A Docker Engine that answers."""
    if shutil.which("docker") is None:
        services.missing("Docker", FileNotFoundError("there is no client"))
    found = command("docker", "info", check=False)
    if found.returncode != 0:
        services.missing("Docker", ConnectionError(found.stderr.strip()))


@pytest.fixture(scope="session")
def mill(_engine, tmp_path_factory):
    """Secrets, images, a model and a healthy worker; each test leaves the stack that way."""
    folder = tmp_path_factory.mktemp("mill")
    values = {"KNOWLEDGE": str(knowledge_folder(folder)), "WORKER_CPUS": "0.8"}
    mill = Project("answermill-test", folder, **values)
    mill.remove()
    mill.make_secrets()
    mill.compose("build", "-q")
    try:
        mill.up()
        yield mill
    finally:
        mill.remove()


@pytest.fixture
def other(mill, tmp_path):
    """The same stack with copies of its secrets, for one to be spoilt."""
    other = mill.with_secrets(tmp_path / "secrets")
    for secret in mill.secrets.iterdir():
        other.write(secret.name, secret.read_text())
    return other
