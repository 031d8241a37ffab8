"""Flower's process: knows the queues, changes nothing, listens where it is told."""

from __future__ import annotations

import sys

from db import logs
from db.config import load
from producer.broker import open_broker


def main(address: str, port: str) -> None:
    """Serve until stopped."""
    settings = load()
    logs.configure(settings)
    app = open_broker(settings)
    app.start(
        [
            "flower",
            f"--address={address}",
            f"--port={port}",
            "--read-only=True",
            "--max-tasks=20000",
            "--purge-offline-workers=300",
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
