"""The documents agree with the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings.base import PREFIX
from core.settings.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "broker", "db", "producer", "worker", "stack")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name):
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{PREFIX}{name.upper()}` \| (.*) \| (.*) \|$", text, re.MULTILINE)
    field = Settings.model_fields[name]
    assert row[1] == (field.description or "")
    if name != "home":
        assert row[0] == ("unset" if field.default is None else str(field.default))


def logged_events():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "log":
                yield node.args[0].value


def test_every_log_event_is_documented_and_no_other():
    text = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")
    documented = set(
        re.findall(r"^\| ([^|]+?) \| (?:debug|info|warning|error) \|", text, re.MULTILINE)
    )
    assert set(logged_events()) == documented


def test_the_code_map_is_made_from_the_docstrings_as_they_are():
    command = [sys.executable, ".ci/code_map.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_the_code_map_names_real_paths_and_every_file_outside_the_packages():
    page = (ROOT / "docs/contributing/code-map.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert [path for path in named if not (ROOT / path).exists()] == []
    for file in ("Makefile", ".ci/run", *(f"deploy/{name}" for name in ("Dockerfile", "roll"))):
        assert file in named


def test_every_relative_link_leads_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_migrations_never_import_tables():
    for path in (ROOT / "db/migrations/versions").rglob("*.py"):
        assert "db.tables" not in path.read_text(encoding="utf-8")


def test_the_promises_name_tests_that_exist():
    page = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    assert named <= set(re.findall(r"def (test_\w+)", code))
