"""What of a Compose file becomes of it on Swarm."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def swarm():
    spec = importlib.util.spec_from_file_location("swarm", ROOT / "deploy/swarm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_port_of_loopback_is_not_published_and_any_other_is(swarm):
    for port in ("127.0.0.1:5555:5555/tcp", {"host_ip": "::1", "published": "1", "target": 2}):
        assert "ports" not in swarm.service({"ports": [port]})
    wanted = {"target": 5555, "published": 80, "mode": "host"}
    for port in (
        "0.0.0.0:80:5555/tcp",
        {"host_ip": "0.0.0.0", "published": "80", "target": 5555},  # noqa: S104 - asked for
        {"published": "80", "target": 5555},
    ):
        assert swarm.service({"ports": [port]})["ports"] == [wanted]


def test_limits_and_restarts_are_said_in_swarms_words(swarm):
    found = {"cpus": 0.5, "mem_limit": "2g", "restart": "unless-stopped", "read_only": True}
    made = swarm.service(found)
    assert made["deploy"]["resources"]["limits"] == {"cpus": "0.5", "memory": "2g"}
    assert made["deploy"]["restart_policy"]["condition"] == "any"
    assert made["read_only"]
    assert not {"cpus", "mem_limit", "restart"} & set(made)


def test_a_new_one_starts_first_only_where_nothing_is_written_or_published(swarm):
    def order(**found):
        return swarm.service(found)["deploy"]["update_config"]["order"]

    assert order(volumes=["models:/models:ro"]) == "start-first"
    assert order(volumes=[{"type": "volume", "read_only": True}]) == "start-first"
    assert order(volumes=["models:/models:rw"]) == "stop-first"
    assert order(ports=["0.0.0.0:80:80/tcp"]) == "stop-first"


def test_what_has_a_profile_and_what_compose_has_named_is_left_out(swarm):
    project = {
        "name": "shop",
        "services": {"worker": {"image": "a"}, "producer": {"profiles": ["tools"]}},
        "networks": {"redis": {"name": "shop_redis", "internal": True}},
        "volumes": {"models": None},
        "secrets": {"auth": {"name": "shop_auth", "file": "/auth"}},
    }
    made = swarm.stack(swarm.read(json.dumps(project)))
    assert set(made["services"]) == {"worker"}
    assert made["networks"] == {"redis": {"internal": True}}
    assert made["volumes"] == {"models": {}}
    assert made["secrets"] == {"auth": {"file": "/auth"}}


def test_yaml_is_read_as_well_as_json(swarm):
    assert swarm.read("services:\n  worker:\n    cpus: 1\n") == {
        "services": {"worker": {"cpus": 1}}
    }
