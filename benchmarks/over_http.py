"""What does HTTP add to a question, and what does a large upload take?

Measures, on PostgreSQL: single questions that wait for their answer, one after the other over one
connection, with a model that answers at once; and an upload of a CSV file, the time until it is
stored and the most memory that any process of the front had. Favours us: client and front are on
one machine, and the connection is open. Against us: everything shares two cores.

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
_ROWS = 2_000  # of an upload that go out together


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--upload", type=int, default=1_000_000)
    options = parser.parse_args()
    with _mill.surroundings() as settings, front(settings) as (port, process):
        key = make_key()
        with _mill.workers(settings):
            took = asked(port, key, options.questions)
        before = memory(process)
        seconds = uploaded(port, key, options.upload)
        after = memory(process)
    p50, p99, worst = at(took)
    rows = [
        ["one question, p50; p99; longest", f"{p50:.1f}; {p99:.1f}; {worst:.1f} ms"],
        [
            f"upload of {options.upload:,}",
            f"{seconds:.1f} s, {options.upload / seconds:,.0f} a second",
        ],
        ["memory of the front's largest process", f"{before} MB before, {after} MB after"],
    ]
    _mill.tell("over HTTP", ["", "measured"], rows)
    _mill.tell_json(
        "over_http",
        questions=options.questions,
        p50_ms=round(p50, 1),
        p99_ms=round(p99, 1),
        upload=options.upload,
        upload_seconds=round(seconds, 1),
        memory_mb_before=before,
        memory_mb_after=after,
    )


@contextmanager
def front(settings: Settings) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the HTTP front; yield its port and its parent process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = settings.home / "web.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "stack", "web", "--port", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until = time.monotonic() + _START_SECONDS
        while not _serves(port):
            if time.monotonic() > until:
                sys.exit(f"not there within {_START_SECONDS} s: {log.read_text()}")
            time.sleep(0.1)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _serves(port: int) -> bool:
    line = http.client.HTTPConnection("127.0.0.1", port)
    try:
        return _request(line, "GET", "/v1/health")[0] == http.client.OK
    except OSError:
        return False


def make_key() -> str:
    """Return a key that may submit."""
    words = [sys.executable, "-m", "stack", "keys", "create", "bench", "--scope", "submit"]
    made = subprocess.run(words, capture_output=True, check=True, encoding="utf-8")
    return made.stdout.strip()


def asked(port: int, key: str, count: int) -> list[float]:
    """Return the milliseconds that each question took, the first ones left out."""
    line = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    for n in range(count + 10):
        body = json.dumps({"question": f"Where is parcel {n}?"}).encode()
        started = time.perf_counter()
        status, told = _request(
            line, "POST", "/v1/questions?wait=30", key, body=body, kind="application/json"
        )
        took.append((time.perf_counter() - started) * 1000)
        if status != http.client.OK:
            sys.exit(f"{status}: {told!r}")
    return sorted(took[10:])


def uploaded(port: int, key: str, count: int) -> float:
    """Return the seconds until a file of so many questions was stored."""
    line = http.client.HTTPConnection("127.0.0.1", port)
    started = time.perf_counter()
    path = "/v1/batches?name=upload"
    status, told = _request(line, "POST", path, key, body=rows(count), kind="text/csv")
    if status != http.client.CREATED:
        sys.exit(f"{status}: {told!r}")
    return time.perf_counter() - started


def rows(count: int) -> Iterator[bytes]:
    """Yield a CSV file in parts."""
    yield b"key,question\n"
    for first in range(0, count, _ROWS):
        numbers = range(first, min(first + _ROWS, count))
        yield "".join(f"t-{n},Where is the parcel with number {n}?\n" for n in numbers).encode()


def _request(
    line: http.client.HTTPConnection,
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
    line.request(method, path, body, headers, encode_chunked=isinstance(body, Iterator))
    response = line.getresponse()
    return response.status, response.read()


def memory(process: subprocess.Popen[bytes]) -> int:
    """Return the most megabytes that any process of the front ever had."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return max(_peak(pid) for pid in [str(process.pid), *children])


def _peak(pid: str) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    main()
