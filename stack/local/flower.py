"""Flower's process, which shows queues and workers and changes nothing.

    python -m stack.local.flower [ADDRESS [PORT [FOLDER]]]

It keeps its state in FOLDER, if given. Outside of loopback it requires a password, because its
pages name batches and machines.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import sys

from broker.client import open_broker
from core import logging_setup
from core.console import call
from core.errors import SettingsInvalid
from core.settings.load import load
from core.settings.settings import Settings

_LOOPBACK = "127.0.0.1"
_NO_PORT = (errno.EACCES, errno.EADDRINUSE, errno.EADDRNOTAVAIL)


def main(address: str = _LOOPBACK, port: str = "", folder: str | None = None) -> None:
    """Serve until stopped.

    Raises:
        SettingsInvalid: it would be open without a password, or the port is not available.
    """
    settings = load()
    guard(settings, address)
    logging_setup.configure(settings)
    app = open_broker(settings)
    port = port or str(settings.flower_port)
    try:
        app.start(arguments(address, port, folder))
    except OSError as error:
        if error.errno not in _NO_PORT:
            raise
        fault = f"Flower cannot use port {port} of {address}: {os.strerror(error.errno)}"
        raise SettingsInvalid([f"ANSWERMILL_FLOWER_PORT: {fault}"]) from error


def arguments(address: str, port: str, folder: str | None) -> list[str]:
    """Return Flower's command line, which contains no secret."""
    words = [
        "flower",
        f"--address={address}",
        f"--port={port}",
        "--read-only=True",
        "--max-tasks=20000",
        "--purge-offline-workers=300",
    ]
    if folder is not None:
        words += ["--persistent=True", f"--db={folder}/flower", "--state-save-interval=60000"]
    return words


def guard(settings: Settings, address: str) -> None:
    """Let Flower ask for the password, if there is one.

    Raises:
        SettingsInvalid: there is none, and the address is not loopback; or it is no address.
    """
    if settings.flower_auth is not None:
        # Flower's own way in that other processes of the machine can't read.
        os.environ["FLOWER_BASIC_AUTH"] = settings.flower_auth.get_secret_value()
    elif not _is_loopback(address):
        fault = f"Flower serves {address} only with a password, as USER:PASSWORD"
        raise SettingsInvalid([f"ANSWERMILL_FLOWER_AUTH: {fault}"])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise SettingsInvalid([f"Flower's address: {address!r} is no IP address"]) from None


if __name__ == "__main__":
    sys.exit(call(main, *sys.argv[1:]))
