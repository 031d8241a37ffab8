"""gunicorn, started from Python: processes with threads, each with its own connections.

Slow clients hold a thread each: where strangers can reach it, put a proxy that reads whole
requests in front.
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
from producer.connections import both
from producer.web import problems
from producer.web.app import create_app
from producer.web.context import install_context
from producer.webhooks.delivery import WebhookContext, WebhookDeliveryLoop

if TYPE_CHECKING:
    from flask import Flask

_GRACE_SECONDS = 35  # longer than anybody may wait for an answer
_SILENT_SECONDS = 60  # after which a process that hangs is replaced
_READ_SECONDS, _SEND_SECONDS = 20, 60  # without a byte, before a connection is dropped
_LARGE = 5  # digits of a body's length
_BACKLOG = 512  # connections that wait to be accepted


def serve(settings: Settings, host: str) -> None:
    """Serve until stopped.

    Raises:
        SettingsInvalid: the port can't be had.
        SchemaMissing: the database lacks our tables.
        DatabaseUnavailable: it can't be reached.
        KeyMissing: what it holds is encrypted with a key that is not here.
    """
    _check_pair(settings)
    _check_services(settings)
    _check_free(host, settings.web_port)
    _Server(settings, host).run()


def _check_services(settings: Settings) -> None:
    # Each process opens its own. Redis may be away, as long as what is set for it will do.
    with both(settings) as (engine, _), reading(engine) as conn:
        results.check_key(conn)


def _check_pair(settings: Settings) -> None:
    if settings.web_cert is not None:
        _context(settings.web_cert, settings.web_key)
    elif settings.web_key is not None:
        raise SettingsInvalid(["ANSWERMILL_WEB_KEY: a key without ANSWERMILL_WEB_CERT"])


def _context(cert: Path, key: Path | None) -> ssl.SSLContext:
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
            **self._tls(),
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
            "post_worker_init": lambda _worker: _configure_logs(settings),
            "pre_request": _close_after_large,
            "when_ready": _limit_silence,
        }

    def _tls(self) -> dict[str, Any]:
        cert, key = self._settings.web_cert, self._settings.web_key
        if cert is None:
            return {}
        # gunicorn asks for a context with each connection.
        context = _context(cert, key)
        return {
            "certfile": str(cert),
            "keyfile": None if key is None else str(key),
            "ssl_context": lambda _config, _default: context,
        }

    def load(self) -> Flask:
        """Build the app in the process that serves it."""
        settings = self._settings
        engine = open_engine(settings)
        app = create_app(install_context(settings, engine, open_broker(settings)))
        if settings.signing_keys:
            WebhookDeliveryLoop(WebhookContext(engine, settings, DatabaseClock(engine))).start()
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


def _close_after_large(_worker: Any, request: Any) -> None:  # noqa: ANN401 - gunicorn's
    # It would drop the connection without a word when a large body was not read to its end.
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and len(value) >= _LARGE):
            request.force_close()


def _configure_logs(settings: Settings) -> None:
    logging_setup.configure(settings)
    logging.getLogger("gunicorn.error").addFilter(_without_content)


def _without_content(record: logging.LogRecord) -> bool:
    # It quotes what it can't read, which may be a question; and it traces back each caller that
    # falls silent, so that whoever likes could fill the log.
    kind = record.exc_info[0] if record.exc_info else None
    if isinstance(record.msg, str) and record.msg.startswith("Invalid request"):
        record.msg = record.msg.partition(": ")[0]
    return kind is None or not issubclass(kind, BlockingIOError)
