from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from db.queries import batches
from db.session import reading
from db.tables import file_parts, openai_batches
from producer.openai.jsonl import CHAT, RESPONSES

FILES, BATCHES = "/openai/v1/files", "/openai/v1/batches"


def lines(count: int, url: str = CHAT, text: str = "Where is parcel {}?") -> bytes:
    return b"".join(
        json.dumps(
            {
                "custom_id": f"ticket-{n}",
                "method": "POST",
                "url": url,
                "body": {"messages": [{"role": "user", "content": text.format(n)}]},
            }
        ).encode()
        + b"\n"
        for n in range(1, count + 1)
    )


def upload(http, content: bytes, purpose: str = "batch"):
    # The test client would leave a temporary file open.
    parts = [
        (b'name="purpose"', purpose.encode()),
        (b'name="file"; filename="requests.jsonl"', content),
    ]
    form = b"Content-Disposition: form-data; "
    body = b"".join(
        b"--x\r\n" + form + name + b"\r\n\r\n" + value + b"\r\n" for name, value in parts
    )
    return http.post(
        FILES, data=body + b"--x--\r\n", content_type="multipart/form-data; boundary=x"
    )


def order(http, file_id: str, **values):
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **values}
    return http.post(BATCHES, json=body)


@pytest.fixture
def stored_parts(engine):
    """Return a function that counts the stored file parts."""

    def stored_parts() -> int:
        with reading(engine) as conn:
            return conn.scalar(sa.select(sa.func.count()).select_from(file_parts))

    return stored_parts


def test_a_file_of_many_parts_is_stored_and_downloaded_unchanged(http, stored_parts):
    content = lines(40, text="{} " + "why? " * 20_000)
    file = upload(http, content).json
    assert (file["object"], file["filename"], file["bytes"]) == (
        "file",
        "requests.jsonl",
        len(content),
    )
    assert stored_parts() == -(-len(content) // (1 << 20)) > 3
    assert http.get(f"{FILES}/{file['id']}/content").data == content
    assert http.get(f"{FILES}/{file['id']}").json == file
    assert http.delete(f"{FILES}/{file['id']}").json["deleted"] is True
    assert stored_parts() == 0
    assert http.get(f"{FILES}/{file['id']}").status_code == 404


@pytest.mark.parametrize(
    ("content", "purpose", "field"),
    [
        (lines(2), "fine-tune", "purpose"),
        (b"", "batch", "body"),
        (b"{}\n", "batch", "row 1"),
        (lines(1) + lines(1), "batch", "row 2"),
        (lines(1, text="a\0b"), "batch", "row 1"),
        (lines(1, url="/v1/embeddings"), "batch", "row 1"),
    ],
)
def test_an_invalid_file_is_not_stored(content, purpose, field, http, stored_parts):
    response = upload(http, content, purpose)
    assert (response.status_code, response.json["field"]) == (422, field)
    assert http.get(FILES).json["data"] == []
    assert stored_parts() == 0


@pytest.mark.usefixtures("answering")
def test_a_batch_from_a_file_has_an_output_file(http, engine):
    file = upload(http, lines(3)).json
    created = order(http, file["id"], metadata={"night": "17"}).json
    with reading(engine) as conn:
        batch = batches.find(conn, created["id"])
    assert (batch.source, batch.question_count) == ("openai, key site", 3)
    assert created["expires_at"] - created["in_progress_at"] == pytest.approx(86_400, abs=5)
    http.post(f"/v1/batches/{created['id']}/seal")  # the fake worker closes no batch
    response = http.get(f"{BATCHES}/{created['id']}").json
    assert (response["status"], response["metadata"]) == ("completed", {"night": "17"})
    assert response["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert response["error_file_id"] is None
    output = http.get(f"{FILES}/{response['output_file_id']}/content")
    assert [json.loads(line)["custom_id"] for line in output.data.splitlines()] == [
        f"ticket-{n}" for n in range(1, 4)
    ]
    described = http.get(f"{FILES}/{response['output_file_id']}").json
    assert (described["bytes"], described["purpose"]) == (len(output.data), "batch_output")


def test_a_cancelled_batch_has_an_error_file(http):
    file = upload(http, lines(2)).json
    created = order(http, file["id"]).json
    assert created["status"] == "in_progress"
    assert http.get(f"{FILES}/file-out-{created['id']}/content").status_code == 404
    response = http.post(f"{BATCHES}/{created['id']}/cancel").json
    assert (response["status"], response["request_counts"]["failed"]) == ("cancelled", 2)
    found = http.get(f"{FILES}/{response['error_file_id']}/content").data.splitlines()
    assert {json.loads(line)["error"]["code"] for line in found} == {"batch_cancelled"}


def test_an_invalid_batch_is_refused_and_not_stored(http, engine, stored):
    file = upload(http, lines(2, url=RESPONSES)).json["id"]
    assert order(http, "file-0").status_code == 404
    response = order(http, file)
    assert (response.status_code, "row 1" in response.json["detail"]) == (422, True)
    assert order(http, file, endpoint="/v1/embeddings").json["field"] == "endpoint"
    assert order(http, file, completion_window="1h").json["field"] == "completion_window"
    with reading(engine) as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(openai_batches)) == 0
    assert stored() == (0, 0, 0)


def test_lists_are_newest_first_and_have_pages(http):
    files = [upload(http, lines(n)).json["id"] for n in (1, 2, 3)]
    created = [order(http, file).json["id"] for file in files]
    for url, ids in ((FILES, files), (BATCHES, created)):
        first = http.get(f"{url}?limit=2").json
        assert ([item["id"] for item in first["data"]], first["has_more"]) == (
            [ids[2], ids[1]],
            True,
        )
        rest = http.get(f"{url}?limit=2&after={ids[1]}").json
        assert ([item["id"] for item in rest["data"]], rest["has_more"]) == ([ids[0]], False)


def test_only_batches_from_files_are_found(http, submitted, write):
    name = submitted(write("f.csv", 2), name="night").batch.name
    for method, path in (("GET", ""), ("POST", "/cancel")):
        assert http.open(f"{BATCHES}/{name}{path}", method=method).status_code == 404
