from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest

from db.queries.batches import close_finished
from db.session import transaction
from tests.factories import (
    finish,
    later,
    partly_final_batch,
    running_job,
)

URL = "/v1/batches"


def test_results_are_returned_page_by_page_each_once(http, engine):
    batch = partly_final_batch(engine, 6)
    url = f"{URL}/{batch.id}/results"

    def page(since: int) -> tuple[list[str], int, bool]:
        found = http.get(f"{url}?since={since}&limit=2").json
        return [row["key"] for row in found["results"]], found["next"], found["finished"]

    first, since, finished = page(0)
    assert (first, finished) == (["ticket-1", "ticket-2"], False)
    second, since, finished = page(since)
    assert (second, finished) == (["ticket-3"], False)
    assert page(since) == ([], since, False)
    finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        close_finished(conn, later(9), batch.id)
    third, since, finished = page(since)
    assert (third, finished) == (["ticket-4", "ticket-5"], False)
    fourth, since, finished = page(since)
    assert (fourth, finished) == (["ticket-6"], True)
    failed = http.get(f"{url}?status=failed").json["results"]
    assert [row["status"] for row in failed] == ["failed"]


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_download_equals_the_file_of_the_command_line(file_format, http, engine, cli, tmp_path):
    batch = partly_final_batch(engine, 6)
    file = tmp_path / f"out.{file_format}"
    assert cli("results", batch.id, "-o", file)[0] == 0
    response = http.get(f"{URL}/{batch.id}/results/download?format={file_format}")
    assert response.status_code == 200
    assert f'filename="batch-{batch.id}.{file_format}"' in response.headers["Content-Disposition"]
    if file_format == "parquet":
        assert pq.read_table(io.BytesIO(response.data)).equals(pq.read_table(file))
    else:
        assert response.data == file.read_bytes()
