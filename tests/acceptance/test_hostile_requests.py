"""Requests that mean harm: none makes the HTTP front fail, and it serves others meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import time
from urllib.parse import quote, urlsplit

import httpx2 as httpx
import pytest

from tests.acceptance.front import serving

EVIL = [
    "' OR '1'='1",
    "1; DROP TABLE batches; --",
    '" UNION SELECT digest FROM api_keys --',
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "{% include '/etc/passwd' %}",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "\0",
    "a\r\nSet-Cookie: x=y",
    "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
    "\N{ARABIC-INDIC DIGIT THREE}",
    "9" * 400,
    "-1",
    "1e999",
    "NaN",
    "true",
    "null",
    "[]",
    "x" * 3_000,
    "\N{GRINNING FACE}" * 200,
    "<script>alert(1)</script>",
    "http://169.254.169.254/latest/meta-data/",
]
PATHS = [
    "/v1/batches/{}",
    "/v1/batches/{}/results",
    "/v1/batches/{}/results/download",
    "/v1/batches/{}/cancel",
    "/v1/batches/{}/retry",
    "/v1/batches/{}/seal",
    "/v1/batches/{}/questions",
    "/v1/questions/{}",
    "/openai/v1/files/{}",
    "/openai/v1/files/{}/content",
    "/openai/v1/batches/{}",
    "/openai/v1/batches/{}/cancel",
    "/v1/docs/{}",
    "/v1/docs/static/{}",
    "/{}",
]
NAMES = ["name", "lane", "text", "key", "since", "limit", "status", "format", "after", "before"]
BODIES = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"questions":' + b"[" * 50_000,
    b'{"question": ' + b"9" * 10_000 + b"}",
    b'{"question": NaN}',
    b'{"question": "\xff\xfe"}',
    b'{"question": "\\ud800"}',
    b'{"question": {"$gt": ""}}',
    b'{"question": "a", "question": ["b"]}',
    '{"question": "Why?"}'.encode("utf-16"),
    b"\x1f\x8b" + bytes(200),
    b"PAR1" + bytes(100) + b"PAR1",
    b'question\n"' + b"a" * 100_000,
    b"question,question\nx,y\n",
    b"key,question\n" + b"k,v\n" * 1_000,
    json.dumps({"questions": [{"question": evil, "key": evil} for evil in EVIL]}).encode(),
]
TYPES = [
    "application/json",
    "application/json; charset=utf-7",
    "text/csv",
    "application/jsonl",
    "application/vnd.apache.parquet",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "",
]
RAW = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /v1/health\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 100 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"GET http://other.example/v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //v1//health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/%zz%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"TRACE /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\n\r\n",
    b"GET /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
]
MARK = b"my-card-number-is-17"
LENGTHS = [
    b"Content-Length: -5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 1000",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Expect: 100-continue\r\nContent-Length: 2",
]


@pytest.fixture
def front(mill):
    with serving(mill, "submit", "read", "desk", "admin") as front:
        yield front


def _calls(seed: int, count: int):
    chosen = random.Random(seed)  # noqa: S311 - a sequence that a seed repeats
    for _ in range(count):
        path = chosen.choice(PATHS).format(
            quote(chosen.choice(EVIL), safe=chosen.choice(["", "/"]))
        )
        if chosen.random() < 0.4:
            path = chosen.choice(["/v1/batches", "/v1/questions", "/openai/v1/batches"])
        query = {chosen.choice(NAMES): chosen.choice(EVIL) for _ in range(chosen.randrange(3))}
        headers = {"Content-Type": chosen.choice(TYPES)}
        if chosen.random() < 0.3:
            headers["Idempotency-Key"] = quote(chosen.choice(EVIL))[:1_000]
        method = chosen.choice(["GET", "POST", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
        if path == "/v1/questions":
            query["wait"] = "0"
        yield method, path, query, headers, chosen.choice(BODIES)


def test_no_request_makes_it_fail(front):
    address, key = front
    calls = {}
    with httpx.Client(base_url=address, timeout=60) as http:
        for method, path, query, headers, body in _calls(seed=1, count=400):
            headers["Authorization"] = f"Bearer {key}"
            response = http.request(method, path, params=query, headers=headers, content=body)
            calls.setdefault(response.status_code, []).append((method, path, query, headers))
        assert not [made for status, made in calls.items() if status >= 500], calls
        assert {404, 405, 415, 422} <= set(calls)
        assert http.get("/v1/health").status_code == 200


def test_no_broken_bytes_make_it_fail_or_log_their_content(front, mill):
    address, key = front
    post = (
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nAuthorization: Bearer "
    )
    framed = [
        post + key.encode() + b"\r\n" + length + b"\r\n\r\n" + body
        for length, body in itertools.product(LENGTHS, (b"", b"zz\r\nquestion\r\n", b"5\r\nquest"))
    ]
    for sent in [*RAW, *framed]:
        assert _status(address, sent) < 500, sent[:200]
    assert httpx.get(f"{address}/v1/health").status_code == 200
    _status(address, post + key.encode() + b"\r\nContent-Length: 1\r\n\r\nx" + MARK)
    log = (mill.home / "web.log").read_text()
    assert MARK.decode() not in log
    assert "Invalid request" in log


def _status(address: str, sent: bytes) -> int:
    """Send bytes and no more; return the status, or 0 if the connection ends without one."""
    with socket.create_connection(_host_and_port(address), timeout=30) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        try:
            head = connection.recv(64)
        except ConnectionError:
            return 0
    return int(head.split(b" ")[1]) if head.startswith(b"HTTP/") else 0


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return str(parts.hostname), int(parts.port or 0)


def test_slow_clients_keep_no_other_client_waiting(front):
    address, key = front
    begun = (
        b"POST /v1/questions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + key.encode() + b"\r\nContent-Length: 1000\r\n\r\n{"
    )
    with contextlib.ExitStack() as stack:
        for number in range(60):
            slow = stack.enter_context(
                socket.create_connection(_host_and_port(address), timeout=60)
            )
            slow.sendall(begun if number % 2 else b"GET /v1/heal")
        for _ in range(5):
            assert httpx.get(f"{address}/v1/health", timeout=20).status_code == 200
        time.sleep(22)  # longer than the time limit of a request
        slow.settimeout(5)
        assert slow.recv(100)[:12] == b"HTTP/1.1 400"
