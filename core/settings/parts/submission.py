"""Settings of submission: sizes of jobs, and limits of the backlog."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.settings.base import PositiveCount, SettingsPart


class SubmissionSettings(SettingsPart):
    """Sizes of jobs, and limits of the backlog."""

    job_size: Annotated[int, Field(gt=0, le=10_000)] = Field(
        default=128,
        description="Maximum number of questions in a job. Higher: fewer messages and commits, a"
        " longer wait for interactive questions, and more repeated work after a worker dies.",
    )
    slice_jobs: PositiveCount = Field(
        default=32,
        description="Jobs that `submit` stores in one transaction. Higher: fewer commits, more"
        " memory in the producer.",
    )
    high_water: PositiveCount = Field(
        default=1_000,
        description="Maximum number of jobs of a lane that wait in Redis; the others wait in SQL."
        " Higher: more memory in Redis, and sweeps may run less often.",
    )
    max_waiting_bulk: PositiveCount = Field(
        default=100_000_000,
        description="Maximum number of questions of the lane bulk that wait for a worker, in SQL"
        " and Redis. At the limit, `submit` waits for room, or stops and prints when to retry."
        " Higher: more disk space.",
    )
    max_waiting_interactive: PositiveCount = Field(
        default=100_000,
        description="Maximum number of questions of the lane interactive that wait for a worker,"
        " with the same effects.",
    )
    max_waiting: PositiveCount | None = Field(
        default=None,
        description="Maximum number of questions of both lanes together that wait for a worker."
        " Unset: only the limits of the lanes apply.",
    )
