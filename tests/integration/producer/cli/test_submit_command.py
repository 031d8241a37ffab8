"""Ctrl-C and a Redis that goes away, as the caller of `submit` sees them."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from broker import lanes
from core.errors import BrokerUnavailable
from producer.cli import submit_command


@pytest.fixture
def ctrl_c(monkeypatch):
    """Press Ctrl-C when this is shown with that count."""

    def ctrl_c(what: str, count: int) -> None:
        @contextmanager
        def bar(_):
            def show(shown: str, done: int, _: int | None) -> None:
                if (shown, done) == (what, count):
                    raise KeyboardInterrupt

            yield show

        monkeypatch.setattr(submit_command, "bar", bar)

    return ctrl_c


def test_ctrl_c_while_checking_stores_nothing_and_says_so(cli, ctrl_c, write, stored):
    ctrl_c("checking", 10_000)
    status, out, err = cli("submit", write("july.csv", 10_000))
    assert (status, out, err) == (
        130,
        "",
        "answermill: interrupted before it stored anything; the same command starts again\n",
    )
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize("count", [0, 4, 8, 9])
def test_ctrl_c_while_storing_says_how_to_go_on_and_that_does(
    count, cli, ctrl_c, write, all_there_once
):
    path = write("july.csv", 9)
    ctrl_c("storing", count)
    status, out, err = cli("submit", path)
    assert (status, out) == (130, "")
    told = f"{count} of 9 questions are stored: the same command goes on"
    assert err == f"answermill: interrupted; {told}\n"
    ctrl_c("nothing", 0)
    status, out, err = cli("submit", path)
    assert (status, err) == (0, "")
    assert out.endswith(f": 9 questions submitted, resumed behind question {count}\n")
    all_there_once(1, 9)


def test_what_can_be_read_only_once_goes_on_under_the_name_that_is_told(
    cli, ctrl_c, write, monkeypatch, all_there_once
):
    path = write("july.csv", 9)
    ctrl_c("storing", 4)
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        told = cli("submit", "-")[2]
    again = "the same command with --name stdin-"
    assert told.startswith(f"answermill: interrupted; 4 of 9 questions are stored: {again}")
    assert told.endswith(" and the same input goes on\n")
    name = told.split("--name ")[1].split()[0]
    ctrl_c("nothing", 0)
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert cli("submit", "-", "--name", name)[0] == 0
    all_there_once(1, 9)


def test_another_batch_of_that_name_is_not_counted_as_ours(cli, write, monkeypatch):
    cli("submit", write("july.csv", 4), "--name", "july")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(submit_command, "submit", interrupted)
    told = cli("submit", write("august.csv", 5), "--name", "july")[2]
    assert told.startswith("answermill: interrupted; 0 of 5 questions are stored")


def test_redis_away_is_told_once_with_what_happens_to_the_questions(
    cli, write, monkeypatch, all_there_once
):
    def away(*_):
        raise BrokerUnavailable("redis://example", "gone")

    monkeypatch.setattr(lanes, "send", away)
    status, out, err = cli("submit", write("july.csv", 9))
    assert status == 0
    assert out.endswith(": 9 questions submitted\n")
    assert err == (
        "answermill: Redis is away; the questions are stored all the same,"
        " and workers pick them up when it is back\n"
    )
    all_there_once(1, 9)
