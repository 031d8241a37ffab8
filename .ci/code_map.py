"""Write the tree of docs/contributing/code-map.md from docstrings.

A module's caption is the first line of its docstring; a folder's is that of its `__init__.py`.

    python .ci/code_map.py          write the page
    python .ci/code_map.py --check  fail if the page is out of date
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/contributing/code-map.md"
BEGIN = "<!-- made by .ci/code_map.py from the docstrings -->\n"
PACKAGES = ("core", "broker", "db", "producer", "worker", "stack")
SCRIPTS = ("benchmarks", "deploy", ".ci", "tests")
COLUMN = 34


def tree() -> str:
    """Return the packages and scripts as one indented tree."""
    lines: list[str] = []
    for name in PACKAGES:
        lines += _folder(ROOT / name, 0, deep=True)
    for name in SCRIPTS:
        lines += _folder(ROOT / name, 0, deep=False)
    return "```\n" + "\n".join(lines) + "\n```\n"


def _folder(folder: Path, depth: int, *, deep: bool) -> Iterator[str]:
    yield _line(f"{folder.name}/", depth, caption(folder / "__init__.py"))
    files = sorted(folder.glob("*.py"))
    for file in files:
        if file.name != "__init__.py":
            yield _line(file.name, depth + 1, caption(file))
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()) if deep else ():
        if inner.name != "versions" and any(inner.rglob("*.py")):
            yield from _folder(inner, depth + 1, deep=True)


def _line(name: str, depth: int, text: str) -> str:
    return f"{'  ' * depth}{name:<{COLUMN - 2 * depth}} {text}".rstrip()


def caption(file: Path) -> str:
    """Return the first line of a module's docstring, "" without a file."""
    if not file.exists():
        return ""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def page() -> str:
    """Return the page with its tree made again."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN + "\n" + tree()


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif page() != PAGE.read_text(encoding="utf-8"):
        sys.exit(f"{PAGE.relative_to(ROOT)} is out of date: run python .ci/code_map.py")
