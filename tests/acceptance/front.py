"""The HTTP front of a mill, started as its users start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx

from tests.acceptance.mill import Mill
from tests.waiting import wait_for


@contextmanager
def serving(mill: Mill, *scopes: str) -> Iterator[tuple[str, str]]:
    """Serve; hand over the address and a key with these scopes; see that nothing went wrong."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = mill.home / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack", "web", "--port", str(port)],
            env={**os.environ, **mill.environment},
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _serves(address), 60, log.read_text)
        key = mill.run("keys", "create", "site", *(f"--scope={scope}" for scope in scopes))
        assert key.returncode == 0, key.stderr
        yield address, key.stdout.strip()
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 0
    assert "request failed" not in log.read_text()


def _serves(address: str) -> bool:
    try:
        return httpx.get(f"{address}/v1/health").status_code == 200
    except httpx.TransportError:
        return False
