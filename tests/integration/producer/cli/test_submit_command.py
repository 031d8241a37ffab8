"""Ctrl-C and a Redis that fails, as the user of `submit` sees them."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from broker import lanes
from core.errors import BrokerUnavailable
from producer.cli import submit_command


@pytest.fixture
def ctrl_c(monkeypatch):
    """Press Ctrl-C when this description is shown with that count."""

    def ctrl_c(description: str, count: int) -> None:
        @contextmanager
        def bar(_):
            def show(shown: str, done: int, _: int | None) -> None:
                if (shown, done) == (description, count):
                    raise KeyboardInterrupt

            yield show

        monkeypatch.setattr(submit_command, "bar", bar)

    return ctrl_c


def test_ctrl_c_while_checking_stores_nothing_and_reports_it(cli, ctrl_c, write, stored):
    ctrl_c("checking", 10_000)
    status, out, err = cli("submit", write("july.csv", 10_000))
    assert (status, out, err) == (
        130,
        "",
        "answermill: interrupted, and nothing was stored; to start again, run the same command\n",
    )
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize("count", [0, 4, 8, 9])
def test_ctrl_c_while_storing_prints_how_to_resume(count, cli, ctrl_c, write, all_there_once):
    path = write("july.csv", 9)
    ctrl_c("storing", count)
    status, out, err = cli("submit", path)
    assert (status, out) == (130, "")
    message = f"{count} of 9 questions are stored; to continue, run the same command"
    assert err == f"answermill: interrupted; {message}\n"
    ctrl_c("nothing", 0)
    status, out, err = cli("submit", path)
    assert (status, err) == (0, "")
    assert out.endswith(f": 9 questions submitted, resumed after question {count}\n")
    all_there_once(1, 9)


def test_standard_input_resumes_under_the_reported_name(
    cli, ctrl_c, write, monkeypatch, all_there_once
):
    path = write("july.csv", 9)
    ctrl_c("storing", 4)
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        message = cli("submit", "-")[2]
    again = "to continue, run the same command with --name stdin-"
    assert message.startswith(f"answermill: interrupted; 4 of 9 questions are stored; {again}")
    assert message.endswith(" and the same input\n")
    name = message.split("--name ")[1].split()[0]
    ctrl_c("nothing", 0)
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert cli("submit", "-", "--name", name)[0] == 0
    all_there_once(1, 9)


def test_another_batch_of_that_name_is_not_counted(cli, write, monkeypatch):
    cli("submit", write("july.csv", 4), "--name", "july")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(submit_command, "submit", interrupted)
    message = cli("submit", write("august.csv", 5), "--name", "july")[2]
    assert message.startswith("answermill: interrupted; 0 of 5 questions are stored")


def test_unavailable_redis_is_reported_once(cli, write, monkeypatch, all_there_once):
    def fail(*_):
        raise BrokerUnavailable("redis://example", "gone")

    monkeypatch.setattr(lanes, "send", fail)
    status, out, err = cli("submit", write("july.csv", 9))
    assert status == 0
    assert out.endswith(": 9 questions submitted\n")
    assert err == (
        "answermill: Redis is unavailable; the questions are stored,"
        " and workers claim them when Redis is back\n"
    )
    all_there_once(1, 9)
