from __future__ import annotations

import base64
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import encryption
from core.encryption import MARK, Cipher
from core.errors import ExtraMissing, KeyMissing, SettingsInvalid, TextDamaged
from core.settings import load

KEYS = [base64.b64decode(encryption.new_key()) for _ in range(3)]
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
PLACE = "questions.text"


@given(TEXTS | TEXTS.map(lambda text: MARK + text), st.lists(st.sampled_from(KEYS), unique=True))
def test_what_is_sealed_comes_back_whatever_it_is(text, keys):
    one = Cipher(keys)
    stored = one.encrypt(text, PLACE)
    assert one.decrypt(stored, PLACE) == text
    assert one.is_current(stored)
    content = text.encode()
    assert one.decrypt_bytes(one.encrypt_bytes(content, PLACE), PLACE) == content
    if keys:
        assert stored.startswith(f"{MARK}{encryption.id_of(keys[0])}:")


def test_every_key_opens_and_the_first_one_seals():
    old, new = Cipher(KEYS[:1]), Cipher([KEYS[1], KEYS[0]])
    stored = old.encrypt("text", PLACE)
    assert new.decrypt(stored, PLACE) == "text"
    assert not new.is_current(stored)
    with pytest.raises(KeyMissing, match=encryption.id_of(KEYS[1])):
        old.decrypt(new.encrypt("text", PLACE), PLACE)


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_byte_that_was_changed_is_noticed(at, by):
    one = Cipher(KEYS)
    stored = bytearray(one.encrypt_bytes(b"x" * 40, PLACE))
    at = min(at + len(f"{MARK}00000000:"), len(stored) - 1)
    stored[at] ^= by
    with pytest.raises(TextDamaged):
        one.decrypt_bytes(bytes(stored), PLACE)


def test_a_value_of_another_column_is_refused():
    one = Cipher(KEYS)
    with pytest.raises(TextDamaged):
        one.decrypt(one.encrypt("text", PLACE), "results.answer")
    with pytest.raises(TextDamaged):
        one.decrypt(one.encrypt("text", PLACE)[:-9], PLACE)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ExtraMissing, match="encryption"):
        Cipher(KEYS)
    assert Cipher().encrypt("text", PLACE) == "text"


@pytest.mark.parametrize(
    "told",
    ["short", "YWJj", f"{encryption.new_key()},{encryption.new_key()[:-8]}"],
    ids=["no base64", "too few bytes", "the second too short"],
)
def test_what_is_no_key_is_refused_without_quoting_it(told, tmp_path):
    with pytest.raises(
        SettingsInvalid, match=r"ANSWERMILL_ENCRYPTION_KEYS: key . is no 32"
    ) as error:
        load.load(encryption_keys=told)
    assert told not in str(error.value)
    file = tmp_path / "keys"
    file.write_text(told)
    with pytest.raises(SettingsInvalid, match="ANSWERMILL_ENCRYPTION_KEYS_FILE: key"):
        load.load(encryption_keys_file=file)


def test_keys_come_from_a_setting_or_a_file(tmp_path):
    told = [base64.b64encode(key).decode() for key in KEYS]
    file = tmp_path / "keys"
    file.write_text("\n".join(told) + "\n")
    assert load.load(encryption_keys=", ".join(told)).keys == KEYS
    assert load.load(encryption_keys_file=file).keys == KEYS
    assert load.load().keys == []
