"""Modules named in strings exist: no linter follows those.

Covers strings of Python code, names between backticks in docstrings and documents, and `-m` in
files of deployment. Not covered: names put together at run time.
"""

from __future__ import annotations

import ast
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = "core|broker|db|producer|worker|stack"
NAME = re.compile(rf"(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+(?::\w+)?")
QUOTED = re.compile(rf"`({NAME.pattern})`")
STARTED = re.compile(rf"-m,? \"?((?:{PACKAGES})[\w.]*)")
_HERE = "tests/unit/test_module_names.py"
FILES = {".log", ".json", ".jsonl", ".csv", ".yaml", ".yml", ".py", ".sqlite", ".html"}


def named() -> dict[str, str]:
    """Return every module or attribute named in a string, with a file that names it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - on PATH
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    found = {}
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if not file.exists() or name in {"CHANGELOG.md", "docs/log.md", _HERE}:
            continue
        if file.suffix == ".py":
            names = _of_code(file.read_text(encoding="utf-8"))
        elif file.suffix == ".md":
            names = QUOTED.findall(file.read_text(encoding="utf-8"))
        elif file.suffix in {".yml", ".yaml", ".toml", ".service"}:
            names = STARTED.findall(file.read_text(encoding="utf-8"))
        else:
            continue
        found |= dict.fromkeys(names, name)
    return {name: file for name, file in found.items() if Path(name).suffix not in FILES}


def _of_code(code: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            whole = NAME.fullmatch(node.value)
            names += [node.value] if whole else QUOTED.findall(node.value)
    return names


def exists(name: str) -> bool:
    """Return whether the dotted name leads to a module, or to a name in one."""
    parts = name.replace(":", ".").split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if (spec := _spec(module)) is not None:
            rest = parts[length:]
            return not rest or rest[0] in _names_in(str(spec.origin))
    return False


def _spec(module: str) -> object | None:
    try:
        return find_spec(module)
    except ModuleNotFoundError:
        return None


def _names_in(file: str) -> set[str]:
    names = set()
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize(("name", "file"), named().items())
def test_a_module_named_in_a_string_exists(name, file):
    assert exists(name), f"{file} names {name}"


def test_a_stale_name_is_noticed():
    assert exists("stack.main:main")
    assert not exists("stack.main:run")
    assert not exists("db.jobs")
