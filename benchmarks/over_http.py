"""Latency that HTTP adds to a question, and the cost of a large upload.

Measures, on PostgreSQL: single questions that wait for their answer, one after the other over one
connection, with a model that answers at once; and an upload of a CSV file, its time until it is
stored and the peak memory of the front's processes. Favors us: client and front are on one machine,
and the connection is open. Against us: everything shares two cores.

    python benchmarks/over_http.py [--questions 200] [--upload 1000000]
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _mill
from latency import at

from core.settings.settings import Settings

_START_SECONDS = 60
_ROWS = 2_000  # of an upload in one chunk
_WARM = 10  # questions before the measured ones


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--upload", type=int, default=1_000_000)
    options = parser.parse_args()
    with _mill.services() as settings, front(settings) as (port, process):
        key = make_key()
        with _mill.workers(settings):
            milliseconds = ask_all(port, key, options.questions)
        before = memory(process)
        seconds = upload(port, key, options.upload)
        after = memory(process)
    report(options, milliseconds, seconds, (before, after))


def report(
    options: argparse.Namespace,
    milliseconds: list[float],
    seconds: float,
    megabytes: tuple[int, int],
) -> None:
    p50, p99, worst = at(milliseconds)
    rate = options.upload / seconds
    rows = [
        ["one question, p50; p99; longest", f"{p50:.1f}; {p99:.1f}; {worst:.1f} ms"],
        [f"upload of {options.upload:,}", f"{seconds:.1f} s, {rate:,.0f} questions/s"],
        [
            "memory of the front's largest process",
            f"{megabytes[0]} MB before, {megabytes[1]} MB after",
        ],
    ]
    _mill.print_table("over HTTP", ["step", "measured"], rows)
    _mill.print_json(
        "over_http",
        questions=options.questions,
        p50_ms=round(p50, 1),
        p99_ms=round(p99, 1),
        upload=options.upload,
        upload_seconds=round(seconds, 1),
        memory_mb_before=megabytes[0],
        memory_mb_after=megabytes[1],
    )


@contextmanager
def front(settings: Settings) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the HTTP front.

    Yields its port and its parent process.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = settings.home / "web.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "stack", "web", "--port", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _serves(port):
            if time.monotonic() > deadline:
                sys.exit(f"no HTTP front within {_START_SECONDS} s: {log.read_text()}")
            time.sleep(0.1)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _serves(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        return _request(connection, "GET", "/v1/health")[0] == http.client.OK
    except OSError:
        return False


def make_key() -> str:
    """Create an API key with the scope `submit` and return it."""
    words = [sys.executable, "-m", "stack", "keys", "create", "bench", "--scope", "submit"]
    created = subprocess.run(words, capture_output=True, check=True, encoding="utf-8")
    return created.stdout.strip()


def ask_all(port: int, key: str, count: int) -> list[float]:
    """Return the sorted milliseconds of each question, without the first ten."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    milliseconds = []
    for number in range(count + _WARM):
        body = json.dumps({"question": f"Where is parcel {number}?"}).encode()
        started = time.perf_counter()
        status, content = _request(
            connection, "POST", "/v1/questions?wait=30", key, body=body, kind="application/json"
        )
        milliseconds.append((time.perf_counter() - started) * 1000)
        if status != http.client.OK:
            sys.exit(f"{status}: {content!r}")
    return sorted(milliseconds[_WARM:])


def upload(port: int, key: str, count: int) -> float:
    """Upload a file of `count` questions and return the seconds it took."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    started = time.perf_counter()
    path = "/v1/batches?name=upload"
    status, content = _request(connection, "POST", path, key, body=rows(count), kind="text/csv")
    if status != http.client.CREATED:
        sys.exit(f"{status}: {content!r}")
    return time.perf_counter() - started


def rows(count: int) -> Iterator[bytes]:
    """Yield a CSV file in chunks."""
    yield b"key,question\n"
    for first in range(0, count, _ROWS):
        numbers = range(first, min(first + _ROWS, count))
        yield "".join(f"t-{n},Where is the parcel with number {n}?\n" for n in numbers).encode()


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    key: str | None = None,
    *,
    body: bytes | Iterator[bytes] | None = None,
    kind: str | None = None,
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if kind:
        headers["Content-Type"] = kind
    connection.request(method, path, body, headers, encode_chunked=isinstance(body, Iterator))
    response = connection.getresponse()
    return response.status, response.read()


def memory(process: subprocess.Popen[bytes]) -> int:
    """Return the peak megabytes of the largest process of the front."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return max(_peak(pid) for pid in [str(process.pid), *children])


def _peak(pid: str) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    main()
