"""Child processes, real ones: started, restarted, stopped, never orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from stack.local import child_process
from stack.local.child_process import Service

FOREVER = "import signal, sys; print('up', flush=True); signal.pause()"
DEAF = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print('up', flush=True)\nwhile True: signal.pause()"
)


@pytest.fixture
def service(tmp_path):
    made = []

    def make(code, *, grace=10.0):
        one = Service(
            "worker 1",
            [sys.executable, "-c", code],
            log=tmp_path / "logs" / "worker-1.log",
            environment={"PYTHONUNBUFFERED": "1"},
            grace_seconds=grace,
        )
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


def wait_for(condition, seconds=20.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def test_a_process_that_dies_is_started_again_after_a_pause(service, monkeypatch):
    monkeypatch.setattr(child_process, "FIRST_PAUSE", 0.05)
    one, said = service(FOREVER), []
    one._pause = 0.05
    first = one.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: one.pid is None)

    def again():
        one.watch(said.append)
        return one.pid is not None

    wait_for(again)
    assert one.pid != first
    assert len(said) == 1
    assert "SIGKILL" in said[0]
    assert str(one.log) in said[0]


def test_the_pause_doubles_while_a_process_keeps_dying(service):
    one = service("raise SystemExit(3)")
    one._pause = 0.01
    pauses = []
    while len(pauses) < 4:
        wait_for(lambda: one.pid is None)
        before = one._pause
        one.watch(lambda _, before=before: pauses.append(before))
        time.sleep(0.01)
    assert pauses == [0.01, 0.02, 0.04, 0.08]


def test_stop_lets_a_process_end_by_itself(service):
    one = service(FOREVER)
    wait_for(lambda: b"up" in one.log.read_bytes())
    one.stop()
    assert one.pid is None


def test_stop_leaves_no_child_of_a_process_that_does_not_listen(service):
    one = service(DEAF, grace=0.2)
    wait_for(lambda: b"up" in one.log.read_bytes())
    family = psutil.Process(one.pid).children(recursive=True)
    assert family
    one.stop()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from stack.local.child_process import Service;"
        f"s = Service('c', [sys.executable, '-c', {FOREVER!r}],"
        f"log=Path({str(tmp_path / 'log')!r}),"
        "environment={}, grace_seconds=1); s.start(); print(s.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
