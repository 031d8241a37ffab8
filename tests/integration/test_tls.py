"""TLS to Redis, to PostgreSQL and to the HTTP front, with certificates that the tests make."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from broker import lanes
from broker.client import open_broker
from core.domain.api_key import ApiKey
from core.domain.batch import Lane
from core.errors import SettingsInvalid
from core.settings import load
from db.engine import open_engine
from db.session import reading
from producer.web.rate_limits import RateLimits
from tests.factories import NOW
from tests.tls import Authority, fronting
from tests.waiting import wait_for


@pytest.fixture
def ca(tmp_path):
    """A CA, trusted where it is named."""
    return Authority(tmp_path)


KEY = ApiKey(1, "site", 1, frozenset(), NOW, None, None)
FAULTS = {
    "expired": "its certificate has expired",
    "another host": "its certificate is for another host: ",
    "another CA": "its certificate is from a CA that is not trusted here: ",
}


@pytest.fixture(params=FAULTS)
def bad(request, ca, tmp_path):
    """A certificate that must be refused, and the message about it."""
    pair = {
        "expired": lambda: ca.issue(days=(-9, -2)),
        "another host": lambda: ca.issue("redis.example"),
        "another CA": lambda: Authority(tmp_path, "other").issue(),
    }[request.param]()
    return pair, FAULTS[request.param]


@pytest.fixture
def run(home):
    """Run a command with these settings; return its exit status and its output."""

    def run(*words, **settings):
        environment = {f"ANSWERMILL_{name.upper()}": str(value) for name, value in settings.items()}
        done = subprocess.run(
            [sys.executable, "-m", "stack", *words],
            env={**os.environ, "ANSWERMILL_HOME": str(home), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()

    return run


def redis_settings(port, sqlite_url, **files):
    return load.load(database_url=sqlite_url, broker_url=f"rediss://127.0.0.1:{port}/0", **files)


def waiting(settings):
    with open_broker(settings) as client:
        return lanes.waiting(client, Lane.BULK, settings)


def test_redis_is_spoken_to_by_tls(ca, redis_server, redis_url, sqlite_url):  # noqa: ARG001 - empties it
    with fronting(redis_server, ca.issue()) as port:
        settings = redis_settings(port, sqlite_url, broker_ca=ca.file)
        assert waiting(settings) == 0
        rates = RateLimits(settings.model_copy(update={"web_rate": 1}))
        assert rates.wait_seconds(KEY) == 0
        assert rates.wait_seconds(KEY) > 0  # it would be 0 if Redis were unavailable


def test_redis_may_want_a_certificate_of_ours(ca, redis_server, sqlite_url, tmp_path):
    ours = Authority(tmp_path, "ours")
    mine = ours.issue("answermill")
    with fronting(redis_server, ca.issue(), clients=ours.file) as port:
        shown = {"broker_cert": mine.cert, "broker_key": mine.key}
        assert waiting(redis_settings(port, sqlite_url, broker_ca=ca.file, **shown)) == 0
    # Another address: Celery would take a connection of the first one's.
    with (
        fronting(redis_server, ca.issue(), clients=ours.file) as port,
        pytest.raises(lanes.BrokerUnavailable, match=r"certificate|closed|reset"),
    ):
        waiting(redis_settings(port, sqlite_url, broker_ca=ca.file))


def test_a_redis_without_the_right_certificate_is_refused_in_one_line(
    bad, ca, redis_server, sqlite_url, run
):
    pair, message = bad
    with fronting(redis_server, pair) as port:
        url = f"rediss://:secret@127.0.0.1:{port}/0"
        status, lines = run(
            "ask", "Where?", database_url=sqlite_url, broker_url=url, broker_ca=ca.file
        )
    assert status == 3
    (line,) = lines
    assert line.startswith(f"answermill: Redis rediss://:***@127.0.0.1:{port}/0: {message}")


def test_a_redis_without_tls_is_reported(sqlite_url, ca):
    with socket.create_server(("127.0.0.1", 0)) as plain, answering_in_clear(plain):
        settings = redis_settings(plain.getsockname()[1], sqlite_url, broker_ca=ca.file)
        with pytest.raises(lanes.BrokerUnavailable, match="it does not speak TLS"):
            waiting(settings)


@contextmanager
def answering_in_clear(listener):
    def serve():
        try:
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(100)
                    client.sendall(b"-ERR unknown command\r\n")
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def postgres_address(postgres_url):
    """The server's socket, and the URL of a database at a port on loopback."""
    url = sa.make_url(postgres_url)
    folder = url.query["host"]

    def at(port, **query):
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://postgres@127.0.0.1:{port}/{url.database}?{parameters}"

    return f"{folder}/.s.PGSQL.5432", at


def test_postgresql_is_connected_to_over_tls(ca, postgres_address):
    backend, at = postgres_address
    with fronting(backend, ca.issue(), postgres=True) as port:
        url = at(port, sslmode="verify-full", sslrootcert=ca.file)
        engine = open_engine(load.load(database_url=url))
        with reading(engine) as conn:
            assert conn.connection.driver_connection.pgconn.ssl_in_use
            assert conn.scalar(sa.text("SELECT count(*) FROM batches")) == 0
        engine.dispose()


def test_a_postgresql_without_the_right_certificate_is_refused_in_one_line(
    bad, ca, postgres_address, run
):
    pair, message = bad
    backend, at = postgres_address
    with fronting(backend, pair, postgres=True) as port:
        url = at(port, sslmode="verify-full", sslrootcert=ca.file)
        status, lines = run("status", database_url=url)
    assert status == 3
    (line,) = lines
    assert line.startswith(f"answermill: database postgresql+psycopg://postgres@127.0.0.1:{port}/")
    message = "does not match host name" if "another host" in message else message
    assert message in line


@contextmanager
def front(sqlite_url, redis_url, home, pair):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "ANSWERMILL_HOME": str(home),
        "ANSWERMILL_DATABASE_URL": sqlite_url,
        "ANSWERMILL_BROKER_URL": redis_url,
        "ANSWERMILL_WEB_CERT": str(pair.cert),
        "ANSWERMILL_WEB_KEY": str(pair.key),
        "ANSWERMILL_WEB_PROCESSES": "1",
    }
    words = [sys.executable, "-m", "stack", "web", "--port", str(port)]
    with subprocess.Popen(words, env={**os.environ, **environment}) as process:
        try:
            yield port
        finally:
            process.terminate()
    assert process.returncode == 0


def test_the_http_front_speaks_tls_alone(ca, sqlite_url, redis_url, home):
    with front(sqlite_url, redis_url, home, ca.issue()) as port:
        trusting = ssl.create_default_context(cafile=ca.file)
        url = f"https://127.0.0.1:{port}/v1/health"

        def serves():
            try:
                return httpx.get(url, verify=trusting).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(serves, 60)
        response = httpx.get(url, verify=trusting)
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        with pytest.raises(httpx.TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(url)
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http"))


def test_a_file_that_is_not_a_certificate_is_reported_in_one_line(
    ca, sqlite_url, redis_url, run, tmp_path
):
    urls = {"database_url": sqlite_url, "broker_url": redis_url}
    mine, other = ca.issue(), ca.issue("other.example")
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    for setting, files in {
        "WEB_CERT": {"web_cert": mine.cert, "web_key": other.key},
        "WEB_KEY": {"web_key": mine.key},
        "BROKER_CA": {"broker_ca": no_pem, "broker_url": "rediss://127.0.0.1:1/0"},
        "BROKER_CERT": {"broker_cert": no_pem, "broker_url": "rediss://127.0.0.1:1/0"},
    }.items():
        status, lines = run("web", **urls | files)
        assert (status, len(lines)) == (2, 1), lines
        assert lines[0].startswith(f"answermill: ANSWERMILL_{setting}: ")
    with pytest.raises(SettingsInvalid, match=r"ANSWERMILL_WEB_CERT: .*gone.pem cannot be read"):
        load.load(web_cert=tmp_path / "gone.pem")


def test_checking_certificates_cannot_be_turned_off():
    with pytest.raises(SettingsInvalid, match="cannot be turned off"):
        load.load(broker_url="rediss://redis/0?ssl_cert_reqs=none")
