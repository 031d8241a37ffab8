"""Prometheus itself reads our metrics by the configuration, rules and dashboard that ship."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from broker.client import open_broker
from core.domain.result import Answer, Status
from producer.monitoring.system_metrics import SystemCollector
from tests import services
from tests.factories import stored_batch
from tests.waiting import wait_for
from worker.monitoring.metrics import Stage, WorkerMetrics

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "answermill.json"


@pytest.fixture(scope="module", autouse=True)
def _programs():
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            services.missing(program, FileNotFoundError("see .ci/prometheus"))


def promtool(*words):
    return subprocess.run(
        [shutil.which("promtool"), *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        ["check", "config", DEPLOY / "prometheus" / "prometheus.yml"],
        ["check", "rules", RULES],
        ["test", "rules", DEPLOY / "prometheus" / "rules_test.yml"],
    ],
)
def test_promtool_finds_no_fault(words):
    done = promtool(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tested = (DEPLOY / "prometheus" / "rules_test.yml").read_text()
    # Both read a single series that is there or not.
    alerts -= {"AnswermillMetricsAway", "AnswermillWorkerPaused"}
    assert alerts
    assert {alert for alert in alerts if alert not in tested} == set()


@contextmanager
def served(registry):
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(folder, targets):
    """Run Prometheus on the rules that ship, scraping these ports every second."""
    jobs = "".join(
        f"  - {{job_name: {name}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
        for name, port in targets.items()
    )
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{RULES}']\nscrape_configs:\n{jobs}"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    log = (folder / "log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.terminate()


def get(url, **query):
    try:
        asked = f"{url}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=10) as page:  # noqa: S310 - loopback
            return json.load(page)["data"]
    except OSError:
        return None


def metered():
    """Return the meters of a worker that has answered some questions."""
    meters = WorkerMetrics()
    with meters.timing(Stage.PASS):
        time.sleep(0.01)
    meters.count_pass([3, 4])
    meters.count_answers([Answer(Status.ANSWERED, "yes", confidence=0.9)] * 3, "shop@1")
    return meters


def panels():
    document = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in document["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_prometheus_scrapes_both_evaluates_the_rules_and_reads_what_the_dashboard_asks(
    engine, settings_with_redis, tmp_path
):
    stored_batch(engine, 7)
    meters = metered()
    registry = CollectorRegistry(auto_describe=False)
    with open_broker(settings_with_redis) as client:
        registry.register(SystemCollector(engine, client, settings_with_redis))
        with (
            served(registry) as system,
            served(meters.registry) as worker,
            prometheus(tmp_path, {"answermill": system, "answermill-workers": worker}) as api,
        ):

            def value(expression):
                found = get(f"{api}/query", query=expression)
                return float(found["result"][0]["value"][1]) if found and found["result"] else None

            wait_for(lambda: value("sum(answermill_waiting_questions)") == 7, 60)
            wait_for(lambda: value("sum(answermill_questions_total)") == 3, 60)
            # Nothing was measured over half an hour yet, so each counts for 20 ms.
            wait_for(lambda: value("answermill:worker_seconds_waiting") is not None, 60)
            groups = get(f"{api}/rules")["groups"]
            faults = {r["name"]: r.get("lastError") for g in groups for r in g["rules"]}
            assert [name for name, fault in faults.items() if fault] == []
            for expression in panels():
                asked = expression.replace("$__rate_interval", "1m")
                assert get(f"{api}/query", query=asked) is not None, expression


def test_the_dashboard_and_the_rules_name_only_metrics_that_there_are():
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    known = set(re.findall(r"^\| (answermill_\w+)", page, flags=re.MULTILINE))
    rules = RULES.read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    for text in [*panels(), rules]:
        for name in re.findall(r"answermill[_:]\w+", text):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in known | recorded or base in known, name
