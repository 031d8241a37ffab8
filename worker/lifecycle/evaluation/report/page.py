"""One page about an evaluation: self-contained, opened from disk, with no script in it.

It quotes questions, that is its purpose: whoever gets it reads what customers have written.
Their texts are escaped, and the page's own policy lets no script run and nothing be fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.domain.result import Answer
from core.errors import ExtraMissing
from worker.lifecycle.evaluation.metrics import EvaluationOutcomes, EvaluationReport, bins, worst
from worker.lifecycle.evaluation.report import charts
from worker.lifecycle.evaluation.report.confusions import confusions
from worker.lifecycle.evaluation.report.missing_entries import MissingEntries, find_missing_entries
from worker.lifecycle.evaluation.report.output_file import check_target, write_page
from worker.lifecycle.inputs.labelled_questions import Labelled

if TYPE_CHECKING:
    from jinja2 import Environment

    from worker.inference.protocol import AnsweringModel

_TEMPLATE = "page.html.j2"
_PAIRS = 15  # confused ones that are shown
_GROUPS, _ALONE = 20, 20  # of questions that need an entry
_QUOTED = 240  # characters of a question


@dataclass(frozen=True)
class EvaluationInput:
    """What a page tells about."""

    source: str  # the labelled file's name
    known: frozenset[str]  # the entries of the version
    labelled: Sequence[Labelled]
    answers: Sequence[Answer]
    report: EvaluationReport


@dataclass(frozen=True)
class _Shown:
    """The first of many."""

    first: Sequence[Any]
    more: int

    @classmethod
    def of(cls, every: Sequence[Any], most: int) -> _Shown:
        return cls(every[:most], max(0, len(every) - most))


@dataclass(frozen=True)
class _Reason:
    """Hand-offs for one reason."""

    name: str
    count: int
    needless: int  # of questions that have an entry


def check(path: Path) -> None:
    """Make sure, before the long work, that a page can be made and written there.

    Raises:
        ExtraMissing: Jinja2 is not installed.
        OutputInvalid: nothing can be written there.
    """
    _environment()
    check_target(path)


def write(
    path: Path, model: AnsweringModel, evaluated: EvaluationInput, question_chars: int
) -> None:
    """Write the page.

    Args:
        path: where to; what was there is replaced.
        model: the version, which embeds the questions that need an entry.
        evaluated: what was measured.
        question_chars: a longer question was handed off unread.

    Raises:
        OutputInvalid: it can't be written.
    """
    lacking = find_missing_entries(model, evaluated.labelled, evaluated.answers, question_chars)
    write_page(path, render(model.version, evaluated, lacking))


def render(version: str, evaluated: EvaluationInput, lacking: MissingEntries) -> str:
    """Return the page as HTML."""
    report = evaluated.report
    found = confusions(evaluated.labelled, evaluated.answers)
    template = _environment().get_template(_TEMPLATE)
    page: str = template.render(
        version=version,
        source=evaluated.source,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        report=report,
        reasons=_reasons(evaluated),
        pairs=_Shown.of([pair for pair in found if pair.expected], _PAIRS),
        answered=_Shown.of([pair for pair in found if not pair.expected], _PAIRS),
        lacking=lacking,
        groups=_Shown.of([group for group in lacking.groups if group.size > 1], _GROUPS),
        alone=_Shown.of([group for group in lacking.groups if group.size == 1], _ALONE),
        entries=_worst_first(report),
        unasked=sorted(evaluated.known - {entry.entry for entry in report.entries}),
        **_charts(evaluated),
    )
    return page


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ExtraMissing("jinja2", "lifecycle") from error
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"share": _share, "quoted": _quoted}
    return made


def _charts(evaluated: EvaluationInput) -> dict[str, Any]:
    found = EvaluationOutcomes.of(evaluated.labelled, evaluated.answers)
    points = charts.points(found)
    coverage, precision = evaluated.report.coverage, evaluated.report.precision
    defined = bool(points) and coverage is not None and precision is not None
    return {
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
        "strip": charts.STRIP,
        "bars": charts.bars(bins(found)),
        "curve": charts.curve(points, coverage or 0, precision or 0) if defined else None,
        "thresholds": charts.table(points),
    }


def _reasons(evaluated: EvaluationInput) -> list[_Reason]:
    pairs = zip(evaluated.labelled, evaluated.answers, strict=True)
    needless = Counter(answer.reason for row, answer in pairs if row.expected)
    counts = evaluated.report.reasons
    return [_Reason(name, count, needless[name]) for name, count in counts.items()]


def _worst_first(report: EvaluationReport) -> list[Any]:
    amiss = worst(report.entries, len(report.entries))
    return amiss + [entry for entry in report.entries if not entry.wrong]


def _share(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED else line[: _QUOTED - 1] + "…"
