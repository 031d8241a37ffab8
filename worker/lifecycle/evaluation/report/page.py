"""The report page of an evaluation: one HTML file without scripts.

The page quotes questions on purpose, so its readers see texts of customers. Those texts are
escaped, and the page's content security policy blocks scripts and requests.
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
_MAX_PAIRS = 15  # confused entries
_MAX_GROUPS, _MAX_SINGLE = 20, 20  # clusters, and single questions, without an entry
_MAX_QUOTED = 240  # characters of a question


@dataclass(frozen=True)
class EvaluationInput:
    """The evaluation that a page reports."""

    source: str  # the labelled file's name
    known: frozenset[str]  # the entries of the version
    labelled: Sequence[Labelled]
    answers: Sequence[Answer]
    report: EvaluationReport


@dataclass(frozen=True)
class _Shown:
    """The first items of a list, and the number of the others."""

    first: Sequence[Any]
    more: int

    @classmethod
    def of(cls, items: Sequence[Any], limit: int) -> _Shown:
        return cls(items[:limit], max(0, len(items) - limit))


@dataclass(frozen=True)
class _Reason:
    """Hand-offs for one reason."""

    name: str
    count: int
    needless: int  # of questions that have an entry


def check(path: Path) -> None:
    """Check, before long work, that a page can be rendered and written.

    Raises:
        ExtraMissing: Jinja2 is not installed.
        OutputInvalid: the path cannot be written to.
    """
    _environment()
    check_target(path)


def write(
    path: Path, model: AnsweringModel, evaluation: EvaluationInput, question_chars: int
) -> None:
    """Write the page.

    Args:
        path: the file, which is replaced.
        model: the version, for embeddings of the questions that need an entry.
        evaluation: the evaluation.
        question_chars: longest question, in characters; a longer one was handed off unread.

    Raises:
        OutputInvalid: the page cannot be written.
    """
    missing = find_missing_entries(model, evaluation.labelled, evaluation.answers, question_chars)
    write_page(path, render(model.version, evaluation, missing))


def render(version: str, evaluation: EvaluationInput, missing: MissingEntries) -> str:
    """Return the page as HTML."""
    report = evaluation.report
    confused = confusions(evaluation.labelled, evaluation.answers)
    clusters = [group for group in missing.groups if group.size > 1]
    single = [group for group in missing.groups if group.size == 1]
    template = _environment().get_template(_TEMPLATE)
    page: str = template.render(
        version=version,
        source=evaluation.source,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        report=report,
        reasons=_reasons(evaluation),
        pairs=_Shown.of([pair for pair in confused if pair.expected], _MAX_PAIRS),
        answered=_Shown.of([pair for pair in confused if not pair.expected], _MAX_PAIRS),
        missing=missing,
        groups=_Shown.of(clusters, _MAX_GROUPS),
        single=_Shown.of(single, _MAX_SINGLE),
        entries=_worst_first(report),
        untested=sorted(evaluation.known - {entry.entry for entry in report.entries}),
        **_charts(evaluation),
    )
    return page


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ExtraMissing("jinja2", "lifecycle") from error
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "quoted": _quoted}
    return environment


def _charts(evaluation: EvaluationInput) -> dict[str, Any]:
    outcomes = EvaluationOutcomes.of(evaluation.labelled, evaluation.answers)
    points = charts.points(outcomes)
    coverage, precision = evaluation.report.coverage, evaluation.report.precision
    defined = bool(points) and coverage is not None and precision is not None
    return {
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
        "strip": charts.STRIP,
        "bars": charts.bars(bins(outcomes)),
        "curve": charts.curve(points, coverage or 0, precision or 0) if defined else None,
        "thresholds": charts.table(points),
    }


def _reasons(evaluation: EvaluationInput) -> list[_Reason]:
    pairs = zip(evaluation.labelled, evaluation.answers, strict=True)
    needless = Counter(answer.reason for row, answer in pairs if row.expected)
    counts = evaluation.report.reasons
    return [_Reason(name, count, needless[name]) for name, count in counts.items()]


def _worst_first(report: EvaluationReport) -> list[Any]:
    faulty = worst(report.entries, len(report.entries))
    return faulty + [entry for entry in report.entries if not entry.wrong]


def _share(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_QUOTED else line[: _MAX_QUOTED - 1] + "…"
