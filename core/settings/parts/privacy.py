"""Settings of encryption and redaction of stored texts."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from core.settings import value_parsers
from core.settings.base import ReadableFile, SettingsPart


class PrivacySettings(SettingsPart):
    """Encryption and redaction of stored texts."""

    encryption_keys: SecretStr | None = Field(
        default=None,
        description="Keys that encrypt question and answer texts in the database, separated by"
        " commas or white space. The first key encrypts, all keys decrypt. Create a key with"
        " `answermill db encryption-key`. Unset: texts are not encrypted.",
    )
    encryption_keys_file: ReadableFile | None = Field(
        default=None, description="File that holds these keys instead."
    )
    redact: str | None = Field(
        default=None,
        description="Kinds of data that are removed from questions before they are stored,"
        " separated by commas: email, phone, card. Removed data cannot be restored. Unset: none.",
    )

    @field_validator("encryption_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            value_parsers.parse_encryption_keys(value.get_secret_value())
        return value

    @field_validator("encryption_keys_file")
    @classmethod
    def _check_keys_file(cls, value: ReadableFile | None) -> ReadableFile | None:
        if value is not None:
            value_parsers.read_encryption_keys(value)
        return value

    @field_validator("redact")
    @classmethod
    def _check_redact(cls, value: str | None) -> str | None:
        if value is not None:
            value_parsers.parse_redaction_kinds(value)
        return value

    @property
    def keys(self) -> list[bytes]:
        """The keys of encrypted texts, of which the first encrypts."""
        if self.encryption_keys is not None:
            return value_parsers.parse_encryption_keys(self.encryption_keys.get_secret_value())
        if self.encryption_keys_file is not None:
            return value_parsers.read_encryption_keys(self.encryption_keys_file)
        return []

    @property
    def redacted(self) -> frozenset[value_parsers.RedactionKind]:
        """The kinds of data that are removed from questions."""
        return (
            frozenset() if self.redact is None else value_parsers.parse_redaction_kinds(self.redact)
        )
