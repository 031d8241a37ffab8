from __future__ import annotations

import json
import logging

import pytest
import structlog

from core import logging_setup
from core.settings.load import load


@pytest.fixture(autouse=True)
def _restore_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_one_json_line(capsys):
    logging_setup.configure(load(log_format="json"))
    structlog.get_logger().info("job done", job=7)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["job"], line["level"]) == ("job done", 7, "info")
    assert line["timestamp"].endswith("Z")


def test_records_of_libraries_have_the_same_form(capsys):
    logging_setup.configure(load(log_format="json"))
    logging.getLogger("celery.worker").warning("lost %s", "touch")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("lost touch", "warning")


def test_a_traceback_stays_on_the_json_line(capsys):
    logging_setup.configure(load(log_format="json"))
    try:
        int("why")
    except ValueError:
        structlog.get_logger().exception("sweep failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: invalid" in json.loads(line)["exception"]


def test_a_traceback_on_a_console_shows_no_values(capsys):
    logging_setup.configure(load(log_format="console"))
    question = "a customer's own words"
    try:
        len(question) / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("sweep failed")
    written = capsys.readouterr().err
    assert "ZeroDivisionError" in written
    assert question not in written


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("error", 1)])
def test_events_below_the_level_are_not_written(level, lines, capsys):
    logging_setup.configure(load(log_level=level))
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("event")
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_celery_does_not_log_each_task(capsys):
    logging_setup.configure(load())
    logging.getLogger("celery.app.trace").info("Task succeeded")
    assert capsys.readouterr().err == ""
