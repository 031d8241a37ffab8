"""The rights of every service's container, and the secrets that no container shows."""

from __future__ import annotations

import json
import re

import pytest

from tests.compose.project import command, docker

# The services of the project; the others run an image of their own.
_OURS = ("migrate", "model", "worker", "flower", "web")


@pytest.fixture(scope="module")
def containers(mill):
    """The documents of `docker inspect` for every container of the stack, including ended ones."""
    found = mill.inspect(mill.everything())
    services = {container["Config"]["Labels"]["com.docker.compose.service"] for container in found}
    assert {"redis", "postgres", *_OURS} <= services
    return found


@pytest.fixture(scope="module")
def passwords(mill):
    """Every password of the stack."""
    urls = [*mill.secrets.glob("*_url*"), mill.secrets / "flower_auth"]
    found = [re.search(r":([0-9a-f]{48})(@|$)", url.read_text())[1] for url in urls]
    assert len(set(found)) == 6
    return found


def test_no_container_runs_as_root_or_can_become_it(containers):
    for container in containers:
        host = container["HostConfig"]
        assert container["Config"]["User"] not in {"", "0", "root"}, container["Name"]
        assert not host["Privileged"], container["Name"]
        assert host["CapDrop"] == ["ALL"], container["Name"]
        assert not host["CapAdd"], container["Name"]
        assert "no-new-privileges:true" in host["SecurityOpt"], container["Name"]


def test_a_worker_is_not_root_and_has_no_capability(mill):
    (worker,) = mill.containers("worker")
    output = docker("exec", worker, "sh", "-c", "id -u; cat /proc/1/status")
    assert output.splitlines()[0] != "0"
    assert re.search(r"^CapEff:\s+0+$", output, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", output, re.MULTILINE)


def test_no_container_can_write_to_its_root(mill, containers):
    for container in containers:
        assert container["HostConfig"]["ReadonlyRootfs"], container["Name"]
    (worker,) = mill.containers("worker")
    for place in ("/opt/app/new", "/models/new", "/var/lib/answermill/new"):
        tried = command("docker", "exec", worker, "touch", place, check=False)
        assert "Read-only file system" in tried.stderr, place


def test_ports_are_published_on_loopback_alone(containers):
    published = [
        (container["Config"]["Labels"]["com.docker.compose.service"], binding["HostIp"])
        for container in containers
        for bindings in (container["HostConfig"]["PortBindings"] or {}).values()
        for binding in bindings
    ]
    assert set(dict(published)) == {"flower", "web"}
    assert {address for _, address in published} == {"127.0.0.1"}


def test_redis_and_postgres_are_on_networks_that_lead_nowhere(mill, containers):
    for container in containers:
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        if service in {"redis", "postgres"}:
            networks = list(container["NetworkSettings"]["Networks"])
            assert networks == [f"{mill.name}_{service}"]
            assert json.loads(docker("network", "inspect", *networks))[0]["Internal"]


def test_no_password_is_in_an_image_an_environment_a_command_line_or_a_log(containers, passwords):
    for container in containers:
        image = container["Image"]
        logs = command("docker", "logs", container["Id"])
        places = {
            "container": json.dumps(container),
            "image": docker("image", "inspect", image),
            "history": docker("history", "--no-trunc", image),
            "log": logs.stdout + logs.stderr,
        }
        for place, text in places.items():
            assert not any(password in text for password in passwords), (container["Name"], place)


def test_a_service_is_given_its_own_secrets_alone(containers):
    given = {}
    for container in containers:
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        sources = [mount["Source"] for mount in container["Mounts"]]
        given[service] = {path.rpartition("/")[2] for path in sources if "/secrets/" in path}
    assert {service: given[service] for service in ("redis", "postgres", *_OURS)} == {
        "redis": {"redis_acl"},
        "postgres": {"postgres_password"},
        "migrate": {"database_url"},
        "model": {"database_url"},
        "worker": {"database_url", "broker_url_worker"},
        "flower": {"broker_url_flower", "flower_auth"},
        "web": {"database_url", "broker_url_web", "session_secret", "webhook_secret"},
    }


def test_redis_refuses_commands_without_a_password(mill):
    (redis,) = mill.containers("redis")
    assert "NOPERM" in docker("exec", redis, "redis-cli", "keys", "*")
    assert docker("exec", redis, "redis-cli", "ping") == "PONG"
