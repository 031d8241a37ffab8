from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from core import console
from core.errors import BrokerUnavailable, SettingsInvalid


def app_with(command):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return app


def raising(error):
    def command() -> None:
        raise error

    return app_with(command)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsInvalid(["a fault"]), 2),
        (BrokerUnavailable("redis://there", "refused"), 3),
        (KeyboardInterrupt(), 130),
        (typer.Exit(7), 7),
        (RuntimeError("a bug"), 1),
    ],
)
def test_every_ending_has_its_exit_status(error, status, capsys):
    assert console.run(raising(error), []) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("Traceback" in captured.err) == (status == 1)


def test_each_fault_is_one_line_however_narrow_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    console.run(raising(SettingsInvalid(["one that is long enough to wrap", "two"])), [])
    assert capsys.readouterr().err == (
        "answermill: one that is long enough to wrap\nanswermill: two\n"
    )


def test_a_misspelled_option_is_the_callers_mistake(capsys):
    assert console.run(app_with(lambda: None), ["--wrong"]) == 2
    captured = capsys.readouterr().err
    assert len(captured.splitlines()) == 1
    assert "--wrong" in captured


def test_a_reader_that_closed_the_pipe_is_not_a_traceback():
    code = (
        "import sys; from core import console; import typer; a = typer.Typer();"
        "a.command()(lambda: [print('x' * 1000) for _ in range(1000)] and None);"
        "sys.exit(console.run(a, []))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == console.PIPE_CLOSED


def test_json_is_one_line_and_reads_back(capsys):
    at = datetime(2026, 1, 2, tzinfo=UTC)
    console.print_json({"question": "您是机器人吗？\n", "at": at, "none": None})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "question": "您是机器人吗？\n",
        "at": "2026-01-02T00:00:00+00:00",
        "none": None,
    }


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90m", 5_400), ("2h", 7_200), ("1.5 D", 129_600)]
)
def test_durations(text, seconds):
    assert console.parse_duration(text) == timedelta(seconds=seconds)


@given(st.text(max_size=12))
def test_no_other_text_is_a_duration(text):
    if not console._DURATION.fullmatch(text.strip()):
        with pytest.raises(typer.BadParameter):
            console.parse_duration(text)


@pytest.mark.parametrize("text", ["40000d", "9" * 400 + "h"])
def test_a_duration_beyond_a_century_is_refused(text):
    with pytest.raises(typer.BadParameter, match="longer than"):
        console.parse_duration(text)
