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
COLUMN = "questions.text"


@given(TEXTS | TEXTS.map(lambda text: MARK + text), st.lists(st.sampled_from(KEYS), unique=True))
def test_every_encrypted_text_decrypts_to_itself(text, keys):
    cipher = Cipher(keys)
    stored = cipher.encrypt(text, COLUMN)
    assert cipher.decrypt(stored, COLUMN) == text
    assert cipher.is_current(stored)
    content = text.encode()
    assert cipher.decrypt_bytes(cipher.encrypt_bytes(content, COLUMN), COLUMN) == content
    if keys:
        assert stored.startswith(f"{MARK}{encryption.id_of(keys[0])}:")


def test_every_key_decrypts_and_the_first_key_encrypts():
    old, new = Cipher(KEYS[:1]), Cipher([KEYS[1], KEYS[0]])
    stored = old.encrypt("text", COLUMN)
    assert new.decrypt(stored, COLUMN) == "text"
    assert not new.is_current(stored)
    with pytest.raises(KeyMissing, match=encryption.id_of(KEYS[1])):
        old.decrypt(new.encrypt("text", COLUMN), COLUMN)


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_byte_is_detected(at, by):
    cipher = Cipher(KEYS)
    stored = bytearray(cipher.encrypt_bytes(b"x" * 40, COLUMN))
    at = min(at + len(f"{MARK}00000000:"), len(stored) - 1)
    stored[at] ^= by
    with pytest.raises(TextDamaged):
        cipher.decrypt_bytes(bytes(stored), COLUMN)


def test_a_value_of_another_column_is_refused():
    cipher = Cipher(KEYS)
    with pytest.raises(TextDamaged):
        cipher.decrypt(cipher.encrypt("text", COLUMN), "results.answer")
    with pytest.raises(TextDamaged):
        cipher.decrypt(cipher.encrypt("text", COLUMN)[:-9], COLUMN)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ExtraMissing, match="encryption"):
        Cipher(KEYS)
    assert Cipher().encrypt("text", COLUMN) == "text"


@pytest.mark.parametrize(
    "keys",
    ["short", "YWJj", f"{encryption.new_key()},{encryption.new_key()[:-8]}"],
    ids=["not base64", "too few bytes", "the second too short"],
)
def test_an_invalid_key_is_refused_without_quoting_it(keys, tmp_path):
    with pytest.raises(
        SettingsInvalid, match=r"ANSWERMILL_ENCRYPTION_KEYS: key . is not 32"
    ) as error:
        load.load(encryption_keys=keys)
    assert keys not in str(error.value)
    file = tmp_path / "keys"
    file.write_text(keys)
    with pytest.raises(SettingsInvalid, match="ANSWERMILL_ENCRYPTION_KEYS_FILE: key"):
        load.load(encryption_keys_file=file)


def test_keys_come_from_a_setting_or_a_file(tmp_path):
    encoded = [base64.b64encode(key).decode() for key in KEYS]
    file = tmp_path / "keys"
    file.write_text("\n".join(encoded) + "\n")
    assert load.load(encryption_keys=", ".join(encoded)).keys == KEYS
    assert load.load(encryption_keys_file=file).keys == KEYS
    assert load.load().keys == []
