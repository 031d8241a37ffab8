"""The protocol of claims, leases and sweeps, small enough to look at every state there is.

A batch of up to three jobs, up to three workers, Redis and a user. Anything may happen at any
time: a worker dies, or is frozen and writes when its job went to another long ago; messages
come twice or are lost, all of them; the batch is cancelled, runs past its deadline, is run
again. Each step is one transaction, as in `db`; `Rules` names what each of them looks at.

Workers are alike, and so are jobs of one size: a state is kept without their names. Of an
attempt's number only this matters: whether it is the job's latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

ATTEMPTS = 2  # of one question; a job of two is split at its second failure
MOST_STALE = 1  # workers at a time that write to a job they lost


class Job(NamedTuple):
    """A job, its message and those who claimed it."""

    size: int
    state: str = "queued"  # running, done, split, dead, stopped
    failures: int = 0
    lease: bool = False  # has not run out
    holder: bool = False  # the worker of the latest attempt lives, and believes that it has it
    stale: int = 0  # workers of earlier attempts that will write yet
    hint: bool = False  # a message waits in Redis
    sent: bool = False
    result: str = ""  # of its questions


class State(NamedTuple):
    """All there is, at a moment between two transactions."""

    jobs: tuple[Job, ...]
    idle: int  # workers
    batch: str = "live"  # stopped, expired
    finished: bool = False
    late: bool = False  # the deadline has passed
    closing: bool = False  # a process saw no active job and is about to note the batch's end


@dataclass(frozen=True)
class Rules:
    """What the transactions look at; the tests switch them off one by one."""

    latest_attempt: bool = True
    running_only: bool = True
    queued_only: bool = True
    live_batch: bool = True
    before_deadline: bool = True
    late_is_expired: bool = True
    ended_leases_only: bool = True
    leases_end: bool = True
    send_unsent: bool = True
    send_lost: bool = True
    end_stopped: bool = True
    retry_of_live: bool = True
    close_under_lock: bool = True
    close_when_ended: bool = True


class Broken(Exception):
    """A promise that a step broke."""


# One step: whether the system does it by itself, what it is, where it leads.
Step = tuple[bool, str, State]
ACTIVE = ("queued", "running")


def final(state: State) -> bool:
    """Whether every question has its result and the batch has ended."""
    return state.finished and all(job.result or job.state == "split" for job in state.jobs)


def check(state: State) -> None:
    """Hold a state to what must be true of it."""
    if state.finished and any(job.state in ACTIVE for job in state.jobs):
        raise Broken("a batch has ended with a job that has not")
    if any(job.state in {"done", "dead", "stopped"} and not job.result for job in state.jobs):
        raise Broken("a job has ended without a result")


@dataclass(frozen=True)
class Protocol:
    """Every step that can follow a state."""

    rules: Rules
    never: frozenset[str] = frozenset()  # what does not happen this time

    def steps(self, state: State) -> Iterator[Step]:
        """Return them; a step that breaks a promise raises `Broken`."""
        return (step for step in self._all(state) if step[1] not in self.never)

    def _all(self, state: State) -> Iterator[Step]:
        yield from self._of_batch(state)
        for place, job in enumerate(state.jobs):
            put = _putter(state, place)
            yield from self._of_sweep(state, job, put)
            yield from self._of_claims(state, job, put)
            if job.holder:
                yield from self._of_worker(state, job, put, latest=True)
            if job.stale:
                yield from self._of_worker(state, job, put, latest=False)

    def _of_batch(self, state: State) -> Iterator[Step]:
        if any(job.hint for job in state.jobs):
            lost = tuple(job._replace(hint=False) for job in state.jobs)
            yield False, "Redis is lost", state._replace(jobs=lost)
        if not state.late:
            yield False, "the deadline passes", state._replace(late=True)
        if state.batch == "live" and not state.finished:
            yield False, "the user cancels", state._replace(batch="stopped")
            if state.late:
                yield True, "expire", state._replace(batch="expired")
        yield from self._of_closing(state)

    def _of_closing(self, state: State) -> Iterator[Step]:
        over = not any(job.state in ACTIVE for job in state.jobs) or not self.rules.close_when_ended
        if over and not state.finished:
            if self.rules.close_under_lock:
                yield True, "close", state._replace(finished=True)
            elif not state.closing:
                yield True, "look whether to close", state._replace(closing=True)
        if state.closing:
            yield True, "close", state._replace(closing=False, finished=True)

    def _of_claims(self, state: State, job: Job, put: Callable[..., State]) -> Iterator[Step]:
        if not job.hint or not state.idle:
            return
        for again in (False, True):
            what = "a message, kept" if again else "a message"
            read = job._replace(hint=again)
            if self._may_claim(state, job):
                yield not again, f"{what}: claim", put(self._claimed(state, read), idle=-1)
            elif not again:
                yield True, f"{what}: nothing to do", put(read)

    def _may_claim(self, state: State, job: Job) -> bool:
        return (
            (job.state == "queued" or not self.rules.queued_only)
            and (state.batch == "live" or not self.rules.live_batch)
            and (not state.late or not self.rules.before_deadline)
        )

    def _claimed(self, state: State, job: Job) -> Job:
        if state.batch != "live":
            raise Broken("a job of a stopped batch was started")
        if state.late:
            raise Broken("a job was started after its deadline")
        if job.state != "queued":
            raise Broken("a job was claimed that is not queued")
        stale = min(MOST_STALE, job.stale + job.holder)
        return job._replace(state="running", lease=True, holder=True, stale=stale)

    def _of_worker(
        self, state: State, job: Job, put: Callable[..., State], *, latest: bool
    ) -> Iterator[Step]:
        """Return what a worker may do to the job that it has, or believes that it has."""
        gone = job._replace(holder=False) if latest else job._replace(stale=job.stale - 1)
        yield False, "a worker dies", put(gone, idle=1)
        accepted = (latest or not self.rules.latest_attempt) and (
            job.state == "running" or not self.rules.running_only
        )
        if not accepted:
            yield True, "a write is refused", put(gone, idle=1)
            return
        if not latest or job.state != "running":
            raise Broken("a worker wrote to a job that it had lost")
        yield True, "renew", put(job._replace(lease=True))
        yield False, "give back", put(_queued(gone), idle=1)
        yield False, "fail", self._failed(state, gone, put, idle=1)
        late = state.late and self.rules.late_is_expired
        done = self._ended(state, gone, "done", "expired" if late else "answered")
        yield True, "finish", put(done, idle=1)

    def _ended(self, state: State, job: Job, end: str, result: str) -> Job:
        if job.result:
            raise Broken("a question got a second result")
        if result == "answered" and state.late:
            raise Broken("a question was answered after its deadline")
        return job._replace(state=end, result=result, lease=False)

    def _failed(self, state: State, job: Job, put: Callable[..., State], idle: int = 0) -> State:
        failures = job.failures + 1
        if failures < ATTEMPTS:
            return put(_queued(job)._replace(failures=failures), idle=idle)
        if job.size == 1:
            return put(self._ended(state, job, "dead", "failed"), idle=idle)
        halves = (Job(size=1, failures=1), Job(size=1, failures=1))
        return put(job._replace(state="split", lease=False), *halves, idle=idle)

    def _of_sweep(self, state: State, job: Job, put: Callable[..., State]) -> Iterator[Step]:
        if job.state == "running":
            if job.lease and self.rules.leases_end:
                yield True, "a lease runs out", put(job._replace(lease=False))
            if not job.lease or not self.rules.ended_leases_only:
                if job.lease:
                    raise Broken("a live lease was taken back")
                yield True, "take back", self._failed(state, job, put)
        if job.state == "queued":
            yield from self._of_queued(state, job, put)
        if job.result == "failed" and (state.batch == "live" or not self.rules.retry_of_live):
            again = put(_queued(job)._replace(failures=0, result=""))
            yield False, "retry", again._replace(finished=state.finished and state.batch != "live")

    def _of_queued(self, state: State, job: Job, put: Callable[..., State]) -> Iterator[Step]:
        lane_empty = not any(other.hint for other in state.jobs)
        lost = job.sent and lane_empty and self.rules.send_lost
        if not job.hint and ((not job.sent and self.rules.send_unsent) or lost):
            yield True, "send", put(job._replace(hint=True, sent=True))
        if state.batch != "live" and self.rules.end_stopped:
            result = "cancelled" if state.batch == "stopped" else "expired"
            yield True, "end a stopped job", put(self._ended(state, job, "stopped", result))


def _queued(job: Job) -> Job:
    return job._replace(state="queued", lease=False, sent=False)


def _putter(state: State, place: int) -> Callable[..., State]:
    """Return a function that puts jobs in the place of that one."""
    others = state.jobs[:place] + state.jobs[place + 1 :]

    def put(*jobs: Job, idle: int = 0) -> State:
        placed = sorted((*others, *map(_tidy, jobs)))
        return state._replace(jobs=tuple(placed), idle=state.idle + idle)

    return put


def _tidy(job: Job) -> Job:
    """Leave off what makes no difference, so that states which are alike are one."""
    if job.state == "queued":
        return job if job.sent or not job.hint else job._replace(sent=True)
    if job.state == "running":
        return job._replace(sent=False) if job.sent else job
    # What is left of its message finds nothing to do, whenever it comes.
    return job._replace(failures=0, lease=False, hint=False, sent=False)
