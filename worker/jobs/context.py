"""The use case: claim jobs, answer their questions, store their results.

Jobs that are small are topped up: claimed, read, answered and stored together with others
of their lane. Each keeps its own lease and its own fence, and fails by itself: when the
model raises on several, each is answered alone.

Knows neither Celery nor torch: the models are arguments. A fault of the database is
waited out and burns no attempt. A fault of the model counts against the job, unless the
model fails on a harmless question, too: then the job goes back unharmed. When a lease is
lost on the way, nothing of that job is written and nothing is raised.
What is done meanwhile, and in which order, is told by `worker.along`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
import structlog
import tenacity

from db import batches, claims, jobs, results
from db.entities import Answer, Job, JobState, Lane, Result, Status
from db.errors import DatabaseAway, LeaseLost
from db.session import transaction
from worker import tracing
from worker.following import Held
from worker.leases import LeaseKeeper
from worker.meters import Meters, Stage
from worker.model.reasons import Reason
from worker.passes import Model, answer_texts

if TYPE_CHECKING:
    from db.spans import Traces

log = structlog.get_logger()

EMPTY = Answer(Status.FAILED, error="empty question")
TOO_LONG = Answer(Status.HANDED_OFF, reason=Reason.TOO_LONG)
EXPIRED = Answer(Status.EXPIRED)

# Jobs that are answered together at most: each is one statement when they are stored.
_TOGETHER = 64
_ANY_SIZE = 1 << 62

# A question that no model has a reason to fail on; a number makes it one never answered before.
_HARMLESS = "Hello? {}"

outlast_the_database = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(DatabaseAway),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
    before_sleep=lambda _: log.warning("database away, waiting"),
    reraise=True,
)


class Progress(Protocol):
    """Hears how many of a job's questions have been through the model."""

    def __call__(self, done: int, size: int, /) -> None:
        """Hear it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a worker process answers with and under which rules."""

    engine: sa.Engine
    clock: Callable[[], datetime]
    keeper: LeaseKeeper
    owner: str
    lease: timedelta
    attempts: int  # of a single question, before it is given up
    question_chars: int
    window: int = 128  # questions up to which jobs are claimed together
    meters: Meters = field(default_factory=Meters)
    traces: Traces | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed job with its unanswered questions: position, key and text each."""

    job: Job
    questions: list[tuple[int, str, str]]
    taken: float = field(default_factory=time.perf_counter, compare=False)  # when, here


Work = list[Claimed]  # what is answered together; never empty


@dataclass(frozen=True, slots=True)
class Answered:
    """A job with an answer to each of its questions, to be stored."""

    claimed: Claimed
    answers: list[Answer]
    model_version: str
    began: float  # when the model did, by time.perf_counter
    seconds: float  # that it took for all that it was answered with


@dataclass(frozen=True, slots=True)
class Failed:
    """A job whose attempt died.

    The exception itself is not kept: its traceback holds what the model had in memory.
    """

    claimed: Claimed
    error: str  # the exception's class
    message: str  # may quote a question: it goes into SQL, never into the log
    blameless: bool = False  # the model answers nothing at all


Outcome = Answered | Failed


def take(desk: Desk, job_id: int) -> Work | None:
    """Claim a queued job, topped up if it is small; None when it is not queued any more."""
    with desk.meters.timing(Stage.CLAIM), transaction(desk.engine) as conn:
        now = desk.clock()
        job = claims.claim(conn, job_id, owner=desk.owner, lease=desk.lease, now=now)
        return None if job is None else _topped_up(desk, conn, job, now)


def take_next(desk: Desk, lane: Lane) -> Work | None:
    """Claim the lane's oldest job, topped up if it is small; None when none is queued."""
    with desk.meters.timing(Stage.CLAIM), transaction(desk.engine) as conn:
        now = desk.clock()
        first = _claim_next(desk, conn, lane, room=_ANY_SIZE, limit=1, now=now)
        return _topped_up(desk, conn, first[0], now) if first else None


def _claim_next(
    desk: Desk, conn: sa.Connection, lane: Lane, *, room: int, limit: int, now: datetime
) -> list[Job]:
    return claims.claim_next(
        conn, lane, room=room, limit=limit, owner=desk.owner, lease=desk.lease, now=now
    )


def _topped_up(desk: Desk, conn: sa.Connection, first: Job, now: datetime) -> Work:
    taken = [first]
    # As many as fit if each is as large as the first; what is larger than that waits.
    more = min(desk.window // first.size, _TOGETHER) - 1
    if more > 0 and first.failures == 0:
        taken += _claim_next(desk, conn, first.lane, room=first.size, limit=more, now=now)
    asked = results.of_jobs(conn, taken)
    for job in taken:
        desk.meters.count_wait(job, now)
    return [Claimed(job, questions) for job, questions in zip(taken, asked, strict=True)]


def answer(desk: Desk, models: Held, work: Work, progress: Progress) -> list[Outcome]:
    """Answer what was claimed; whatever the model raises becomes the outcome of its job.

    Args:
        desk: the rules.
        models: of which each job has one, the same at every attempt.
        work: the claimed jobs.
        progress: hears how many questions are answered, for each model anew.
    """
    told: list[Outcome] = []
    version_of = {claimed.job.id: models.for_job(claimed.job.id) for claimed in work}
    by_version = sorted(work, key=lambda claimed: version_of[claimed.job.id].version)
    for _, same in groupby(by_version, key=lambda claimed: version_of[claimed.job.id].version):
        together = list(same)
        model = version_of[together[0].job.id]
        told += _answer_together(desk, model, together, progress)
    return told


def _answer_together(desk: Desk, model: Model, work: Work, progress: Progress) -> list[Outcome]:
    started = time.perf_counter()
    texts = [text for claimed in work for _, _, text in claimed.questions]
    try:
        answers = iter(answer_questions(model, texts, desk.question_chars, progress))
    except Exception as error:  # noqa: BLE001 - whatever a model raises counts against the job
        failed = Failed(work[0], type(error).__name__, str(error))
    else:
        seconds = time.perf_counter() - started
        return [
            Answered(
                claimed, [next(answers) for _ in claimed.questions], model.version, started, seconds
            )
            for claimed in work
        ]
    if len(work) == 1:
        return [replace(failed, blameless=not _answers(model))]
    alone = (_answer_together(desk, model, [claimed], progress) for claimed in work)
    return [outcome for outcomes in alone for outcome in outcomes]


def _answers(model: Model) -> bool:
    """Tell whether a model that has just raised answers anything."""
    try:
        answer_texts(model, [_HARMLESS.format(time.monotonic_ns())])
    except Exception:  # noqa: BLE001 - whatever a model raises
        return False
    return True


def answer_questions(
    model: Model, texts: Sequence[str], question_chars: int, progress: Progress
) -> list[Answer]:
    """Answer texts of any kind, in the order given, as every worker does.

    Args:
        model: what answers.
        texts: the questions.
        question_chars: a longer one never reaches the model, nor does a blank one.
        progress: hears how many of those that do are answered.
    """
    ended = {i: end for i, text in enumerate(texts) if (end := _unfit(text, question_chars))}
    fit = [i for i in range(len(texts)) if i not in ended]
    on_pass = partial(_report, progress, len(fit))
    answers = answer_texts(model, [texts[i] for i in fit], on_pass=on_pass)
    ended.update(zip(fit, answers, strict=True))
    return [ended[i] for i in range(len(texts))]


def _report(progress: Progress, size: int, done: int) -> None:
    progress(done, size)


def _unfit(text: str, question_chars: int) -> Answer | None:
    """Return the end of a question that never reaches the model."""
    if not text.strip():
        return EMPTY
    return TOO_LONG if len(text) > question_chars else None


def store(desk: Desk, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Store how the jobs ended; return those whose lease was not lost.

    Waits for a database that is away.
    """
    answered = [outcome for outcome in outcomes if isinstance(outcome, Answered)]
    began = time.perf_counter()
    with desk.meters.timing(Stage.STORE):
        lost = set(outlast_the_database(_store, desk, answered)) if answered else set()
    for outcome in outcomes:
        if isinstance(outcome, Failed) and not _fail(desk, outcome):
            lost.add(outcome.claimed.job)
    for job in lost:
        log.warning("lease lost, nothing written", job=job.id, attempt=job.attempt)
    kept = [outcome for outcome in outcomes if outcome.claimed.job not in lost]
    for outcome in kept:
        if isinstance(outcome, Answered):
            desk.meters.count_answers(outcome.answers, outcome.model_version)
            _tell(outcome)
    if desk.traces and answered:
        written = (outcome for outcome in kept if isinstance(outcome, Answered))
        now = outlast_the_database(desk.clock)
        tracing.stored(desk.traces, written, began=began, now=now)
    return kept


def _store(desk: Desk, answered: Sequence[Answered]) -> list[Job]:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        work = [(outcome.claimed.job, _rows(outcome, now)) for outcome in answered]
        return jobs.finish_all(conn, work, now=now)


def _rows(outcome: Answered, now: datetime) -> list[Result]:
    deadline = outcome.claimed.job.deadline
    late = deadline is not None and now > deadline
    return [
        Result(position, key, EXPIRED if late else answer, outcome.model_version, now)
        for (position, key, _), answer in zip(
            outcome.claimed.questions, outcome.answers, strict=True
        )
    ]


def _fail(desk: Desk, outcome: Failed) -> bool:
    job = outcome.claimed.job
    try:
        state = outlast_the_database(_store_failure, desk, outcome)
    except LeaseLost:
        state = None
    now = state.value if state else "lost"
    log.error("attempt failed", job=job.id, attempt=job.attempt, error=outcome.error, now=now)
    return state is not None


def _store_failure(desk: Desk, outcome: Failed) -> JobState:
    job, error = outcome.claimed.job, f"{outcome.error}: {outcome.message}"[:500]
    with transaction(desk.engine) as conn:
        if not outcome.blameless:
            return jobs.fail(conn, job, error=error, attempts=desk.attempts, now=desk.clock())
        jobs.give_back(conn, job)
        return JobState.QUEUED


def _tell(outcome: Answered) -> None:
    job, seconds = outcome.claimed.job, round(outcome.seconds, 3)
    counts = Counter(answer.status.value for answer in outcome.answers)
    counts.update(answer.via.value for answer in outcome.answers if answer.via)
    log.info("job done", job=job.id, batch=job.batch_id, seconds=seconds, **counts)


def close_batches(desk: Desk, ids: Iterable[int]) -> None:
    """Note the end of those of these batches that have no job left."""
    for batch_id in sorted(set(ids)):
        outlast_the_database(_close_batch, desk, batch_id)


def _close_batch(desk: Desk, batch_id: int) -> None:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        closed = batches.close_finished(conn, now, batch_id)
        batch = batches.find(conn, str(batch_id)) if closed and desk.traces else None
    if batch is not None and desk.traces:
        tracing.ended(desk.traces, batch, now)


def give_back(desk: Desk, claimed: Iterable[Job]) -> None:
    """Queue claimed jobs again that are not finished; a fault is left to their leases' end."""
    for job in claimed:
        try:
            with transaction(desk.engine) as conn:
                jobs.give_back(conn, job)
        except (LeaseLost, DatabaseAway) as error:
            log.warning("job not given back", job=job.id, error=str(error))
        else:
            log.info("job given back", job=job.id)
