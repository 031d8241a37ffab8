"""The faults: each hurts something, waits for as long as it lasts, and leaves it mendable."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import signal
import time
import uuid
from collections.abc import Callable

import psycopg
import redis
import sqlalchemy as sa

from core.messages import TASK
from tests.chaos.proxy import Proxy
from tests.chaos.simulated import CLOCK, POINTS
from tests.chaos.world import LEASE_SECONDS, World

Fault = Callable[[World, random.Random], None]

_QUEUE = "answermill:bulk"
_OUTAGE_SECONDS = 2.0
_COPIES = 5
_TRAP_SECONDS = 5.0
_SLOW_SECONDS = 0.05


def kill_parent(world: World, rng: random.Random) -> None:
    world.a_worker(rng).kill()


def kill_child(world: World, rng: random.Random) -> None:
    world.signal_child(world.a_worker(rng), signal.SIGKILL)


def kill_both(world: World, rng: random.Random) -> None:
    world.signal_all(world.a_worker(rng), signal.SIGKILL)


def kill_all_workers(world: World, _rng: random.Random) -> None:
    for worker in list(world.workers):
        world.signal_all(worker, signal.SIGKILL)


def freeze_for_two_leases(world: World, rng: random.Random) -> None:
    worker = world.a_worker(rng)
    world.signal_all(worker, signal.SIGSTOP)
    time.sleep(2 * LEASE_SECONDS)
    world.signal_all(worker, signal.SIGCONT)


def terminate(world: World, rng: random.Random) -> None:
    world.a_worker(rng).terminate()


def terminate_twice(world: World, rng: random.Random) -> None:
    worker = world.a_worker(rng)
    worker.terminate()
    time.sleep(0.1)
    worker.terminate()


def _kill_at(point: str) -> Fault:
    def kill_at(world: World, _rng: random.Random) -> None:
        trap = world.traps / point
        trap.touch()
        until = time.monotonic() + _TRAP_SECONDS
        while trap.exists() and time.monotonic() < until:
            time.sleep(0.01)

    return kill_at


def kill_redis(world: World, _rng: random.Random) -> None:
    world.redis.kill(lose_file=False)
    time.sleep(_OUTAGE_SECONDS)
    world.redis.start()


def kill_redis_and_its_file(world: World, _rng: random.Random) -> None:
    world.redis.kill(lose_file=True)
    world.redis.start()


def flush_redis(world: World, _rng: random.Random) -> None:
    world.redis.client.flushall()


def cut_redis_connections(world: World, _rng: random.Random) -> None:
    for kind in ("normal", "pubsub"):
        world.redis.client.client_kill_filter(_type=kind, skipme=True)


def freeze_redis(world: World, _rng: random.Random) -> None:
    world.redis.signal(signal.SIGSTOP)
    time.sleep(_OUTAGE_SECONDS)
    world.redis.signal(signal.SIGCONT)


def deliver_five_times_and_shuffled(world: World, rng: random.Random) -> None:
    waiting = world.redis.client.lrange(_QUEUE, 0, -1) * _COPIES
    rng.shuffle(waiting)
    if waiting:
        world.redis.client.rpush(_QUEUE, *waiting)


def send_malformed_messages(world: World, rng: random.Random) -> None:
    wires = [
        {},
        {"v": 1},
        {"v": 1, "job": -1},
        {"v": 1, "job": "1"},
        {"v": 1, "job": 2**63},
        {"v": 1, "job": rng.randrange(10**6, 10**9)},
        {"v": 99, "job": 1, "later": True},
        {"v": True, "job": 1.5},
    ]
    bodies = [json.dumps([[], wire, {}]).encode() for wire in wires]
    bodies += [b"", b"{", b"[1, 2]", b"null", rng.randbytes(40)]
    for body in bodies:
        world.redis.client.lpush(_QUEUE, _envelope(body))
    good = json.dumps([[], {"v": 1, "job": 1}, {}]).encode()
    strange = [{"task": "os.system"}, {"task": TASK, "id": 5, "eta": "x"}, {"task": []}, {"a": 1}]
    for headers in ({"task": TASK}, *strange):
        world.redis.client.lpush(_QUEUE, _envelope(good, headers))
    part = {"body": "", "properties": {"delivery_tag": [], "delivery_info": {}}}
    no_envelopes = [b"", b"{", b"null", b"5", b"[]", b"{}", b"[" * 9_000, rng.randbytes(40)]
    for raw in (*no_envelopes, json.dumps(part).encode()):
        world.redis.client.lpush(_QUEUE, raw)


def _envelope(body: bytes, headers: dict | None = None) -> str:
    name = str(uuid.uuid4())
    info = {"exchange": "", "routing_key": "bulk"}
    properties = {"correlation_id": name, "delivery_mode": 2, "delivery_info": info}
    properties |= {"priority": 0, "body_encoding": "base64", "delivery_tag": name}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers or {"task": TASK, "id": name, "lang": "py"},
            "properties": properties,
        }
    )


def _stop_postgres(mode: str) -> Fault:
    def stop_postgres(world: World, _rng: random.Random) -> None:
        world.postgres.stop(mode)
        time.sleep(_OUTAGE_SECONDS)
        world.postgres.start()

    return stop_postgres


def cut_database_connections(world: World, _rng: random.Random) -> None:
    world.postgres.cut_connections()


def lock_sqlite(world: World, _rng: random.Random) -> None:
    with world.engine.begin() as conn:  # BEGIN IMMEDIATE: no other process writes
        conn.execute(sa.text("SELECT 1"))
        time.sleep(1.2 * LEASE_SECONDS)


def fill_disk(world: World, _rng: random.Random) -> None:
    world.disk.fill()
    time.sleep(_OUTAGE_SECONDS)
    world.disk.make_room()
    if world.postgres:
        world.postgres.recover()


def fill_redis(world: World, _rng: random.Random) -> None:
    world.redis.client.config_set("maxmemory", 1)
    time.sleep(_OUTAGE_SECONDS)
    world.redis.client.config_set("maxmemory", 0)


def jump_clocks(world: World, rng: random.Random) -> None:
    (world.traps / CLOCK).write_text(str(rng.choice((-1, 1)) * rng.uniform(60, 10**6)))


def send_messages_of_other_releases(world: World, _rng: random.Random) -> None:
    """Turn what waits into later messages: one that can be read, and one that can't."""
    client = world.redis.client
    for number, raw in enumerate(client.lrange(_QUEUE, 0, -1)):
        change = {"v": 2} if number % 2 else {"why": "a later release adds this"}
        # Not ours, but a malformed one.
        with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
            client.lpush(_QUEUE, _changed(raw, change))
            client.lrem(_QUEUE, 1, raw)


def _changed(raw: bytes, change: dict) -> str:
    envelope = json.loads(raw)
    args, wire, rest = json.loads(base64.b64decode(envelope["body"]))
    body = json.dumps([args, wire | change, rest]).encode()
    return json.dumps(envelope | {"body": base64.b64encode(body).decode()})


def _on_wire(name: str, hurt: Callable[[Proxy], None]) -> Fault:
    def on_wire(world: World, _rng: random.Random) -> None:
        wire = world.wires[name]
        hurt(wire)
        time.sleep(_OUTAGE_SECONDS)
        wire.mend()

    return on_wire


def _network(name: str) -> dict[str, Fault]:
    """Return the faults of the network between the parts and a service."""
    return {
        f"network to {name} cut": _on_wire(name, Proxy.cut),
        f"network to {name} stalled": _on_wire(name, Proxy.stall),
        f"network to {name} slow": _on_wire(name, lambda wire: wire.slow(_SLOW_SECONDS)),
        f"network to {name} half-open": _on_wire(name, Proxy.leave_half_open),
    }


def _setting(name: str, value: str | int) -> Fault:
    def setting(world: World, _rng: random.Random) -> None:
        world.postgres.set(name, value)
        time.sleep(_OUTAGE_SECONDS)
        world.postgres.set(name, None)

    return setting


EVERYWHERE: dict[str, Fault] = {
    "kill parent": kill_parent,
    "kill child": kill_child,
    "kill both": kill_both,
    "kill all workers": kill_all_workers,
    **{f"kill at {point}": _kill_at(point) for point in POINTS},
    "freeze worker": freeze_for_two_leases,
    "SIGTERM": terminate,
    "SIGTERM twice": terminate_twice,
    "kill Redis": kill_redis,
    "kill Redis, file lost": kill_redis_and_its_file,
    "FLUSHALL": flush_redis,
    "CLIENT KILL": cut_redis_connections,
    "freeze Redis": freeze_redis,
    "every message five times": deliver_five_times_and_shuffled,
    "malformed messages": send_malformed_messages,
    "messages of other releases": send_messages_of_other_releases,
    "Redis out of memory": fill_redis,
    "disk full": fill_disk,
    "clocks jump": jump_clocks,
    **_network("Redis"),
}
OF_DATABASE: dict[str, dict[str, Fault]] = {
    "postgres": {
        "PostgreSQL stop fast": _stop_postgres("fast"),
        "PostgreSQL stop immediate": _stop_postgres("immediate"),
        "connections cut": cut_database_connections,
        "statements time out": _setting("statement_timeout", 1),
        "transactions serialized": _setting("default_transaction_isolation", "serializable"),
        **_network("PostgreSQL"),
    },
    "sqlite": {"SQLite locked": lock_sqlite},
}

# What a fault may run into when another one has hit the same service just before.
AWAY = (redis.RedisError, psycopg.OperationalError, ProcessLookupError)
