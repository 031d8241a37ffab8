"""The same work for other queues, as their users would write it.

There is one task for each question, which inserts one row and commits. Each queue has two workers
or threads, as there are two cores. Runs in environments of its own (benchmarks/peers.txt and
benchmarks/peers-arq.txt). Not covered: any code of Answermill.

    PEER_SOCKET=… PEER_DATABASE=… python _peers.py PEER COUNT
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

TEXT = "Hello, I ordered a blue jacket last week and it still shows processing, number {}, why?"
ANSWER = "Open “My orders” and choose the parcel: the map shows where it is."
INSERT = "INSERT INTO peer_results VALUES (%s, %s, %s)"
GIVE_UP_SECONDS = 120
SOCKET, DATABASE = os.environ.get("PEER_SOCKET", ""), os.environ.get("PEER_DATABASE", "")
BIN = Path(sys.executable).parent
PROCESSES = "2"

_own = threading.local()


def answer(position: int, text: str) -> None:
    """Insert the row of one question."""
    if not hasattr(_own, "connection"):
        _own.connection = psycopg.connect(DATABASE, autocommit=True)
    _own.connection.execute(INSERT, (position, text[:20], ANSWER))


def celery_app() -> Any:  # noqa: ANN401 - the peer's own
    from celery import Celery

    app = Celery("peers", broker=f"redis+socket://{SOCKET}")
    app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
    app.task(name="answer")(answer)
    return app


def dramatiq_actor() -> Any:  # noqa: ANN401 - the peer's own
    import dramatiq
    import redis
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(client=redis.Redis(unix_socket_path=SOCKET)))
    return dramatiq.actor(answer, actor_name="answer")


def huey_app() -> tuple[Any, Any]:
    from huey import RedisHuey

    app = RedisHuey("peers", url=f"unix://{SOCKET}", results=False)
    return app, app.task(name="answer")(answer)


def arq_settings() -> Any:  # noqa: ANN401 - the peer's own
    from arq import func
    from arq.connections import RedisSettings
    from psycopg_pool import AsyncConnectionPool

    async def start(context: dict[str, Any]) -> None:
        context["pool"] = AsyncConnectionPool(DATABASE, open=False, kwargs={"autocommit": True})
        await context["pool"].open(wait=True)

    async def answer_async(context: dict[str, Any], position: int, text: str) -> None:
        async with context["pool"].connection() as connection:
            await connection.execute(INSERT, (position, text[:20], ANSWER))

    class Settings:
        functions = (func(answer_async, name="answer", keep_result=0),)
        on_startup = start
        redis_settings = RedisSettings(unix_socket_path=SOCKET)

    return Settings


def procrastinate_app(connector: str) -> Any:  # noqa: ANN401 - the peer's own
    import procrastinate

    app = procrastinate.App(connector=getattr(procrastinate, connector)(conninfo=DATABASE))
    app.task(name="answer")(answer)
    return app


if SOCKET and "celery" in sys.argv[0]:
    app = celery_app()
elif SOCKET and "dramatiq" in sys.argv[0]:
    actor = dramatiq_actor()
elif SOCKET and sys.argv[0].endswith("arq"):
    arq = arq_settings()
elif SOCKET and "huey_consumer" in sys.argv[0]:
    huey, _ = huey_app()
elif SOCKET and "procrastinate" in sys.argv[0]:
    procrastinate = procrastinate_app("PsycopgConnector")


def send_celery(count: int) -> None:
    task = celery_app().tasks["answer"]
    for n in range(count):
        task.delay(n, TEXT.format(n))


def send_dramatiq(count: int) -> None:
    actor = dramatiq_actor()
    for n in range(count):
        actor.send(n, TEXT.format(n))


def send_huey(count: int) -> None:
    # Huey names tasks by module, and this module is `__main__` here.
    from _peers import huey_app as imported

    _, task = imported()
    for n in range(count):
        task(n, TEXT.format(n))


def send_arq(count: int) -> None:
    from arq import create_pool

    async def send() -> None:
        pool = await create_pool(arq_settings().redis_settings)
        for n in range(count):
            await pool.enqueue_job("answer", n, TEXT.format(n))

    asyncio.run(send())


def send_rq(count: int) -> None:
    import redis
    import rq

    queue = rq.Queue(connection=redis.Redis(unix_socket_path=SOCKET))
    for n in range(count):
        queue.enqueue("_peers.answer", n, TEXT.format(n), result_ttl=0)


def send_procrastinate(count: int) -> None:
    app = procrastinate_app("SyncPsycopgConnector")
    with app.open():
        defer = app.configure_task("answer")
        defer.batch_defer(*({"position": n, "text": TEXT.format(n)} for n in range(count)))


def tool(name: str, *words: str) -> list[str]:
    return [str(BIN / name), *words]


Peer = tuple[Callable[[int], None], list[list[str]]]
PEERS: dict[str, Peer] = {
    "Celery": (
        send_celery,
        [tool("celery", "-A", "_peers", "worker", "-c", PROCESSES, "-l", "error")],
    ),
    "RQ": (
        send_rq,
        [tool("rq", "worker", "-u", f"unix://{SOCKET}", "-w", "rq.SimpleWorker", "-q")] * 2,
    ),
    "Dramatiq": (
        send_dramatiq,
        [tool("dramatiq", "_peers", "-p", PROCESSES, "-t", "4")],
    ),
    "Huey": (
        send_huey,
        [tool("huey_consumer", "_peers.huey", "-w", PROCESSES, "-k", "process", "-q")],
    ),
    "arq": (send_arq, [tool("arq", "_peers.arq")] * 2),
    "Procrastinate": (
        send_procrastinate,
        [tool("procrastinate", "-a", "_peers.procrastinate", "worker", "-c", "4")],
    ),
}


@contextmanager
def running(commands: list[list[str]]) -> Iterator[None]:
    """Run the peer's workers and give them five seconds to start."""
    quiet = subprocess.DEVNULL
    started = [subprocess.Popen(command, stdout=quiet, stderr=quiet) for command in commands]
    try:
        time.sleep(5)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main(name: str, count: int) -> None:
    """Print the questions/s from the first task sent to the last row."""
    send, commands = PEERS[name]
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS peer_results")
        connection.execute("CREATE TABLE peer_results (id int PRIMARY KEY, key text, answer text)")
        if name == "Procrastinate":
            schema = tool("procrastinate", "-a", "_peers.procrastinate", "schema", "--apply")
            subprocess.run(schema, check=True, stdout=subprocess.DEVNULL)
        with running(commands):
            started = time.perf_counter()
            send(count)
            while True:
                (done,) = connection.execute("SELECT count(*) FROM peer_results").fetchone() or (0,)
                if done == count:
                    break
                if time.perf_counter() - started > GIVE_UP_SECONDS:
                    sys.exit(f"{name}: {done} of {count} rows after {GIVE_UP_SECONDS} s")
                time.sleep(0.05)
            print(count / (time.perf_counter() - started))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
