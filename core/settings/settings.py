"""Every setting: its unit, its default and what raising it costs.

Read once, frozen, handed to whoever needs it. A setting comes from a flag, else the
environment variable `ANSWERMILL_<NAME>`, else a `.env` file in the working folder, else a
file of that name, in lower case, among a container's secrets, else its default. All faults
are told at once, a misspelt name among them.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    HttpUrl,
    IPvAnyAddress,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsInvalid
from core.settings import value_parsers
from core.settings.base import PREFIX, SECRETS, PositiveCount, PositiveSeconds, _absolute
from core.settings.broker import _BROKER_SCHEMES, _check_length, _redis_socket
from core.settings.model import _STORE_URL
from core.settings.storage import _DATABASE_SCHEMES, _data_folder
from core.settings.urls import _check_port, _scheme
from core.settings.web import _LOOPBACK, _SHORTEST_SECRET


class Settings(BaseSettings):
    """Every setting, checked and frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # people who write `NAME=` mean that it is not set
        extra="ignore",  # a .env file is often shared; our own misspelt names are told by `load`
        frozen=True,
        hide_input_in_errors=True,  # a URL may hold a password
    )

    home: Path = Field(
        default_factory=_data_folder,
        description="Folder of everything embedded: database, Redis files, models, logs.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of SQLite or PostgreSQL. Unset: SQLite under HOME.",
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description="URL of Redis or Valkey. Unset: the embedded Redis under HOME.",
    )
    broker_ca: Path | None = Field(
        default=None,
        description="File of the CA certificates that a rediss:// Redis is checked against. Unset:"
        " the system's.",
    )
    broker_cert: Path | None = Field(
        default=None,
        description="File of the certificate that we show to a rediss:// Redis. Unset: none.",
    )
    broker_key: Path | None = Field(
        default=None,
        description="File of that certificate's key. Unset: it is in the certificate's file.",
    )
    embedded: bool = Field(
        default=True,
        description="Whether a database or a Redis without a URL is the embedded one. Off, as in"
        " the images: a URL that is missing is a fault.",
    )
    model_store: Path | SecretStr | None = Field(
        default=None,
        description="Folder, or URL that fsspec speaks (s3://…), of the model bundles. Unset:"
        " HOME/models. From a URL, bundles are fetched to HOME/fetched.",
    )
    model: str | None = Field(
        default=None,
        description="Model that workers answer with: NAME, whatever version of it is in production,"
        " or NAME@VERSION, always that one. Unset: the only model that has a production version.",
    )

    encryption_keys: SecretStr | None = Field(
        default=None,
        description="Keys, separated by commas or white space, that question and answer texts are"
        " encrypted with in the database: the first one encrypts, all of them decrypt;"
        " `answermill db encryption-key` makes one. Unset: texts are stored as they are.",
    )
    encryption_keys_file: Path | None = Field(
        default=None, description="File that holds these keys instead."
    )

    redact: str | None = Field(
        default=None,
        description="What is taken out of questions before they are stored, separated by commas:"
        " email, phone, card. More: what was asked can't be read again. Unset: nothing.",
    )

    job_size: Annotated[int, Field(gt=0, le=10_000)] = Field(
        default=128,
        description="Questions in a job. More: fewer messages and commits; a longer wait for an"
        " interactive question, and more to do again when a worker dies.",
    )
    slice_jobs: PositiveCount = Field(
        default=32,
        description="Jobs that `submit` stores in one transaction. More: fewer commits, more"
        " memory in the producer.",
    )
    question_chars: PositiveCount = Field(
        default=20_000,
        description="Longest question, in characters, that is given to the model. A longer one is"
        " handed off. More: one question may hold a worker for longer.",
    )
    high_water: PositiveCount = Field(
        default=1_000,
        description="Jobs of a lane that wait in Redis at most; the rest wait in SQL. More: more"
        " memory in Redis, rarer sweeps suffice.",
    )
    max_waiting_bulk: PositiveCount = Field(
        default=100_000_000,
        description="Questions of the lane bulk that wait for a worker at most, in SQL and Redis."
        " More: more disk. When so many wait, `submit` waits for room or says when to retry.",
    )
    max_waiting_interactive: PositiveCount = Field(
        default=100_000, description="The same for the lane interactive."
    )
    max_waiting: PositiveCount | None = Field(
        default=None,
        description="The same for both lanes together. Unset: each lane's own limit is all.",
    )

    answer_cache: Annotated[int, Field(ge=0)] = Field(
        default=10_000,
        description="Answers that each replica remembers, for questions that come again. More:"
        " more memory, about 1 KB each. 0: none.",
    )
    runners_up: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description="Next best entries, with scores, that are stored with every result. More:"
        " larger rows.",
    )

    lease_seconds: PositiveSeconds = Field(
        default=24.0,
        description="How long a claimed job belongs to a worker that is not heard of. More: slower"
        " recovery from a dead worker, more patience with a stalled database.",
    )
    sweep_seconds: PositiveSeconds = Field(
        default=3.0,
        description="Mean time between two sweeps of a worker. More: slower recovery, fewer"
        " queries.",
    )
    follow_seconds: PositiveSeconds = Field(
        default=5.0,
        description="Mean time between two looks of a worker at which model version is in force."
        " More: promotions and rollbacks take effect later, fewer queries.",
    )
    job_time_limit: Annotated[int, Field(gt=0)] = Field(
        default=300,
        description="Seconds after which a job's process is killed and the job counted as failed"
        " once. More: slower recovery from a question that hangs the model.",
    )
    drain_seconds: PositiveSeconds = Field(
        default=20.0,
        description="How long after SIGTERM the job in work may still take; then it is given back."
        " More: fewer jobs begun anew; keep it below the grace period of what stops the worker.",
    )
    attempts: PositiveCount = Field(
        default=3,
        description="Failed attempts after which a single question is given up. More: more"
        " patience with unlucky machines, more time lost on a poison question.",
    )
    stall_seconds: PositiveSeconds = Field(
        default=120.0,
        description="How long a worker may get on with nothing, while there is work, before"
        " `worker --health` says so. More: slower to tell, more patience with a slow model.",
    )
    breaker_failures: PositiveCount = Field(
        default=5,
        description="Failed attempts in a row, with no job answered in between, after which a"
        " worker stops taking work. More: more of the backlog is tried on a broken model.",
    )
    breaker_seconds: PositiveSeconds = Field(
        default=10.0,
        description="How long it then waits before it tries one job; twice as long after each"
        " try that fails, ten minutes at most. More: later to notice that all is well.",
    )
    replicas: PositiveCount = Field(
        default=1,
        description="Copies of the model in one worker. More: more memory; CPU cores are shared"
        " out among them.",
    )
    memory_bytes: PositiveCount | None = Field(
        default=None,
        description="Memory that each replica may have; as it runs short, passes shrink. More:"
        " larger passes. Unset: what `ulimit`, the container and the machine leave it.",
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Threads of each replica. 0: its share of the CPU budget."
    )
    device: value_parsers.Device = Field(
        default=value_parsers.Device.AUTO,
        description="What an encoder on torch computes on: cpu, cuda, or auto, which is cuda where"
        " torch sees a card. ONNX Runtime computes on the CPU.",
    )

    flower_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=5555, description="Port of Flower. 0: any free one, on loopback."
    )
    flower_auth: SecretStr | None = Field(
        default=None,
        description="USER:PASSWORD that Flower asks for. Unset: it asks for none, and serves"
        " loopback alone.",
    )
    web_port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        default=8000, description="Port of the HTTP front."
    )
    web_cert: Path | None = Field(
        default=None,
        description="File of the HTTP front's certificate, and of those that lead to its CA. Unset:"
        " it serves plain HTTP.",
    )
    web_key: Path | None = Field(
        default=None,
        description="File of that certificate's key. Unset: it is in the certificate's file.",
    )
    web_threads: Annotated[int, Field(gt=3)] = Field(
        default=128,
        description="Requests that each process of the HTTP front serves at once; three in four"
        " may wait for an answer. More: more memory, more clients that wait.",
    )
    web_processes: PositiveCount = Field(
        default=2,
        description="Processes of the HTTP front. More: more memory, more cores used by uploads.",
    )
    web_rate: PositiveCount = Field(
        default=6_000,
        description="Requests a minute that each API key may make. More: one caller may take more"
        " of the HTTP front from the others.",
    )
    web_upload_bytes: PositiveCount = Field(
        default=1 << 30,
        description="Largest upload. More: more room needed in the temporary folder.",
    )

    webhook_secret: SecretStr | None = Field(
        default=None,
        description="What webhooks are signed with: whsec_ and 24 to 64 bytes as base64; several,"
        " separated by white space, while one takes another's place. Unset: none are sent.",
    )
    webhook_private: bool = Field(
        default=False,
        description="Whether webhooks may go to private, loopback and link-local addresses, and"
        " without TLS. On: whoever may submit may let the HTTP front call inside your network.",
    )
    session_secret: SecretStr | None = Field(
        default=None,
        description="What signs the sessions of the page, at least 32 random characters, the same"
        " for all processes of the HTTP front. Another one: everybody signs in again. Unset: made"
        " once, under HOME, where things are embedded.",
    )
    desk_seconds: PositiveSeconds = Field(
        default=600.0,
        description="How long a hand-off belongs to whoever has taken it at the desk. More: it"
        " waits longer when they went away.",
    )

    web_url: HttpUrl | None = Field(
        default=None,
        description="Where browsers find the HTTP front, https://…; the issuer sends them back.",
    )
    oidc_issuer: HttpUrl | None = Field(
        default=None,
        description="OpenID Connect issuer through which people may sign in to the page, https://….",
    )
    oidc_client_id: str | None = Field(default=None, description="What the issuer calls us.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="By which the issuer knows us."
    )
    oidc_claim: str = Field(
        default="groups",
        description="Claim of the identity token that tells somebody's groups: a name or a list.",
    )
    oidc_scopes: str | None = Field(
        default=None,
        description="What groups open, SCOPE=GROUP, separated by blanks: desk=support read=support"
        " admin=ops. Who is in none is refused.",
    )

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=0,
        description="Port at which a worker serves what it counts and times to Prometheus; those of"
        " `up` take this one and the next ones. 0: none.",
    )
    metrics_address: IPvAnyAddress = Field(
        default=IPv4Address("127.0.0.1"), description="Address of that port."
    )
    traces_url: HttpUrl | None = Field(
        default=None,
        description="Where spans go, by OTLP over HTTP, such as http://collector:4318/v1/traces."
        " Unset: nowhere. OTEL_EXPORTER_OTLP_HEADERS is heeded.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @field_validator("traces_url")
    @classmethod
    def _needs_its_extra(cls, value: HttpUrl | None) -> HttpUrl | None:
        if value is not None and find_spec("opentelemetry") is None:
            msg = "needs OpenTelemetry: pip install 'answermill[traces]'"
            raise ValueError(msg)
        return value

    @field_validator("home")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return _absolute(value)

    @field_validator(
        "broker_ca", "broker_cert", "broker_key", "encryption_keys_file", "web_cert", "web_key"
    )
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            with value.open("rb"):
                return value
        except OSError as error:
            msg = f"{value} can't be read: {(error.strerror or str(error)).lower()}"
            raise ValueError(msg) from None

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _ = value_parsers.signing_keys(value.get_secret_value())
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _encrypted(cls, value: HttpUrl | None) -> HttpUrl | None:
        if value is not None and value.scheme != "https" and value.host not in _LOOPBACK:
            msg = "an issuer is asked by https:// alone"
            raise ValueError(msg)
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _opens(cls, value: str | None) -> str | None:
        if value is not None:
            _ = value_parsers.groups(value)
        return value

    @field_validator("redact")
    @classmethod
    def _are_kinds(cls, value: str | None) -> str | None:
        if value is not None:
            _ = value_parsers.kinds(value)
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _ = value_parsers.keys(value.get_secret_value())
        return value

    @field_validator("encryption_keys_file")
    @classmethod
    def _holds_keys(cls, value: Path | None) -> Path | None:
        if value is not None:
            _ = value_parsers.keys_in(value)
        return value

    @field_validator("model_store", mode="before")
    @classmethod
    def _folder_or_url(cls, value: object) -> object:
        if isinstance(value, str):
            if _STORE_URL.match(value):
                return SecretStr(value)
            value = Path(value.removeprefix("file://"))
        return _absolute(value) if isinstance(value, Path) else value

    @field_validator("session_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _SHORTEST_SECRET:
            msg = f"shorter than {_SHORTEST_SECRET} characters; `openssl rand -hex 32` makes one"
            raise ValueError(msg)
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value and (scheme := _scheme(value)) not in _DATABASE_SCHEMES:
            msg = f"{scheme}:// is not supported; use sqlite:///FILE or postgresql://…"
            raise ValueError(msg)
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if not value:
            if "home" in info.data:  # else it is a fault itself
                _check_length(_redis_socket(info.data["home"]))
            return value
        scheme = _scheme(value)
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
        _check_port(value.get_secret_value())
        if re.search(r"[?&]ssl_", value.get_secret_value()):
            msg = (
                f"TLS is set by {PREFIX}BROKER_CA, _CERT and _KEY, not in the URL;"
                " that certificates are checked can't be turned off"
            )
            raise ValueError(msg)
        return value

    @property
    def redis_socket(self) -> Path:
        """The embedded Redis's Unix socket."""
        return _redis_socket(self.home)

    @property
    def embedded_database(self) -> bool:
        """Whether the database is the one under HOME, which we may create and upgrade."""
        return self.database_url is None

    @property
    def embedded_broker(self) -> bool:
        """Whether Redis is the one that `answermill up` starts."""
        return self.broker_url is None

    @property
    def database(self) -> str:
        """SQLAlchemy's URL of the database, password included: never show it.

        Raises:
            SettingsInvalid: there is none, and nothing is embedded.
        """
        if self.database_url is None:
            self.require_embedded("DATABASE_URL")
            return f"sqlite:///{self.home / 'answermill.db'}"
        url = self.database_url.get_secret_value()
        return url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def broker(self) -> str:
        """Celery's URL of the broker, password included: never show it.

        Raises:
            SettingsInvalid: there is none, and nothing is embedded.
        """
        if self.broker_url is None:
            self.require_embedded("BROKER_URL")
            return f"redis+socket://{self.redis_socket}"
        return self.broker_url.get_secret_value()

    @property
    def keys(self) -> list[bytes]:
        """The keys of what is encrypted in the database; the first one encrypts."""
        if self.encryption_keys is not None:
            return value_parsers.keys(self.encryption_keys.get_secret_value())
        if self.encryption_keys_file is not None:
            return value_parsers.keys(
                self.encryption_keys_file.read_text(encoding="utf-8", errors="replace")
            )
        return []

    @property
    def signing_keys(self) -> list[bytes]:
        """What webhooks are signed with; none are sent without."""
        secret = self.webhook_secret
        return [] if secret is None else value_parsers.signing_keys(secret.get_secret_value())

    @property
    def oidc_groups(self) -> list[tuple[str, str]]:
        """Scopes, each with a group that opens it."""
        return [] if self.oidc_scopes is None else value_parsers.groups(self.oidc_scopes)

    @property
    def redacted(self) -> frozenset[value_parsers.RedactionKind]:
        """What is taken out of questions before they are stored."""
        return frozenset() if self.redact is None else value_parsers.kinds(self.redact)

    def require_embedded(self, name: str) -> None:
        """Say that a setting is missing, where nothing is embedded that could stand in for it.

        Raises:
            SettingsInvalid: so it is.
        """
        if not self.embedded:
            secret = SECRETS / f"{PREFIX}{name}".lower()
            fault = f"not set, nor is there a secret {secret}, and nothing is embedded here"
            raise SettingsInvalid([f"{PREFIX}{name}: {fault}"])

    @property
    def store_url(self) -> str | None:
        """The URL of the model store, secrets included; None: it is the folder `models`."""
        url = self.model_store
        return url.get_secret_value() if isinstance(url, SecretStr) else None

    @property
    def models(self) -> Path:
        """The folder in which bundles are opened: the store, or what is fetched from it."""
        if isinstance(self.model_store, SecretStr):
            return self.home / "fetched"
        return self.model_store or self.home / "models"
