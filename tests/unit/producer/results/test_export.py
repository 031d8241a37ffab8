from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from rich.console import Console

from producer.question_files import formats
from producer.question_files.formats import FileFormat, Layout
from producer.results.export import COLUMNS, ExportFormat, export, one_line, replaced
from tests.services import short_folder

AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
FILES = (ExportFormat.CSV, ExportFormat.JSONL, ExportFormat.PARQUET)
STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def _row(position: int = 1, **values: object) -> SimpleNamespace:
    filled = {
        "key": f"ticket-{position}",
        "question": "Where is my parcel?",
        "status": "answered",
        "answer": "On its way.",
        "entry_id": "parcel",
        "matched": "parcel?",
        "confidence": 0.1 + 0.2,
        "reason": None,
        "error": None,
        "model_version": "shop@1",
        "answered_at": AT,
        "position": position,
        "cursor": 100 + position,
        "url": None,
        "runners_up": None,
        "desk_answer": None,
        "desk_entry_id": None,
        "desk_by": None,
        "desk_at": None,
    }
    return SimpleNamespace(**{**filled, **values})


def _written(export_format: ExportFormat, *pages: list[SimpleNamespace]) -> bytes:
    stream = io.BytesIO()
    export(pages, stream, export_format, Console(file=io.StringIO()))
    return stream.getvalue()


def _table(rows: list[SimpleNamespace], width: int = 80) -> list[str]:
    output = io.StringIO()
    export([rows], io.BytesIO(), ExportFormat.TABLE, Console(file=output, width=width))
    return output.getvalue().splitlines()


def test_the_columns_are_what_the_reference_lists():
    reference = Path(__file__).parents[4] / "docs" / "reference" / "files.md"
    assert " ".join(COLUMNS) in " ".join(reference.read_text(encoding="utf-8").split())


def test_csv_has_every_column_and_an_empty_field_for_nothing():
    first, second, end = _written(ExportFormat.CSV, [_row()]).decode().split("\n")
    assert first == ",".join(COLUMNS)
    assert second == (
        "ticket-1,Where is my parcel?,answered,On its way.,parcel,parcel?,0.30000000000000004,"
        ",,shop@1,2026-01-02T03:04:05.678901+00:00,1,101,,,,,,"
    )
    assert end == ""


def test_csv_keeps_formulas_of_spreadsheets():
    content = _written(ExportFormat.CSV, [_row(question="=1+1", answer="@SUM(A1)")]).decode()
    assert next(csv.DictReader(io.StringIO(content)))["question"] == "=1+1"
    assert ",@SUM(A1)," in content


def test_json_lines_have_null_for_nothing_and_text_as_it_is():
    line = _written(ExportFormat.JSONL, [_row(question="您是机器人吗？")])
    assert "您是机器人吗？".encode() in line
    document = json.loads(line)
    assert tuple(document) == COLUMNS
    assert (document["reason"], document["confidence"]) == (None, 0.1 + 0.2)
    assert datetime.fromisoformat(document["answered_at"]) == AT


def test_parquet_has_types_and_rows_of_every_page():
    pages = [[_row(n) for n in range(first, first + 1_000)] for first in range(1, 12_001, 1_000)]
    pages[0][0].confidence = None
    table = parquet.read_table(io.BytesIO(_written(ExportFormat.PARQUET, *pages)))
    assert tuple(table.column_names) == COLUMNS
    assert table["position"].to_pylist() == list(range(1, 12_001))
    assert table["confidence"].to_pylist()[:2] == [None, 0.1 + 0.2]
    assert table["answered_at"][0].as_py() == AT


@pytest.mark.parametrize("export_format", FILES)
def test_the_source_of_an_answer_and_its_runners_up_are_in_every_file(export_format):
    others = [{"entry_id": "refund", "matched": "您的退款?", "score": 0.25}]
    written = _written(export_format, [_row(url="https://shop/p", runners_up=others), _row(2)])
    if export_format is ExportFormat.PARQUET:
        first, second = parquet.read_table(io.BytesIO(written)).to_pylist()
    elif export_format is ExportFormat.JSONL:
        first, second = map(json.loads, written.splitlines())
    else:
        first, second = csv.DictReader(io.StringIO(written.decode()))
        assert (second["url"], second["runners_up"]) == ("", "")
        first["runners_up"] = json.loads(first["runners_up"])
        second = dict.fromkeys(second)
    assert (first["url"], first["runners_up"]) == ("https://shop/p", others)
    assert (second["url"], second["runners_up"]) == (None, None)


@pytest.mark.parametrize("export_format", FILES)
def test_no_results_make_a_file_that_can_be_read(export_format):
    content = _written(export_format)
    if export_format is ExportFormat.PARQUET:
        assert parquet.read_table(io.BytesIO(content)).num_rows == 0
    else:
        head = ",".join(COLUMNS) + "\n" if export_format is ExportFormat.CSV else ""
        assert content.decode() == head


@pytest.mark.parametrize("export_format", FILES)
@given(pairs=st.lists(st.tuples(STORABLE.filter(bool), STORABLE), min_size=1))
def test_an_export_read_as_questions_yields_the_same_questions(export_format, pairs):
    rows = [_row(n, key=key, question=text) for n, (key, text) in enumerate(pairs, 1)]
    with short_folder() as folder:
        path = folder / "f"
        path.write_bytes(_written(export_format, rows))
        layout = Layout(FileFormat(export_format.value), "question", "key", None)
        questions = [question for _, question in formats.questions(path, "f", layout)]
    assert [(question.key, question.text) for question in questions] == pairs


def test_the_last_cursor_is_returned():
    console = Console(file=io.StringIO())
    pages = [[_row(1), _row(2)], [_row(3)]]
    assert export(pages, io.BytesIO(), ExportFormat.CSV, console) == 103
    assert export([], io.BytesIO(), ExportFormat.CSV, console) is None


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_fits_the_terminal_for_any_text(width):
    rows = [
        _row(1, key="k" * 100, question="x" * 1_000, answer="y\nz\x1b[31m"),
        _row(2, question="您" * 200, status="handed_off", answer=None, reason="nothing fits"),
        _row(3, answer=None, status="failed", error="empty question", confidence=None),
    ]
    lines = _table(rows, width)
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in "".join(lines)
    assert lines[0].split() == ["key", "question", "status", "answer", "conf"]
    assert "nothing" in lines[2]
    assert "empty" in lines[3]


def test_the_table_has_one_heading_for_all_pages():
    output = io.StringIO()
    pages = [[_row(n)] for n in range(1, 4)]
    export(pages, io.BytesIO(), ExportFormat.TABLE, Console(file=output, width=80))
    assert output.getvalue().count("status") == 1


@pytest.mark.parametrize(
    ("text", "line"), [("a\n b\t c", "a b c"), ("\x1b[2Ja", "[2Ja"), ("a\u202eb", "a b"), ("", "")]
)
def test_a_text_on_one_line_controls_no_terminal(text, line):
    assert one_line(text) == line


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "out.csv"
    with suppress(KeyboardInterrupt), replaced(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"before")
    with replaced(path) as stream:
        stream.write(b"after")
        stream.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_bytes(b"before")
    link.symlink_to(target)
    with replaced(link) as stream:
        stream.write(b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"


def test_a_pipe_is_written_directly():
    with replaced(Path("/dev/null")) as stream:
        stream.write(b"gone")
    assert not Path("/dev/null").is_file()
