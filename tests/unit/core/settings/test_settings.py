from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from core.errors import SettingsInvalid
from core.settings import base, load
from core.settings.settings import Settings
from core.settings.urls import redact

SECRET = "hunter2"


def _faults(**flags: object) -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        load.load(**flags)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_with_no_settings_all_is_embedded_under_the_data_folder(home):
    settings = load.load()
    assert settings.home == home / "data" / "answermill"
    assert settings.embedded_database
    assert settings.embedded_broker
    assert settings.database == f"sqlite:///{settings.home}/answermill.db"
    assert settings.broker == f"redis+socket://{settings.home}/run/redis.sock"
    assert settings.models == settings.home / "models"
    assert (settings.job_size, settings.lease_seconds, settings.attempts) == (128, 24.0, 3)


def test_every_setting_has_a_description():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_no_validator_of_one_part_replaces_a_validator_of_another():
    parts = [part for part in Settings.__mro__ if issubclass(part, base.SettingsPart)]
    names = [name for part in parts for name in vars(part) if name.startswith("_check_")]
    assert len(names) == len(set(names)) > 5


def test_home_is_validated_before_the_broker_url():
    fields = list(Settings.model_fields)
    assert fields.index("home") < fields.index("broker_url")


def test_a_flag_goes_before_the_environment_and_that_before_the_file(monkeypatch):
    Path(".env").write_text("ANSWERMILL_JOB_SIZE=1\nANSWERMILL_REPLICAS=1\nANSWERMILL_THREADS=1\n")
    monkeypatch.setenv("ANSWERMILL_JOB_SIZE", "2")
    monkeypatch.setenv("ANSWERMILL_REPLICAS", "2")
    settings = load.load(job_size=3, replicas=None)
    assert (settings.job_size, settings.replicas, settings.threads) == (3, 2, 1)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_setting_is_an_unset_one(name, monkeypatch):
    unset = load.load()
    monkeypatch.setenv(base.PREFIX + name.upper(), "")
    assert load.load() == unset


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_setting_in_the_file_is_an_unset_one(name):
    unset = load.load()
    Path(".env").write_text(f"{base.PREFIX}{name.upper()}=\n")
    assert load.load() == unset


def test_a_misspelled_name_in_the_environment_is_reported_with_the_right_one(monkeypatch):
    monkeypatch.setenv("ANSWERMILL_JOBSIZE", "64")
    assert _faults() == ["ANSWERMILL_JOBSIZE: unknown setting; did you mean ANSWERMILL_JOB_SIZE?"]


def test_a_misspelled_name_in_the_file_is_reported_with_the_right_one():
    Path(".env").write_text("ANSWERMILL_BROKR_URL=redis://localhost\n")
    assert _faults() == [
        "ANSWERMILL_BROKR_URL: unknown setting; did you mean ANSWERMILL_BROKER_URL?"
    ]


def test_a_name_unlike_any_setting_is_reported_without_a_guess(monkeypatch):
    monkeypatch.setenv("ANSWERMILL_ZZZQQQXXXJJJVVV", "1")
    assert _faults() == ["ANSWERMILL_ZZZQQQXXXJJJVVV: unknown setting; remove it"]


def test_names_of_other_programs_in_a_shared_file_are_left_alone():
    Path(".env").write_text("DJANGO_SECRET=x\nANSWERMILL_JOB_SIZE=5\n")
    assert load.load().job_size == 5


def test_a_file_in_another_encoding_is_a_fault_and_not_a_crash():
    Path(".env").write_bytes("ANSWERMILL_MODEL=größe\n".encode("latin-1"))
    assert _faults() == [".env: not UTF-8; convert the file to UTF-8"]


def test_all_faults_are_reported_at_once(monkeypatch):
    monkeypatch.setenv("ANSWERMILL_JOBSIZE", "64")
    monkeypatch.setenv("ANSWERMILL_REPLICAS", "none")
    monkeypatch.setenv("ANSWERMILL_LEASE_SECONDS", "0")
    monkeypatch.setenv("ANSWERMILL_HOME", "/" + "long" * 30)
    monkeypatch.setenv("ANSWERMILL_DATABASE_URL", "mysql://somewhere")
    names = [fault.partition(":")[0].removeprefix(base.PREFIX) for fault in _faults()]
    assert sorted(names) == [
        "DATABASE_URL",
        "HOME",
        "JOBSIZE",
        "LEASE_SECONDS",
        "REPLICAS",
    ]


def test_redis_cluster_is_refused_with_its_reason():
    (fault,) = _faults(broker_url="redis+cluster://:pw@host:6379")
    assert fault == (
        "ANSWERMILL_BROKER_URL: redis+cluster:// (Redis Cluster) is not supported by Celery's"
        " Redis transport; use a single Redis or Valkey"
    )


@pytest.mark.parametrize("url", ["redis://h:abc/0", "redis://h:99999/0", "redis://:hun/ter2@h/0"])
def test_a_broker_url_with_an_invalid_port_is_refused_and_not_shown(url):
    (fault,) = _faults(broker_url=url)
    assert fault.startswith("ANSWERMILL_BROKER_URL: the port is not a number")
    assert "hun" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://:pw@host:6380/1",
        "redis+socket:///tmp/redis.sock",
    ],
)
def test_every_kind_of_redis_that_the_transport_supports_is_accepted(url):
    assert load.load(broker_url=url).broker == url


def test_other_brokers_and_databases_are_refused_with_alternatives():
    database, broker = _faults(broker_url="amqp://x", database_url="mysql://x")
    assert database == (
        "ANSWERMILL_DATABASE_URL: mysql:// is not supported; use sqlite:///FILE or postgresql://…"
    )
    assert broker == (
        "ANSWERMILL_BROKER_URL: amqp:// is not supported;"
        " use one of redis://, rediss://, redis+socket://"
    )


def test_postgresql_is_opened_with_psycopg():
    url = "postgresql+psycopg://u:p@h/d"
    assert load.load(database_url="postgresql://u:p@h/d").database == url
    assert load.load(database_url=url).database == url


def test_a_home_too_long_for_a_socket_is_refused_with_its_length():
    home = "/" + "x" * 100
    (fault,) = _faults(home=home)
    assert fault == (
        f"ANSWERMILL_HOME: {home}/run/redis.sock is 116 bytes long, but the path of a Unix socket"
        " has at most 103; choose a shorter folder"
    )


def test_a_long_home_counts_in_bytes_and_not_in_characters():
    assert "byte" in _faults(home="/" + "数" * 40)[0]


def test_a_long_home_is_accepted_if_redis_is_elsewhere():
    load.load(home="/" + "x" * 200, broker_url="redis://localhost")


def test_a_home_may_begin_with_a_tilde_and_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/h")
    assert load.load(home="~/am").home == Path("/h/am")
    assert load.load(home="am", broker_url="redis://x").home == tmp_path / "am"


@pytest.mark.parametrize(
    ("value", "folder"),
    [("/m/am", "/m/am"), ("~/am", "/h/am"), ("file:///m/am", "/m/am"), (Path("/m"), "/m")],
)
def test_a_model_store_may_be_a_folder_which_is_read_in_place(value, folder, monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    settings = load.load(model_store=value)
    assert (settings.models, settings.store_url) == (Path(folder), None)


@pytest.mark.parametrize("url", ["s3://bucket/models", "memory://m", "simplecache::s3://bucket"])
def test_a_model_store_may_be_a_url_and_is_fetched_to_the_home(url, monkeypatch):
    monkeypatch.setenv("ANSWERMILL_MODEL_STORE", url)
    settings = load.load()
    assert (settings.store_url, settings.models) == (url, settings.home / "fetched")


def test_settings_are_frozen():
    settings = load.load()
    with pytest.raises(ValidationError):
        settings.job_size = 1


@pytest.mark.parametrize("value", ["0", "-1", "10001", "many", "1.5"])
def test_a_job_size_out_of_bounds_is_refused(value, monkeypatch):
    monkeypatch.setenv("ANSWERMILL_JOB_SIZE", value)
    (fault,) = _faults()
    assert fault.startswith("ANSWERMILL_JOB_SIZE: ")


def test_a_secret_is_in_no_form_of_the_settings():
    url = f"postgresql://u:{SECRET}@h/d"
    settings = load.load(
        database_url=url, broker_url=f"redis://:{SECRET}@h", model_store=f"sftp://u:{SECRET}@h/m"
    )
    for shown in (repr(settings), str(settings), str(settings.model_dump()), f"{settings!r}"):
        assert SECRET not in shown
    assert SECRET not in settings.model_dump_json()
    assert SECRET in settings.database
    assert SECRET in settings.broker
    assert SECRET in (settings.store_url or "")


@pytest.mark.parametrize("field", ["database_url", "broker_url"])
@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{SECRET}@h/d",
        f"redis+cluster://:{SECRET}@h",
        f"u:{SECRET}@h/d",
        SECRET,
        f"u:{SECRET}@h://d",
        f"POSTGRES://u:{SECRET}@h/d",
    ],
)
def test_a_secret_is_in_no_message_about_a_wrong_url(field, url, monkeypatch):
    monkeypatch.setenv(base.PREFIX + field.upper(), url)
    (fault,) = _faults()
    assert fault.startswith(f"ANSWERMILL_{field.upper()}: ")
    assert SECRET not in fault


def test_a_secret_is_in_no_trace_of_a_wrong_url(monkeypatch):
    monkeypatch.setenv("ANSWERMILL_DATABASE_URL", f"mysql://u:{SECRET}@h/d")
    with pytest.raises(SettingsInvalid) as caught:
        load.load()
    assert caught.value.__suppress_context__
    with pytest.raises(ValidationError) as raw:
        Settings()
    assert SECRET not in str(raw.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d?user=u&password=hunter2", "postgresql://h/d?user=u&password=***"),
        ("postgresql://u:hunter2@/d?host=/run/pg", "postgresql://u:***@/d?host=/run/pg"),
        ("postgresql://u:hu@nter2@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:hu/nter2@h/d", "postgresql://u:***@h/d"),
        ("redis://:hunter2@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis+socket:///tmp/redis.sock", "redis+socket:///tmp/redis.sock"),
        ("sqlite:////data/answermill.db", "sqlite:////data/answermill.db"),
        ("sqlite:////home/me@work/answermill.db", "sqlite:////home/me@work/answermill.db"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    assert redact(url) == shown


def test_settings_given_to_code_are_checked_as_well():
    with pytest.raises(ValidationError):
        Settings(broker_url=SecretStr("redis+cluster://x"))
