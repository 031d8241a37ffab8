"""Settings of Redis, the broker of Celery."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from core.settings.base import PREFIX, ReadableFile
from core.settings.parts.storage import StorageSettings
from core.settings.urls import check_port, scheme_of

# Linux holds the path of a socket in 108 bytes, macOS in 104 with the final zero.
_LONGEST_SOCKET_PATH = 103

_BROKER_SCHEMES = ("redis", "rediss", "redis+socket")


def _redis_socket(home: Path) -> Path:
    return home / "run" / "redis.sock"


class BrokerSettings(StorageSettings):
    """Redis and its TLS files.

    A subclass of `StorageSettings`, because `broker_url` is checked after `home`.
    """

    broker_url: SecretStr | None = Field(
        default=None,
        description="URL of Redis or Valkey. Unset: the embedded Redis under HOME.",
    )
    broker_ca: ReadableFile | None = Field(
        default=None,
        description="File of the CA certificates that sign the certificate of a rediss:// Redis."
        " Unset: the CAs of the system.",
    )
    broker_cert: ReadableFile | None = Field(
        default=None,
        description="File of the client certificate for a rediss:// Redis. Unset: none.",
    )
    broker_key: ReadableFile | None = Field(
        default=None,
        description="File of the private key of BROKER_CERT. Unset: the key is in the file of"
        " BROKER_CERT.",
    )

    @field_validator("broker_url")
    @classmethod
    def _check_broker(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value:
            _check_scheme(scheme_of(value))
            check_port(value.get_secret_value())
            _check_query(value.get_secret_value())
        elif "home" in info.data:  # otherwise HOME itself is wrong
            _check_length(_redis_socket(info.data["home"]))
        return value

    @property
    def redis_socket(self) -> Path:
        """The Unix socket of the embedded Redis."""
        return _redis_socket(self.home)

    @property
    def embedded_broker(self) -> bool:
        """Whether Redis is the one that `answermill up` starts."""
        return self.broker_url is None

    @property
    def broker(self) -> str:
        """The Celery URL of the broker with its password, never shown.

        Raises:
            SettingsInvalid: no URL is set, and embedded services are turned off.
        """
        if self.broker_url is None:
            self.require_embedded("BROKER_URL")
            return f"redis+socket://{self.redis_socket}"
        return self.broker_url.get_secret_value()


def _check_scheme(scheme: str) -> None:
    if "cluster" in scheme:
        msg = (
            f"{scheme}:// (Redis Cluster) is not supported by Celery's Redis transport;"
            " use a single Redis or Valkey"
        )
        raise ValueError(msg)
    if scheme not in _BROKER_SCHEMES:
        known = "://, ".join(_BROKER_SCHEMES)
        msg = f"{scheme}:// is not supported; use one of {known}://"
        raise ValueError(msg)


def _check_query(url: str) -> None:
    if re.search(r"[?&]ssl_", url):
        msg = (
            f"the URL contains ssl_ options; set {PREFIX}BROKER_CA, _CERT and _KEY instead"
            " (the check of certificates cannot be turned off)"
        )
        raise ValueError(msg)


def _check_length(socket: Path) -> None:
    length = len(os.fsencode(socket))
    if length > _LONGEST_SOCKET_PATH:
        msg = (
            f"{PREFIX}HOME: {socket} is {length} bytes long, but the path of a Unix socket has"
            f" at most {_LONGEST_SOCKET_PATH}; choose a shorter folder"
        )
        raise ValueError(msg)
