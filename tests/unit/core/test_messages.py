from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.batch import Lane
from core.errors import MessageInvalid
from core.messages import WIRE_VERSION, AnswerJob, JobHint

_ids = st.integers(min_value=1, max_value=2**63 - 1)
_messages = st.builds(
    AnswerJob, job=_ids, batch=_ids, lane=st.sampled_from(Lane), size=st.integers(1, 10_000)
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(_messages)
def test_a_message_survives_the_wire(message):
    wire = json.loads(json.dumps(message.encode()))
    assert JobHint.decode(wire) == JobHint(message.job)


@given(_messages)
def test_a_message_holds_nothing_but_a_version_and_an_id(message):
    assert message.encode() == {"v": WIRE_VERSION, "job": message.job}


@given(_messages, st.dictionaries(st.text().filter(lambda k: k not in {"v", "job"}), _json))
def test_fields_that_a_later_release_added_are_ignored(message, more):
    assert JobHint.decode(more | message.encode()) == JobHint(message.job)


def test_a_message_of_a_later_version_is_refused_with_both_versions():
    with pytest.raises(MessageInvalid, match="version 2 is later than 1"):
        JobHint.decode({"v": WIRE_VERSION + 1, "job": 1})


@pytest.mark.parametrize("version", [True, "1", 1.0, None, [1], 0, -1])
def test_a_version_that_no_release_wrote_is_refused(version):
    with pytest.raises(MessageInvalid, match="no version"):
        JobHint.decode({"v": version, "job": 1})


@pytest.mark.parametrize("job", [True, "1", 1.0, None, 0, -3, 2**63])
def test_a_job_id_that_no_database_gives_is_refused(job):
    with pytest.raises(MessageInvalid, match="no job id"):
        JobHint.decode({"v": WIRE_VERSION, "job": job})


@given(st.dictionaries(st.sampled_from(["v", "job", "x"]), _json))
def test_junk_is_refused_or_decoded_and_never_breaks_the_worker(junk):
    try:
        hint = JobHint.decode(junk)
    except MessageInvalid:
        return
    assert junk["v"] == WIRE_VERSION
    assert 1 <= hint.job == junk["job"]


def test_the_caption_names_the_batch_and_the_job():
    message = AnswerJob(job=9, batch=4, lane=Lane.BULK, size=128)
    assert message.caption == "batch=4 job=9 n=128 lane=bulk"
