"""Print the requirements of pyproject.toml, one on each line.

    python requirements.py pyproject.toml [EXTRA …]

An image installs these in a layer of its own, which changes to the code leave alone.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def requirements(project: dict, extras: list[str]) -> Iterator[str]:
    """Yield the requirements of the project or of some extras.

    Extras of the project that an extra includes are replaced by their requirements.
    """
    optional = project["optional-dependencies"]
    for extra in extras:
        for requirement in optional[extra]:
            included = re.fullmatch(rf"{project['name']}\[([\w,-]+)\]", requirement)
            if included:
                yield from requirements(project, included[1].split(","))
            else:
                yield requirement


def main(file: str, *extras: str) -> None:
    """Print them."""
    project = tomllib.loads(Path(file).read_text(encoding="utf-8"))["project"]
    for requirement in [*project["dependencies"], *requirements(project, list(extras))]:
        print(requirement)


if __name__ == "__main__":
    main(*sys.argv[1:])
