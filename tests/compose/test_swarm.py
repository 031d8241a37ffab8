"""The Compose file converted for Swarm, on a Swarm of one machine: it answers and scales."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from tests.compose.project import ROOT, command, docker, wait_for
from tests.compose.questions import as_csv, questions

_STACK = "answermill-swarm"
_ASKED = 300
_READY_SECONDS = 300
_GONE_SECONDS = 120
_ANSWERED_SECONDS = 300


@pytest.fixture(scope="module")
def swarm(mill):
    """A stack on a Swarm that is made for it, of the images that are there."""
    ours = docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    if ours:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    mill.stop()  # two stacks would share two cores
    try:
        wait_for(lambda: "Ready" in docker("node", "ls", "--format", "{{.Status}}"), _GONE_SECONDS)
        read = json.dumps(yaml.safe_load(mill.compose("config").stdout))
        converted = command(sys.executable, "deploy/swarm.py", input=read, cwd=ROOT).stdout
        docker("stack", "deploy", "--detach=true", "-c", "-", _STACK, input=converted)
        yield
    finally:
        docker("stack", "rm", _STACK)
        wait_for(_nothing_left, _GONE_SECONDS)
        if ours:
            docker("swarm", "leave", "--force")
        mill.up()


def _nothing_left() -> bool:
    """Remove the volumes, which the stopped containers keep until they are gone."""
    volumes = docker("volume", "ls", "-q", f"--filter=name={_STACK}_").split()
    return all(
        command("docker", "volume", "rm", name, check=False).returncode == 0 for name in volumes
    )


def _containers(service: str) -> list[str]:
    """Return the running containers of a service, of all of them when it is unnamed."""
    name = f"--filter=label=com.docker.swarm.service.name={_STACK}_{service}"
    every = f"--filter=label=com.docker.stack.namespace={_STACK}"
    return docker("ps", "-q", name if service else every).split()


def _ready() -> list[str]:
    """Return the workers that have loaded their model."""
    return [
        worker
        for worker in _containers("worker")
        if '"model loaded"' in command("docker", "logs", worker).stderr
    ]


def _number(query: str) -> int:
    (postgres,) = _containers("postgres")
    return int(docker("exec", postgres, "psql", "-U", "answermill", "-Atc", query))


@pytest.mark.usefixtures("swarm")
def test_a_stack_on_swarm_answers_and_takes_more_workers():
    wait_for(_ready, _READY_SECONDS, lambda: docker("service", "ls"))
    submit = ["answermill", "submit", "-", "--format", "csv", "--name", "tickets"]
    asked = as_csv(questions(_ASKED, seed=5))
    docker("exec", "-i", "-e", "ANSWERMILL_JOB_SIZE=10", _ready()[0], *submit, input=asked)
    docker("service", "scale", "--detach=true", f"{_STACK}_worker=2")
    wait_for(lambda: len(_ready()) == 2, _READY_SECONDS, lambda: docker("service", "ls"))
    results = "SELECT count(*) FROM results WHERE status IN ('answered', 'handed_off')"
    wait_for(lambda: _number(results) == _ASKED, _ANSWERED_SECONDS, lambda: _number(results))
