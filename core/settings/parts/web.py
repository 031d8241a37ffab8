"""Settings of the HTTP front: server, sign-in and webhooks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, HttpUrl, SecretStr, field_validator

from core.domain.api_key import Scope
from core.settings import value_parsers
from core.settings.base import PositiveCount, PositiveSeconds, ReadableFile, SettingsPart

_SHORTEST_SECRET = 32  # characters

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class SignInSettings(SettingsPart):
    """Sessions of the page, and sign-in with OpenID Connect."""

    session_secret: SecretStr | None = Field(
        default=None,
        description="Secret that signs the sessions of the page: at least 32 random characters,"
        " the same in all processes of the HTTP front. A new secret signs out all users. Unset:"
        " created once under HOME if embedded services are on.",
    )
    web_url: HttpUrl | None = Field(
        default=None,
        description="URL of the HTTP front in browsers, https://…, to which the issuer redirects.",
    )
    oidc_issuer: HttpUrl | None = Field(
        default=None,
        description="URL of the OpenID Connect issuer with which users sign in to the page,"
        " https://….",
    )
    oidc_client_id: str | None = Field(default=None, description="Client id at the issuer.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="Client secret at the issuer."
    )
    oidc_claim: str = Field(
        default="groups",
        description="Claim of the identity token that holds the groups of a user: a name or a list"
        " of names.",
    )
    oidc_scopes: str | None = Field(
        default=None,
        description="Scopes of groups as SCOPE=GROUP, separated by blanks, such as `desk=support"
        " read=support admin=ops`. A user in none of the groups is refused.",
    )

    @field_validator("session_secret")
    @classmethod
    def _check_session_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (length := len(value.get_secret_value())) < _SHORTEST_SECRET:
            msg = (
                f"has {length} characters, fewer than {_SHORTEST_SECRET};"
                " create a secret with `openssl rand -hex 32`"
            )
            raise ValueError(msg)
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _check_issuer(cls, value: HttpUrl | None) -> HttpUrl | None:
        if value is not None and value.scheme != "https" and value.host not in _LOOPBACK:
            msg = f"{value.scheme}:// is not encrypted; use an issuer with https://"
            raise ValueError(msg)
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _check_oidc_scopes(cls, value: str | None) -> str | None:
        if value is not None:
            value_parsers.parse_group_scopes(value)
        return value

    @property
    def oidc_groups(self) -> list[tuple[Scope, str]]:
        """Pairs of a scope and a group whose members have the scope."""
        return (
            [] if self.oidc_scopes is None else value_parsers.parse_group_scopes(self.oidc_scopes)
        )


class WebSettings(SignInSettings):
    """The server of the HTTP front, its desk and its webhooks."""

    web_port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        default=8000, description="Port of the HTTP front."
    )
    web_cert: ReadableFile | None = Field(
        default=None,
        description="File of the certificate of the HTTP front, with the intermediate certificates"
        " up to its CA. Unset: plain HTTP.",
    )
    web_key: ReadableFile | None = Field(
        default=None,
        description="File of the private key of WEB_CERT. Unset: the key is in the file of"
        " WEB_CERT.",
    )
    web_threads: Annotated[int, Field(gt=3)] = Field(
        default=128,
        description="Concurrent requests of each process of the HTTP front; three in four may wait"
        " for an answer. Higher: more memory, more clients that wait.",
    )
    web_processes: PositiveCount = Field(
        default=2,
        description="Processes of the HTTP front. Higher: more memory, more CPU cores for uploads.",
    )
    web_rate: PositiveCount = Field(
        default=6_000,
        description="Maximum number of requests of each API key in a minute. Higher: one client may"
        " use more of the HTTP front at the expense of others.",
    )
    web_upload_bytes: PositiveCount = Field(
        default=1 << 30,
        description="Maximum size of an upload in bytes. Higher: more space in the temporary"
        " folder.",
    )
    desk_seconds: PositiveSeconds = Field(
        default=600.0,
        description="Seconds until a hand-off that an agent took at the desk is released. Higher: a"
        " longer wait after an agent leaves.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Secret that signs webhooks: whsec_ and 24 to 64 bytes in base64. During a"
        " rotation, several secrets separated by white space. Unset: no webhooks are sent.",
    )
    webhook_private: bool = Field(
        default=False,
        description="Allow webhooks to private, loopback and link-local addresses, and without TLS."
        " On: a client that may submit can make the HTTP front call hosts in your network.",
    )

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            value_parsers.parse_signing_keys(value.get_secret_value())
        return value

    @property
    def signing_keys(self) -> list[bytes]:
        """The keys that sign webhooks, without which none are sent."""
        secret = self.webhook_secret
        return [] if secret is None else value_parsers.parse_signing_keys(secret.get_secret_value())
