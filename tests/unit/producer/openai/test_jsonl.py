from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from core.errors import SourceInvalid
from producer.openai.jsonl import CHAT, RESPONSES, errors, output, requests
from tests.factories import NOW


@pytest.fixture
def read(tmp_path):
    """Read lines as requests: endpoint, key and question of each."""

    def read(*lines: object) -> list[tuple[str, str, str]]:
        path = tmp_path / "requests.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        items = requests(path, "the file")
        return [(endpoint, item["key"], item["question"]) for _, endpoint, item in items]

    return read


def _request(body: object, url: str = CHAT, method: str = "POST") -> dict[str, object]:
    return {"custom_id": "t-1", "method": method, "url": url, "body": body}


def _user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ({"model": "any", "messages": [_user("Why?")]}, CHAT),
        ({"messages": [_user("No"), {"role": "assistant", "content": "?"}, _user("Why?")]}, CHAT),
        ({"messages": [_user([{"type": "text", "text": "Why?"}, {"type": "image_url"}])]}, CHAT),
        ({"messages": [_user("Why?"), {"role": "system", "content": "Be kind."}]}, CHAT),
        ({"input": "Why?"}, RESPONSES),
        ({"input": [_user([{"type": "input_text", "text": "Why?"}])]}, RESPONSES),
    ],
)
def test_the_question_is_the_last_user_message_or_the_input(body, url, read):
    assert read(_request(body, url)) == [(url, "t-1", "Why?")]


@pytest.mark.parametrize(
    "line",
    [
        _request({}),
        _request({"messages": []}),
        _request({"messages": [{"role": "system", "content": "Be kind."}]}),
        _request({"messages": [_user(None)]}),
        _request({"messages": [_user([{"type": "image_url"}])]}),
        _request({"messages": [7]}),
        _request([]),
        _request({"messages": [_user("Why?")]}, url="/v1/embeddings"),
        _request({"messages": [_user("Why?")]}, method="GET"),
        {},
    ],
)
def test_a_request_without_a_question_is_refused_with_its_row(line, read):
    with pytest.raises(SourceInvalid) as caught:
        read(_request({"messages": [_user("Why?")]}), line)
    assert caught.value.row == 2


def _row(status: str, **values: object) -> SimpleNamespace:
    names = ("answer", "entry_id", "matched", "confidence", "reason", "error", "url")
    filled = {**dict.fromkeys(names), "position": 3, "key": "t-3", "model_version": "shop@1"}
    filled |= {"status": status, "answered_at": NOW, **values}
    return SimpleNamespace(**filled, _mapping=filled)


def _lines(parts) -> list[dict]:
    return [json.loads(line) for line in b"".join(parts).splitlines()]


def test_an_answer_is_the_assistants_message_and_a_hand_off_its_refusal():
    page = [_row("answered", answer="So."), _row("handed_off", reason="ambiguous"), _row("failed")]
    answered, handed_off = _lines(output([page], "batch_1", CHAT))
    choice = answered["response"]["body"]["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == ("So.", None)
    choice = handed_off["response"]["body"]["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"] == "a person must answer this: ambiguous"
    assert handed_off["response"]["body"]["answermill"]["status"] == "handed_off"

    answered, handed_off = _lines(output([page], "batch_1", RESPONSES))
    message = answered["response"]["body"]["output"][0]["content"][0]
    assert (message["type"], message["text"]) == ("output_text", "So.")
    assert handed_off["response"]["body"]["output"][0]["content"][0]["type"] == "refusal"


def test_a_question_without_an_answer_is_an_error():
    page = [_row("answered"), _row("failed", error="boom"), _row("cancelled"), _row("expired")]
    lines = [(line["custom_id"], line["error"]) for line in _lines(errors([page], "batch_1"))]
    assert lines == [
        ("t-3", {"code": "answermill_failed", "message": "boom"}),
        ("t-3", {"code": "batch_cancelled", "message": "the question is cancelled"}),
        ("t-3", {"code": "batch_expired", "message": "the question is expired"}),
    ]
