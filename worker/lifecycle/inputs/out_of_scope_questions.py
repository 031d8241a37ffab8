"""Questions that belong to no shop, to measure and fit what is out of scope.

English and Chinese, written for this project. They are far from a shop's business; what a
shop could be asked but has no entry for is not among them. Not every list is far from every
knowledge base: a travel agency has entries for flights. Who fits on them must first leave
out those that resemble a phrasing.
"""

from __future__ import annotations

from importlib.resources import files

_FILE = "out_of_scope_questions.txt"
_COMMENT = "#"


def read_out_of_scope_questions() -> list[str]:
    """Return the questions, each once, in the order of the file, which goes by topic."""
    text = files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(_COMMENT)]
