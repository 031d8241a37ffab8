"""All settings in one frozen class.

A setting comes from the first source that has it: a flag, the environment variable
`ANSWERMILL_<NAME>`, a `.env` file in the working folder, a file of that name in lower case in the
secrets of a container, its default. Programs read the settings once and pass them on.

Not covered: the settings themselves, which the modules of the parts hold, and the report of their
faults, which is `core.settings.load`.
"""

from __future__ import annotations

from core.settings.parts.broker import BrokerSettings
from core.settings.parts.model import ModelSettings
from core.settings.parts.observability import ObservabilitySettings
from core.settings.parts.privacy import PrivacySettings
from core.settings.parts.submission import SubmissionSettings
from core.settings.parts.web import WebSettings
from core.settings.parts.worker import WorkerSettings


# Pydantic takes the fields of the last base class first.
class Settings(
    ObservabilitySettings,
    PrivacySettings,
    WebSettings,
    WorkerSettings,
    SubmissionSettings,
    ModelSettings,
    BrokerSettings,
):
    """Every setting, validated and frozen."""
