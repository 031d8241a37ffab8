"""Settings of the model store, the model and its answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from core.settings.base import PositiveCount, absolute
from core.settings.parts.storage import StorageSettings
from core.settings.value_parsers import Device

# A file:// URL is a folder, from which bundles are read without a copy.
_STORE_URL = re.compile(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]*(://|::)")


class ModelSettings(StorageSettings):
    """The model store, the model and its answers."""

    model_store: Path | SecretStr | None = Field(
        default=None,
        description="Folder of the model bundles, or a URL that fsspec supports (s3://…). Unset:"
        " HOME/models. Workers copy bundles from a URL to HOME/fetched.",
    )
    model: str | None = Field(
        default=None,
        description="Model with which workers answer: NAME for the version in production, or"
        " NAME@VERSION for one version. Unset: the only model that has a version in production.",
    )
    question_chars: PositiveCount = Field(
        default=20_000,
        description="Maximum length in characters of a question that the model answers. Longer"
        " questions are handed off. Higher: one question may occupy a worker for longer.",
    )
    answer_cache: Annotated[int, Field(ge=0)] = Field(
        default=10_000,
        description="Answers that each replica caches for repeated questions. 0: none. Higher: more"
        " memory, about 1 KB an answer.",
    )
    runners_up: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description="Next best entries, with scores, that are stored with every result. Higher:"
        " larger rows.",
    )
    device: Device = Field(
        default=Device.AUTO,
        description="Device of a torch encoder: cpu, cuda, or auto (cuda if torch finds a GPU)."
        " ONNX Runtime always runs on the CPU.",
    )

    @field_validator("model_store", mode="before")
    @classmethod
    def _split_folder_from_url(cls, value: object) -> object:
        if isinstance(value, str):
            if _STORE_URL.match(value):
                return SecretStr(value)
            value = Path(value.removeprefix("file://"))
        return absolute(value) if isinstance(value, Path) else value

    @property
    def store_url(self) -> str | None:
        """The URL of the model store with its secrets, or None for a folder."""
        url = self.model_store
        return url.get_secret_value() if isinstance(url, SecretStr) else None

    @property
    def models(self) -> Path:
        """The folder from which bundles are loaded: the store, or copies from it."""
        if isinstance(self.model_store, SecretStr):
            return self.home / "fetched"
        return self.model_store or self.home / "models"
