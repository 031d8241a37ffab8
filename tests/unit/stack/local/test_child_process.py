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
from tests.waiting import wait_for

FOREVER = "import signal, sys; print('up', flush=True); signal.pause()"
DEAF = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print('up', flush=True)\nwhile True: signal.pause()"
)


@pytest.fixture
def service(tmp_path):
    started = []

    def make(code, *, grace=10.0):
        service = Service(
            "worker 1",
            [sys.executable, "-c", code],
            log=tmp_path / "logs" / "worker-1.log",
            environment={"PYTHONUNBUFFERED": "1"},
            grace_seconds=grace,
        )
        started.append(service)
        service.start()
        return service

    yield make
    for service in started:
        service.stop()


def test_a_process_that_dies_is_started_again_after_a_pause(service, monkeypatch):
    monkeypatch.setattr(child_process, "FIRST_PAUSE", 0.05)
    child, messages = service(FOREVER), []
    child._pause = 0.05
    first = child.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: child.pid is None)

    def again():
        child.watch(messages.append)
        return child.pid is not None

    wait_for(again)
    assert child.pid != first
    assert len(messages) == 1
    assert "SIGKILL" in messages[0]
    assert str(child.log) in messages[0]


def test_the_pause_doubles_while_a_process_keeps_dying(service):
    child = service("raise SystemExit(3)")
    child._pause = 0.01
    pauses = []
    while len(pauses) < 4:
        wait_for(lambda: child.pid is None)
        before = child._pause
        child.watch(lambda _, before=before: pauses.append(before))
        time.sleep(0.01)
    assert pauses == [0.01, 0.02, 0.04, 0.08]


def test_stop_lets_a_process_end_by_itself(service):
    child = service(FOREVER)
    wait_for(lambda: b"up" in child.log.read_bytes())
    child.stop()
    assert child.pid is None


@pytest.mark.costly
def test_stop_leaves_no_child_of_a_process_that_does_not_listen(service):
    child = service(DEAF, grace=0.2)
    wait_for(lambda: b"up" in child.log.read_bytes())
    family = psutil.Process(child.pid).children(recursive=True)
    assert family
    child.stop()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


@pytest.mark.costly
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
