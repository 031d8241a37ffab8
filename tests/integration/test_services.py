"""The servers that the fixtures start: private, fresh for each test, gone at the end."""

from __future__ import annotations

import os

import psutil
import psycopg
import pytest
import redis

from core.settings import base, load
from tests import services


@pytest.mark.parametrize("round_", [1, 2])
def test_each_test_has_an_empty_redis(redis_url, round_):
    with redis.Redis(unix_socket_path=redis_url.removeprefix("redis+socket://")) as client:
        assert client.dbsize() == 0
        client.set("left over", round_)


@pytest.mark.parametrize("round_", [1, 2])
def test_each_test_has_a_postgresql_database_of_its_own(postgres_url, round_):
    with psycopg.connect(postgres_url) as conn:
        query = "SELECT count(*) FROM model_versions"
        assert conn.execute(query).fetchone() == (0,)
        conn.execute("INSERT INTO model_versions VALUES ('n', %s, 's', 'd', '{}', now())", [round_])


def test_a_service_that_does_not_start_skips_a_laptop_and_fails_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Redis does not start here: no binary"):
        services.missing("Redis", OSError("no binary"))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Redis does not start here: no binary"):
        services.missing("Redis", OSError("no binary"))


@pytest.mark.parametrize("start", [services.redis_server, services.postgres])
def test_a_server_ends_also_when_the_tests_break(start):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyError), services.short_folder() as folder:
        _break_inside(start, folder)
    assert not folder.exists()
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not [p for p in psutil.process_iter(["cmdline"]) if _mentions(p, str(folder))]


def _break_inside(start, folder):
    with start(folder):
        assert [p for p in psutil.process_iter(["cmdline"]) if _mentions(p, str(folder))]
        raise KeyError


def _mentions(process, text):
    return any(text in part for part in process.info["cmdline"] or [])


def test_tests_see_none_of_the_developer_s_settings(tmp_path, home):
    assert not [name for name in os.environ if name.startswith(base.PREFIX)]
    assert os.getcwd() == str(tmp_path)  # noqa: PTH109 - the folder of the process
    assert load.load().home.is_relative_to(home)
