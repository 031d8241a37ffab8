"""`check` and `db`, as they are run."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from broker import ownership
from broker.client import open_broker
from core.errors import StackRunning
from core.settings.load import load
from db.queries import model_versions
from db.session import transaction
from db.tables import REVISION
from stack.main import main
from tests import factories


@pytest.fixture
def run(monkeypatch, home, capsys):
    """Run a command with these settings; return its status, output and errors."""

    def run(*words, **settings):
        for name, value in {"home": str(home), **settings}.items():
            monkeypatch.setenv(f"ANSWERMILL_{name.upper()}", value)
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err.splitlines()

    return run


def test_check_reports_a_healthy_system(run, database_url, engine, redis_url, home):
    factories.promoted_version(engine)
    (home / "models" / "shop" / "d1").mkdir(parents=True)
    status, lines, errors = run("check", database_url=database_url, broker_url=redis_url)
    assert (status, errors) == (0, [])
    assert [line.split()[:2] for line in lines] == [
        ["ok", "database"],
        ["ok", "broker"],
        ["ok", "model"],
    ]
    assert "shop@1" in lines[2]


def test_check_reports_a_canary(run, database_url, engine, home):
    factories.promoted_version(engine)
    second = factories.built_version(engine, digest="d2")
    for bundle in ("d1", "d2"):
        (home / "models" / "shop" / bundle).mkdir(parents=True)
    with transaction(engine) as conn:
        model_versions.begin_canary(conn, second, 0.05, by="test", now=factories.NOW)
    output = "\n".join(run("check", database_url=database_url)[1])
    assert "workers would answer with shop@1, 5.0% of the jobs with shop@2" in output


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memory://models", "ok     store     memory://models answers"),
        ("s3://bucket", "s3:// needs a package that is not installed"),
    ],
)
def test_check_reports_a_store_at_a_url(run, url, sentence):
    assert sentence in run("check", model_store=url)[1][-1]


def test_check_reports_every_fault_at_once(run, empty_database_url):
    broker = "redis://localhost:1/0"
    status, lines, _ = run("check", database_url=empty_database_url, broker_url=broker)
    assert status == 3
    assert [line.split()[:2] for line in lines] == [
        ["fault", "database"],
        ["fault", "broker"],
        ["fault", "model"],
    ]
    assert "answermill db upgrade" in lines[0]


def test_check_tells_every_missing_url_where_nothing_is_embedded(run):
    status, lines, _ = run("check", embedded="false")
    assert status == 2
    assert [line.split()[:3] for line in lines] == [
        ["fault", "database", "ANSWERMILL_DATABASE_URL:"],
        ["fault", "broker", "ANSWERMILL_BROKER_URL:"],
        ["fault", "model", "ANSWERMILL_DATABASE_URL:"],
    ]
    assert "/run/secrets/answermill_database_url" in lines[0]


@pytest.mark.parametrize("words", [["status"], ["db", "upgrade"], ["model", "list"]])
def test_a_missing_url_is_reported_in_one_line_where_nothing_is_embedded(run, words):
    status, _, errors = run(*words, embedded="false")
    assert status == 2
    assert len(errors) == 1
    assert "ANSWERMILL_DATABASE_URL: not set" in errors[0]


def test_check_tells_of_another_stack_on_the_same_redis(run, database_url, engine, redis_url):
    factories.promoted_version(engine)
    settings = load(broker_url=redis_url)
    other = open_broker(settings)
    ownership.claim_broker(other, settings, "postgresql:another")
    other.close()
    status, lines, _ = run("check", database_url=database_url, broker_url=redis_url)
    assert status == 2
    assert lines[1].startswith("fault  broker")
    assert "workers on another database use it" in lines[1]


def test_check_tells_of_a_version_whose_bundle_is_gone(run, database_url, engine):
    factories.promoted_version(engine)
    lines = run("check", database_url=database_url)[1]
    assert lines[2].startswith("fault  model")
    assert "is not in the model store" in lines[2]


def test_a_later_schema_is_used_and_left_as_it_is(run, database_url, engine):
    with transaction(engine) as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for words in (["db", "upgrade"], ["db", "check"]):
        status, lines, _ = run(*words, database_url=database_url)
        assert status == 0
        assert f"9999, later than this release's {REVISION}" in lines[0]
    assert run("status", database_url=database_url)[0] == 0


def test_check_on_a_new_machine_says_what_to_start_and_build(run):
    status, lines, _ = run("check")
    assert status == 3
    assert lines[0].startswith("ok     database")
    assert "answermill up" in lines[1]
    assert "answermill model build" in lines[2]


def test_every_wrong_setting_is_reported_at_once(run):
    status, out, errors = run(
        "check", job_size="0", lease_seconds="soon", broker_url="redis+cluster://a", leese="3"
    )
    assert (status, out) == (2, [])
    output = "\n".join(errors)
    for name in ("JOB_SIZE", "LEASE_SECONDS", "BROKER_URL", "LEESE"):
        assert f"ANSWERMILL_{name}" in output
    assert "Redis Cluster" in output


def test_db_upgrade_makes_the_tables_and_db_check_finds_them(run, empty_database_url):
    status, _, errors = run("db", "check", database_url=empty_database_url)
    assert status == 2
    assert "answermill db upgrade" in errors[0]
    assert run("db", "upgrade") == (0, [f"the schema is at {REVISION}, was without tables"], [])
    assert run("db", "upgrade") == (0, [f"the schema is at {REVISION}"], [])
    assert run("db", "check")[0] == 0


def test_db_check_makes_no_file(run, home):
    assert run("db", "check")[0] == 2
    assert not (home / "answermill.db").exists()


def test_no_password_is_shown(run):
    status, lines, errors = run(
        "check",
        database_url="postgresql://u:s3cret@localhost:1/x",
        broker_url="redis://u:s3cret@localhost:1/0",
    )
    assert status == 3
    assert "s3cret" not in "\n".join(lines + errors)


@pytest.mark.parametrize("words", [["status"], ["db", "upgrade"], ["up"], ["check"]])
def test_a_home_that_cannot_be_created_is_reported(run, home, words):
    (home / "file").write_text("in the way")
    _, out, errors = run(*words, home=str(home / "file" / "home"))
    output = "\n".join([*out, *errors])
    assert "ANSWERMILL_HOME: " in output
    assert ": Not a directory" in output
    assert "Traceback" not in output


@pytest.fixture
def up(run, database_url, engine, monkeypatch):
    """Run `up` with this ANSWERMILL_MODEL, starting nothing; return what workers would follow."""

    def up(model):
        seen = []

        def running(settings, _workers, followed):
            seen.append(followed)
            raise StackRunning(settings.home)

        factories.promoted_version(engine)
        monkeypatch.setattr("stack.local.supervisor.running", running)
        assert run("up", database_url=database_url, model=model)[0] == 2
        return seen[0]

    return up


@pytest.mark.parametrize(("model", "followed"), [("", "shop"), ("shop@1", "shop@1")])
def test_up_lets_workers_follow_the_name_unless_a_number_is_set(up, model, followed):
    assert up(model) == followed
