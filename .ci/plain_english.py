"""Check the English of documents, docstrings, comments and strings.

Retired words stand in the table of docs/contributing/plain-english.md. Strings and comments of
Python are read whole; code blocks and `code` are not read. The first line of a docstring of the
packages has at most 72 characters, no semicolon and no bare "what".

    python .ci/plain_english.py [PATH ...]
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "docs/contributing/plain-english.md"
READ = (".py", ".md", ".json", ".html", ".j2", ".yml", ".yaml", ".toml", ".sh", "")
CODE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)\s]*\)", re.DOTALL)

LONGEST_FIRST_LINE = 72  # characters
BARE = re.compile(r";|\b(?:what|whatever)\b", re.IGNORECASE)


def retired() -> dict[re.Pattern[str], str]:
    """Return the patterns of the table, each with the words to use instead."""
    rows = re.findall(r"^\| `(.+)` \| (.+) \|$", WORDS.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.compile(rf"\b(?:{pattern})\b".replace(r"\|", "|"), re.IGNORECASE): instead
        for pattern, instead in rows
    }


def prose(path: Path) -> str:
    """Return a file's prose, with blanks in the place of code.

    Lines keep their numbers.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return CODE.sub(_blank, text)
    if path.suffix == ".py":
        return _strings_and_comments(text)
    return text


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _strings_and_comments(text: str) -> str:
    kept = [re.sub(r"[^\n]", " ", line) for line in text.splitlines(keepends=True)]
    kinds = (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            for number, line in enumerate(token.string.splitlines(), token.start[0] - 1):
                start = token.start[1] if number == token.start[0] - 1 else 0
                kept[number] = kept[number][:start] + line + kept[number][start + len(line) :]
    return CODE.sub(_blank, "".join(kept))


def faults(paths: list[Path]) -> Iterator[str]:
    """Yield a line for every retired word found."""
    words = retired()
    for path in paths:
        text = prose(path)
        for pattern, instead in words.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{path.relative_to(ROOT)}:{line}: {match[0]!r}: use {instead}"


def docstring_faults(paths: list[Path]) -> Iterator[str]:
    """Yield a line for every docstring with a first line that breaks a rule."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in paths:
        if path.suffix != ".py" or path.relative_to(ROOT).parts[0] == "tests":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            first = (text or "").partition("\n")[0]
            if len(first) > LONGEST_FIRST_LINE or BARE.search(first):
                line = getattr(node, "lineno", 1)
                yield f"{path.relative_to(ROOT)}:{line}: docstring begins with {first!r}"


def tracked() -> list[Path]:
    """Return the files of the project that are read."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    paths = (ROOT / name for name in listed if name)
    return sorted(p for p in paths if p.suffix in READ and p.exists() and not _left_out(p))


def _left_out(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    sample = name.startswith(("stack/sample/", "docs/plots/"))
    return sample or name in {WORDS.relative_to(ROOT).as_posix(), "LICENSE", "constraints.txt"}


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]]
    paths = [p for p in tracked() if not chosen or any(p.is_relative_to(c) for c in chosen)]
    found = sorted([*faults(paths), *docstring_faults(paths)])
    print("\n".join(found) if found else f"{len(paths)} files: no retired word")
    sys.exit(bool(found))
