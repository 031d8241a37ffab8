"""gunicorn, started from Python: processes with threads, each with its own connections.

Slow clients hold a thread each: where strangers can reach it, put a proxy that reads whole
requests in front.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import NoMoreData, ParseException

from db import logs
from db.config import Settings
from db.errors import SettingsInvalid
from db.session import open_engine, prepare
from producer.broker import open_broker
from producer.web import problems
from producer.web.app import create_app
from producer.web.surroundings import surround

if TYPE_CHECKING:
    from flask import Flask

_GRACE_SECONDS = 35  # longer than anybody may wait for an answer
_SILENT_SECONDS = 60  # after which a process that hangs is replaced
_READ_SECONDS, _SEND_SECONDS = 20, 60  # without a byte, before a connection is dropped
_BACKLOG = 512  # connections that wait to be accepted


def serve(settings: Settings, host: str) -> None:
    """Serve until stopped.

    Raises:
        SettingsInvalid: the port can't be had.
        SchemaMissing: the database lacks our tables.
        DatabaseAway: it can't be reached.
    """
    prepare(settings).dispose()  # each process opens its own
    _check_free(host, settings.web_port)
    _Server(settings, host).run()


def _check_free(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        fault = f"{host}:{port} can't be had: {(error.strerror or str(error)).lower()}"
        raise SettingsInvalid([f"ANSWERMILL_WEB_PORT: {fault}"]) from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Our app under gunicorn."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings, self._host = settings, host
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's own defaults."""
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        host = f"[{self._host}]" if ":" in self._host else self._host
        return {
            "bind": [f"{host}:{settings.web_port}"],
            "workers": settings.web_processes,
            "worker_class": "gthread",
            "threads": settings.web_threads,
            "worker_connections": 2 * settings.web_threads,
            "backlog": _BACKLOG,
            "timeout": _SILENT_SECONDS,
            "graceful_timeout": _GRACE_SECONDS,
            "keepalive": 5,
            "limit_request_line": 4_094,
            "limit_request_fields": 50,
            "limit_request_field_size": 4_096,
            "worker_tmp_dir": None,
            "loglevel": settings.log_level,
            "proc_name": "answermill-web",
            "control_socket_disable": True,
            "post_worker_init": lambda _worker: logs.configure(settings),
            "when_ready": _limit_silence,
        }

    def load(self) -> Flask:
        """Build the app in the process that serves it."""
        settings = self._settings
        app = create_app(surround(settings, open_engine(settings), open_broker(settings)))
        for broken in (ParseException, NoMoreData):
            app.register_error_handler(broken, problems.cut_off)
        return app


def _limit_silence(server: Any) -> None:  # noqa: ANN401 - gunicorn's Arbiter
    # Accepted connections inherit it: who sends or takes nothing for so long is dropped.
    for listener in server.LISTENERS:
        for option, seconds in (
            (socket.SO_RCVTIMEO, _READ_SECONDS),
            (socket.SO_SNDTIMEO, _SEND_SECONDS),
        ):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))
