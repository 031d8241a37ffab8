"""Questions that belong to no shop, for fits and calibration.

They are English and Chinese, written for this project. Not covered: questions that a shop
could be asked but has no entry for. A knowledge base may have entries for some of them, as a
travel agency has for flights. A fit must first leave out those that resemble a phrasing.
"""

from __future__ import annotations

from importlib.resources import files

_FILE = "out_of_scope_questions.txt"
_COMMENT = "#"


def read_out_of_scope_questions() -> list[str]:
    """Return the questions in the order of the file, which is by topic."""
    text = files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(_COMMENT)]
