"""R19: texts of questions and answers, and secrets, are only where they belong.

Every question of every interface holds a marker. The test then searches for it in the commands and
keys of Redis, every log, Flower, both kinds of metrics, health, the messages about bad input,
webhooks and the output of `check`.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
import redis

from core import encryption
from tests.acceptance.front import serving
from tests.receiver import receiving
from tests.waiting import wait_for

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

MARKER = "xylophone-4711"
KNOWN, ANSWER = "Where is my order?", "tap the order to see its live tracking"  # of the sample
TEXT = f"Where is my parcel {MARKER}?"
SECRETS = {
    "ANSWERMILL_ENCRYPTION_KEYS": encryption.new_key(),
    "ANSWERMILL_WEBHOOK_SECRET": f"whsec_{base64.b64encode(os.urandom(32)).decode()}",
    "ANSWERMILL_FLOWER_AUTH": "watcher:hidden-password",
}


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@contextmanager
def monitored(path):
    """Collect every command that Redis is sent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"MONITOR\r\n")
        seen = bytearray()

        def read():
            while data := connection.recv(1 << 16):
                seen.extend(data)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield seen
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def everything_in(path) -> str:
    """Return every key of Redis with what it holds."""
    with redis.Redis(unix_socket_path=str(path)) as client:
        return str([(key, client.dump(key)) for key in client.scan_iter()])


@contextmanager
def flower(mill):
    """Run Flower; yield a way to read a page of it."""
    port, log = free_port(), mill.home / "flower.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack.local.flower", "127.0.0.1", port],
            env={**os.environ, **mill.environment},
            stdout=output,
            stderr=output,
        )

    def page(path):
        auth = tuple(SECRETS["ANSWERMILL_FLOWER_AUTH"].split(":"))
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", auth=auth, timeout=30)
        except httpx.TransportError:
            return None

    try:
        wait_for(lambda: (shown := page("/")) and shown.status_code == 200, 60, log.read_text)
        yield page
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def tracing(mill):
    """Send the spans of all processes started in the block to a collector."""
    with receiving() as collector:
        collector.statuses = [200]
        mill.environment["ANSWERMILL_TRACES_URL"] = f"http://127.0.0.1:{collector.port}/v1/traces"
        yield collector


def submit_by_every_way(mill, http, tmp_path, hook) -> list[int]:
    """Submit questions through every interface; return the batches."""
    rows = json.dumps({"question": TEXT, "key": "a", "shop": MARKER}) + "\n"
    known = json.dumps({"question": KNOWN, "key": "b"})
    (tmp_path / "questions.jsonl").write_text(rows + known)
    (tmp_path / "quoted.jsonl").write_text(json.dumps({"question": f"!quote {TEXT}"}))
    batches = [
        mill.json("submit", str(tmp_path / "questions.jsonl"))["batch"],
        mill.json("submit", str(tmp_path / "quoted.jsonl"))["batch"],
        json.loads(mill.run("submit", "-", "--json", input=rows).stdout)["batch"],
    ]
    assert mill.json("ask", TEXT)["status"]
    asked = {"question": TEXT, "metadata": {"note": MARKER}}
    bodies = {
        "application/json": json.dumps({"questions": [asked]}),
        "application/jsonl": json.dumps({"question": f"{TEXT} again"}),
        "text/csv": f"question,shop\n{TEXT},{MARKER}\n",
    }
    for kind, body in bodies.items():
        url = f"/v1/batches?webhook={hook}"
        response = http.post(url, content=body, headers={"Content-Type": kind})
        assert response.status_code == 201, response.text
        batches.append(response.json()["batch"])
    assert http.post("/v1/questions?wait=20", json={"question": TEXT}).json()["status"]
    request = {"model": "any", "messages": [{"role": "user", "content": TEXT}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": request}
    files = {"file": ("requests.jsonl", json.dumps(line).encode())}
    kept = http.post("/openai/v1/files", files=files, data={"purpose": "batch"})
    order = {
        "input_file_id": kept.json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    assert http.post("/openai/v1/batches", json=order).status_code == 200
    return batches


def refusals(mill, http, tmp_path) -> dict[str, str]:
    """Return the messages about faulty input; each input has the marker in it."""
    bad = tmp_path / "bad.csv"
    bad.write_text(f'key,question\n1,{TEXT}\n1,{TEXT}\n2,"{TEXT}')
    runs = {"submit a broken file": mill.run("submit", str(bad)), "a NUL": mill.run("ask", " ")}
    messages = {name: done.stdout + done.stderr for name, done in runs.items()}
    as_json = {"Content-Type": "application/json"}
    for name, path, body, headers in [
        ("broken JSON", "/v1/questions", f'{{"question": "{TEXT}', as_json),
        ("another type", "/v1/questions", json.dumps({"question": [TEXT]}), as_json),
        ("another name", "/v1/questions", json.dumps({"question": "Where?", TEXT: 1}), as_json),
        ("broken rows", "/v1/batches", f'{{"question": "{TEXT}"}}\n{{"question', {}),
        ("a broken quotation", "/v1/batches", f'question\n"{TEXT}', {"Content-Type": "text/csv"}),
        ("no column", "/v1/batches", f"other\n{TEXT}\n", {"Content-Type": "text/csv"}),
        ("another encoding", "/v1/batches", f"{TEXT}\xff", {"Content-Type": "text/csv"}),
        ("another form", "/v1/batches", TEXT, {"Content-Type": "application/xml"}),
        ("no file", "/openai/v1/files", TEXT, {"Content-Type": "multipart/form-data; boundary=x"}),
        ("no route", "/v1/nothing", TEXT, as_json),
    ]:
        kind = headers or {"Content-Type": "application/jsonl"}
        answer = http.post(path, content=body.encode("latin-1"), headers=kind)
        assert answer.status_code in range(400, 500), (name, answer.text)
        messages[name] = answer.text
    with socket.create_connection((http.base_url.host, http.base_url.port)) as raw:
        raw.sendall(f"{TEXT} HTTP/1.1\r\nX: {TEXT}\x01\r\n\r\n".encode())
        messages["no HTTP"] = raw.recv(1 << 16).decode()
    return messages


def test_no_text_and_no_secret_is_where_it_does_not_belong(mill, tmp_path):
    worker_port, pages = free_port(), {}
    mill.environment |= SECRETS | {"ANSWERMILL_WEBHOOK_PRIVATE": "true"}
    mill.environment["ANSWERMILL_WEB_PROCESSES"] = "1"  # starts sooner
    with (
        monitored(mill.settings.redis_socket) as commands,
        receiving() as receiver,
        tracing(mill) as collector,
        flower(mill) as page,
        serving(mill, "submit", "read") as (address, key),
    ):
        mill.start_worker("tests.acceptance.quoting", ANSWERMILL_METRICS_PORT=worker_port)
        with httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60
        ) as http:
            hook = f"http://127.0.0.1:{receiver.port}/"
            batches = submit_by_every_way(mill, http, tmp_path, hook)
            for batch in batches:
                mill.await_final(batch, 1, 60)
            mill.await_final(batches[0], 2, 60)
            assert ANSWER in http.get(f"/v1/batches/{batches[0]}/results").text
            # The error shows that the quoting model ran.
            assert (
                MARKER
                in http.get(f"/v1/batches/{batches[1]}/results").json()["results"][0]["error"]
            )
            pages |= refusals(mill, http, tmp_path)
            wait_for(lambda: len(receiver.came) == 3, 20)
            pages["health"] = http.get("/v1/health").text
            pages["document"] = http.get("/v1/docs/openapi.json").text
            pages["status"] = http.get("/v1/batches").text
        pages["worker's metrics"] = httpx.get(f"http://127.0.0.1:{worker_port}/metrics").text
        for path in ("/", "/tasks", "/broker", "/workers", "/metrics"):
            pages[f"Flower {path}"] = page(path).text
        tasks = page("/api/tasks?limit=1000").json()
        assert any(task["state"] == "SUCCESS" for task in tasks.values())
        pages["Flower's tasks"] = json.dumps(tasks)
        pages |= {f"Flower {name}": page(f"/task/{name}").text for name in tasks}
        for words in (["check"], ["worker", "--health"]):
            done = mill.run(*words)
            pages[" ".join(words)] = done.stdout + done.stderr
        pages["webhooks"] = str(receiver.came)
        wait_for(lambda: collector.came, 20)
        pages["traces"] = str(collector.came)
        pages["Redis"] = everything_in(mill.settings.redis_socket)
    pages["Redis, all commands"] = commands.decode(errors="replace")
    assert "LPUSH" in pages["Redis, all commands"].upper()
    logs = {str(path): path.read_text() for path in mill.home.rglob("*.log")}
    assert {"worker-0.log", "web.log", "flower.log"} <= {path.rsplit("/")[-1] for path in logs}
    assert "attempt failed" in "".join(logs.values())
    pages |= logs
    database = Path(mill.settings.database.removeprefix("sqlite:///"))
    for file in database.parent.glob(f"{database.name}*"):
        pages[f"the database, {file.name}"] = file.read_bytes().decode(errors="replace")
    secrets = {"the marker": MARKER, "an answer": ANSWER, **SECRETS, "the key": key}
    leaks = [
        (name, where)
        for name, text in secrets.items()
        for where, page in pages.items()
        if text.lower() in page.lower()
    ]
    assert leaks == []
