"""Print the stack for Swarm, made from the resolved docker-compose.yml.

    docker compose config --format json | python3 deploy/swarm.py | docker stack deploy -c - NAME

What `docker-compose` 1.29 prints is YAML, which needs the package PyYAML to be read.

Swarm waits for nothing before it starts a service, so each one ends and is started again until
what it needs is there. It publishes on every address of every machine: what Compose would
publish on loopback alone is not published.
"""

from __future__ import annotations

import json
import sys
from ipaddress import ip_address

# Keys of Compose alone, or expressed in Swarm's keys below.
_LEFT_OUT = {"build", "cpus", "depends_on", "mem_limit", "profiles", "restart", "security_opt"}
_LEFT_OUT |= {"ports", "shm_size", "tmpfs"}

_SHARED = "/dev/shm"  # noqa: S108 - the path is fixed by POSIX shared memory
_CONDITIONS = {"no": "none", "on-failure": "on-failure", "unless-stopped": "any", "always": "any"}


def read(text: str) -> dict:
    """Return the output of `docker compose config`, parsed."""
    if text.startswith("{"):
        return json.loads(text)
    import yaml

    return yaml.safe_load(text)


def stack(project: dict) -> dict:
    """Return the project as a stack."""
    services = {
        name: service(definition)
        for name, definition in project["services"].items()
        if not definition.get("profiles")
    }
    rest = {kind: project[kind] for kind in ("networks", "volumes", "secrets")}
    return {"version": "3.8", "services": services, **_unnamed(rest)}


def service(definition: dict) -> dict:
    """Return a service as Swarm takes it."""
    kept = {key: value for key, value in definition.items() if key not in _LEFT_OUT}
    ports = [port for port in map(_port, definition.get("ports", [])) if port]
    if ports:
        kept["ports"] = ports
    mounts = [{"type": "tmpfs", "target": path} for path in definition.get("tmpfs", [])]
    if "shm_size" in definition:
        size = {"size": int(definition["shm_size"])}
        mounts.append({"type": "tmpfs", "target": _SHARED, "tmpfs": size})
    if mounts:
        kept["volumes"] = [*kept.get("volumes", []), *mounts]
    return kept | {"deploy": _deploy(definition)}


def _deploy(definition: dict) -> dict:
    limits = {"cpus": definition.get("cpus"), "memory": definition.get("mem_limit")}
    return {
        # A connection through a virtual address is cut when it has been idle for a while.
        "endpoint_mode": "dnsrr",
        "resources": {"limits": {key: str(value) for key, value in limits.items() if value}},
        "restart_policy": {
            "condition": _CONDITIONS[definition.get("restart", "no")],
            "delay": "5s",
        },
        # A new worker makes progress before an old one gets SIGTERM.
        "update_config": {"parallelism": 1, "order": _order(definition)},
    }


def _order(definition: dict) -> str:
    # Two tasks at a time may share volumes that they only read.
    writes = any(not _read_only(volume) for volume in definition.get("volumes", []))
    return "stop-first" if writes or definition.get("ports") else "start-first"


def _read_only(volume: str | dict) -> bool:
    if isinstance(volume, str):
        return volume.endswith(":ro")
    return bool(volume.get("read_only"))


def _port(port: str | dict) -> dict | None:
    """Return a port of the service's host, None for a port of loopback."""
    if isinstance(port, str):
        address, published, target = port.rpartition("/")[0].rsplit(":", 2)
    else:
        address, published, target = port.get("host_ip"), port["published"], port["target"]
    if address and ip_address(address).is_loopback:
        return None
    return {"target": int(target), "published": int(published), "mode": "host"}


def _unnamed(rest: dict) -> dict:
    """Remove the names that Compose made from the project's name."""
    return {
        kind: {
            name: {key: value for key, value in (definition or {}).items() if key != "name"}
            for name, definition in named.items()
        }
        for kind, named in rest.items()
    }


if __name__ == "__main__":
    json.dump(stack(read(sys.stdin.read())), sys.stdout, indent=2)
