"""`answermill up` and `answermill demo`, as a user starts and stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import redis

from core.settings.load import load
from producer.connections import database
from tests.acceptance.conftest import install
from tests.waiting import wait_for


@pytest.fixture
def environment(home, model_store):
    return {
        **os.environ,
        "ANSWERMILL_HOME": str(home),
        "ANSWERMILL_MODEL_STORE": str(model_store),
        "ANSWERMILL_FLOWER_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def up(home, model_store, environment, tmp_path):
    """Start `answermill up` on the shop's model; end it whatever happens."""
    settings = load(home=home, model_store=model_store)
    with database(settings) as engine:
        install(settings, engine, "shop")
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack", "up"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    wait_for(lambda: "Ctrl-C stops" in log.read_text(), 60, log.read_text)
    process.log = log
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


def ask(environment, question):
    return subprocess.run(
        [sys.executable, "-m", "stack", "ask", question, "--wait", "60s"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_up_answers_and_leaves_no_orphan(up, environment, stop):
    answered = ask(environment, "您是机器人吗？")
    assert answered.returncode == 0, answered.stderr
    assert "机器人" in answered.stdout
    started = family(up)
    assert len(started) >= 4  # Redis, a worker, its child, Flower

    up.send_signal(stop)

    assert up.wait(60) == 0
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []


def test_up_starts_again_what_dies(up, environment, home):
    assert ask(environment, "Where is my order?").returncode == 0
    with redis.Redis(unix_socket_path=str(home / "run" / "redis.sock")) as client:
        first = client.info("server")["process_id"]
        os.kill(first, signal.SIGKILL)

        def back():
            try:
                return client.info("server")["process_id"] != first
            except redis.exceptions.RedisError:
                return False

        wait_for(back, 30)
    again = ask(environment, "How do I return a lamp?")
    assert again.returncode == 0, again.stderr
    assert "Redis ended (SIGKILL)" in up.log.read_text()


def test_a_killed_up_takes_its_children_along(up):
    started = family(up)
    up.kill()
    up.wait()
    _, alive = psutil.wait_procs(started, timeout=40)
    assert alive == []


@pytest.mark.usefixtures("up")
def test_a_second_up_on_the_same_home_is_refused(environment):
    second = subprocess.run(
        [sys.executable, "-m", "stack", "up"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "already runs" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_the_demo_answers_the_sample_and_ends_by_itself(environment):
    del environment["ANSWERMILL_MODEL_STORE"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "stack", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "您是机器人吗" in done.stdout
    assert "SELECT" in done.stdout
    assert "http://127.0.0.1:" in done.stdout
    assert time.monotonic() - started < 300
