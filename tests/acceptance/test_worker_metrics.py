"""What a whole worker serves to Prometheus: counts that outlive its children, and no text."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import wait_for

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

MARKER = "zebra-crossing"


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def scrape(port):
    # The port is one of the test's own, on loopback.
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return page.read().decode()


def total(text, name, **labels):
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def ask(mill, path, name):
    lines = (f"Where is my parcel {MARKER} {n}?\n" for n in range(60))
    path.write_text("question\n" + "".join(lines))
    batch = mill.json("submit", str(path), "--name", name)["batch"]
    mill.await_final(batch, 60, 60)


def test_the_counts_of_a_worker_outlive_its_children_and_hold_no_text(mill, port, tmp_path):
    worker = mill.start_worker(ANSWERMILL_METRICS_PORT=port)
    ask(mill, tmp_path / "a.csv", MARKER)
    # A job is counted a moment after it is stored.
    wait_for(lambda: total(scrape(port), "answermill_questions_total") == 60, 10)
    text = scrape(port)
    assert total(text, "answermill_questions_total", model_version="shop@1") == 60
    assert total(text, "answermill_confidence_count") == 60
    for stage in ("claim", "tokenize", "pass", "decide", "store"):
        assert total(text, "answermill_stage_seconds_count", stage=stage) > 0
    assert total(text, "answermill_events_total", event="job done") >= 1

    mill.child_of(worker).kill()
    ask(mill, tmp_path / "b.csv", "again")
    wait_for(lambda: total(scrape(port), "answermill_questions_total") == 120, 10)
    assert MARKER not in scrape(port)

    worker.terminate()
    assert worker.wait(60) == 0
    with pytest.raises(urllib.error.URLError):
        scrape(port)


def test_a_port_in_use_is_reported_on_one_line_before_any_work(mill, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        mill.environment["ANSWERMILL_METRICS_PORT"] = port
        done = mill.run("worker")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "METRICS_PORT" in line]
    assert port in line
    assert "Traceback" not in done.stderr
