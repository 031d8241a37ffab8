"""Settings of metrics, traces, logs and Flower."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, HttpUrl, IPvAnyAddress, SecretStr, field_validator

from core.settings.base import SettingsPart


class ObservabilitySettings(SettingsPart):
    """Metrics, traces, logs and Flower."""

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=0,
        description="Port on which a worker serves metrics to Prometheus. The workers of `up` use"
        " this port and the next ones. 0: none.",
    )
    metrics_address: IPvAnyAddress = Field(
        default=IPv4Address("127.0.0.1"), description="Address of METRICS_PORT."
    )
    traces_url: HttpUrl | None = Field(
        default=None,
        description="URL of the collector of spans, for OTLP over HTTP, such as"
        " http://collector:4318/v1/traces. OTEL_EXPORTER_OTLP_HEADERS also applies. Unset: no"
        " traces.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level of the events that are logged: debug, info, warning or error.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="Format of the log: console (text with colors) or json (one object a line).",
    )
    flower_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=5555, description="Port of Flower. 0: any free port on loopback."
    )
    flower_auth: SecretStr | None = Field(
        default=None,
        description="USER:PASSWORD that Flower requires. Unset: no password, and Flower listens on"
        " loopback only.",
    )

    @field_validator("traces_url")
    @classmethod
    def _check_opentelemetry(cls, value: HttpUrl | None) -> HttpUrl | None:
        if value is not None and find_spec("opentelemetry") is None:
            msg = "needs OpenTelemetry: pip install 'answermill[traces]'"
            raise ValueError(msg)
        return value
