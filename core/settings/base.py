"""CAPTION core.settings.base."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

PREFIX = "ANSWERMILL_"


# Where Docker, Swarm and Kubernetes put secrets: a file each, `answermill_broker_url`.
SECRETS = Path("/run/secrets")


PositiveSeconds = Annotated[float, Field(gt=0)]


PositiveCount = Annotated[int, Field(gt=0)]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - keeps links
