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
    # By hand: the test client would leave a temporary file open.
    parts = [
        (b'name="purpose"', purpose.encode()),
        (b'name="file"; filename="requests.jsonl"', content),
    ]
    form = b"Content-Disposition: form-data; "
    body = b"".join(b"--x\r\n" + form + name + b"\r\n\r\n" + told + b"\r\n" for name, told in parts)
    return http.post(
        FILES, data=body + b"--x--\r\n", content_type="multipart/form-data; boundary=x"
    )


def order(http, file_id: str, **values):
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **values}
    return http.post(BATCHES, json=body)


@pytest.fixture
def kept(engine):
    """Count the parts that are kept."""

    def kept() -> int:
        with reading(engine) as conn:
            return conn.scalar(sa.select(sa.func.count()).select_from(file_parts))

    return kept


def test_a_file_of_many_parts_is_kept_and_given_back_byte_by_byte(http, kept):
    content = lines(40, text="{} " + "why? " * 20_000)
    file = upload(http, content).json
    assert (file["object"], file["filename"], file["bytes"]) == (
        "file",
        "requests.jsonl",
        len(content),
    )
    assert kept() == -(-len(content) // (1 << 20)) > 3
    assert http.get(f"{FILES}/{file['id']}/content").data == content
    assert http.get(f"{FILES}/{file['id']}").json == file
    assert http.delete(f"{FILES}/{file['id']}").json["deleted"] is True
    assert kept() == 0
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
def test_a_file_that_is_no_batch_is_not_kept(content, purpose, field, http, kept):
    told = upload(http, content, purpose)
    assert (told.status_code, told.json["field"]) == (422, field)
    assert http.get(FILES).json["data"] == []
    assert kept() == 0


@pytest.mark.usefixtures("answering")
def test_a_batch_of_a_file_ends_in_an_output_file(http, engine):
    file = upload(http, lines(3)).json
    made = order(http, file["id"], metadata={"night": "17"}).json
    with reading(engine) as conn:
        batch = batches.find(conn, made["id"])
    assert (batch.source, batch.question_count) == ("openai, key site", 3)
    assert made["expires_at"] - made["in_progress_at"] == pytest.approx(86_400, abs=5)
    http.post(f"/v1/batches/{made['id']}/seal")  # the stand-in for a worker closes no batch
    told = http.get(f"{BATCHES}/{made['id']}").json
    assert (told["status"], told["metadata"]) == ("completed", {"night": "17"})
    assert told["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert told["error_file_id"] is None
    output = http.get(f"{FILES}/{told['output_file_id']}/content")
    assert [json.loads(line)["custom_id"] for line in output.data.splitlines()] == [
        f"ticket-{n}" for n in range(1, 4)
    ]
    described = http.get(f"{FILES}/{told['output_file_id']}").json
    assert (described["bytes"], described["purpose"]) == (len(output.data), "batch_output")


def test_a_cancelled_batch_ends_in_an_error_file(http):
    file = upload(http, lines(2)).json
    made = order(http, file["id"]).json
    assert made["status"] == "in_progress"
    assert http.get(f"{FILES}/file-out-{made['id']}/content").status_code == 404
    told = http.post(f"{BATCHES}/{made['id']}/cancel").json
    assert (told["status"], told["request_counts"]["failed"]) == ("cancelled", 2)
    found = http.get(f"{FILES}/{told['error_file_id']}/content").data.splitlines()
    assert {json.loads(line)["error"]["code"] for line in found} == {"batch_cancelled"}


def test_an_order_that_can_not_be_is_refused_and_not_kept(http, engine, stored):
    file = upload(http, lines(2, url=RESPONSES)).json["id"]
    assert order(http, "file-0").status_code == 404
    told = order(http, file)
    assert (told.status_code, "row 1" in told.json["detail"]) == (422, True)
    assert order(http, file, endpoint="/v1/embeddings").json["field"] == "endpoint"
    assert order(http, file, completion_window="1h").json["field"] == "completion_window"
    with reading(engine) as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(openai_batches)) == 0
    assert stored() == (0, 0, 0)


def test_lists_come_newest_first_and_page_by_page(http):
    files = [upload(http, lines(n)).json["id"] for n in (1, 2, 3)]
    made = [order(http, file).json["id"] for file in files]
    for url, ids in ((FILES, files), (BATCHES, made)):
        first = http.get(f"{url}?limit=2").json
        assert ([one["id"] for one in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
        rest = http.get(f"{url}?limit=2&after={ids[1]}").json
        assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[0]], False)


def test_no_batch_but_one_of_a_file_is_found_here(http, submitted, write):
    name = submitted(write("f.csv", 2), name="night").batch.name
    for method, path in (("GET", ""), ("POST", "/cancel")):
        assert http.open(f"{BATCHES}/{name}{path}", method=method).status_code == 404
