"""The gunicorn server: processes with threads and own connections.

Each slow client occupies a thread. On a public network, run it behind a proxy that buffers
whole requests.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import NoMoreData, ParseException

from broker.client import open_broker
from core import logging_setup, tls
from core.errors import SettingsInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import results
from db.session import reading
from producer.connections import producer_context
from producer.web import problems
from producer.web.app import create_app
from producer.web.context import build_context
from producer.webhooks.delivery import WebhookContext, WebhookDeliveryLoop

if TYPE_CHECKING:
    from flask import Flask

_GRACE_SECONDS = 35  # for running requests at a shutdown; longer than the longest `wait`
_HANG_SECONDS = 60  # without a heartbeat, until a process is replaced
_READ_SECONDS, _SEND_SECONDS = 20, 60  # without a byte, until a connection is closed
_LARGE = 5  # digits of the length of a large body: 10,000 bytes or more
_BACKLOG = 512  # connections that wait to be accepted


def serve(settings: Settings, host: str) -> None:
    """Serve until stopped.

    Raises:
        SettingsInvalid: the port is not available, or the TLS files are invalid.
        SchemaMissing: the database does not have the tables.
        DatabaseUnavailable: the database is unavailable.
        KeyMissing: stored texts are encrypted with a key that is not set.
    """
    _check_pair(settings)
    _check_services(settings)
    _check_free(host, settings.web_port)
    _Server(settings, host).run()


def _check_services(settings: Settings) -> None:
    # Each process opens its own connections. Redis may be unavailable if its settings are valid.
    with producer_context(settings) as context, reading(context.engine) as conn:
        results.check_key(conn)


def _check_pair(settings: Settings) -> None:
    if settings.web_cert is not None:
        _tls_context(settings.web_cert, settings.web_key)
    elif settings.web_key is not None:
        raise SettingsInvalid(["ANSWERMILL_WEB_KEY: set without ANSWERMILL_WEB_CERT; set both"])


def _tls_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = tls.OLDEST
    tls.load_pair(context, cert, key, "WEB")
    return context


def _check_free(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        fault = f"cannot listen on {host}:{port}: {cause}; use another --port or --host"
        raise SettingsInvalid([f"ANSWERMILL_WEB_PORT: {fault}"]) from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The gunicorn application that serves the Flask app."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings, self._host = settings, host
        super().__init__()

    def load_config(self) -> None:
        """Set the options that differ from gunicorn's defaults."""
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        host = f"[{self._host}]" if ":" in self._host else self._host
        return {
            **self._tls(),
            "bind": [f"{host}:{settings.web_port}"],
            "workers": settings.web_processes,
            "worker_class": "gthread",
            "threads": settings.web_threads,
            "worker_connections": 2 * settings.web_threads,
            "backlog": _BACKLOG,
            "timeout": _HANG_SECONDS,
            "graceful_timeout": _GRACE_SECONDS,
            "keepalive": 5,
            "limit_request_line": 4_094,
            "limit_request_fields": 50,
            "limit_request_field_size": 4_096,
            "worker_tmp_dir": None,
            "loglevel": settings.log_level,
            "proc_name": "answermill-web",
            "control_socket_disable": True,
            "post_worker_init": lambda _worker: _configure_logs(settings),
            "pre_request": _close_after_large,
            "when_ready": _set_socket_timeouts,
        }

    def _tls(self) -> dict[str, Any]:
        cert, key = self._settings.web_cert, self._settings.web_key
        if cert is None:
            return {}
        # gunicorn calls `ssl_context` for each connection: load the files only once.
        context = _tls_context(cert, key)
        return {
            "certfile": str(cert),
            "keyfile": None if key is None else str(key),
            "ssl_context": lambda _config, _default: context,
        }

    def load(self) -> Flask:
        """Build the app in the process that serves it."""
        settings = self._settings
        engine = open_engine(settings)
        app = create_app(build_context(settings, engine, open_broker(settings)))
        if settings.signing_keys:
            WebhookDeliveryLoop(WebhookContext(engine, settings, DatabaseClock(engine))).start()
        for error in (ParseException, NoMoreData):
            app.register_error_handler(error, problems.cut_off)
        return app


def _set_socket_timeouts(server: Any) -> None:  # noqa: ANN401 - gunicorn's Arbiter
    # Accepted connections inherit the options: an idle peer times out.
    for listener in server.LISTENERS:
        for option, seconds in (
            (socket.SO_RCVTIMEO, _READ_SECONDS),
            (socket.SO_SNDTIMEO, _SEND_SECONDS),
        ):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def _close_after_large(_worker: Any, request: Any) -> None:  # noqa: ANN401 - gunicorn's
    # If a large body was not read to its end, gunicorn drops the connection without notice.
    # `Connection: close` announces it to the client.
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and len(value) >= _LARGE):
            request.force_close()


def _configure_logs(settings: Settings) -> None:
    logging_setup.configure(settings)
    logging.getLogger("gunicorn.error").addFilter(_without_content)


def _without_content(record: logging.LogRecord) -> bool:
    # gunicorn quotes an unreadable request, which may contain a question. It also logs a
    # traceback for each client that times out, so any client could fill the log.
    kind = record.exc_info[0] if record.exc_info else None
    if isinstance(record.msg, str) and record.msg.startswith("Invalid request"):
        record.msg = record.msg.partition(": ")[0]
    return kind is None or not issubclass(kind, BlockingIOError)
