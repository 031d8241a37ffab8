"""Every error that the code raises on purpose, in one tree.

    AnswermillError
    ├── UserError                 exit status 2: the caller can correct the cause
    │   ├── SettingsInvalid       one or more settings are wrong
    │   ├── SourceInvalid         a question file cannot be read
    │   ├── KnowledgeInvalid      a knowledge base cannot be read
    │   ├── NameInvalid           a batch cannot have this name
    │   ├── OutputInvalid         an output cannot be written to this target
    │   ├── KeyInvalid            an API key cannot be created or changed as requested
    │   ├── BatchUnknown          no batch has this id or name
    │   ├── FileUnknown           no uploaded file, and no batch of a file, has this id
    │   ├── DeliveryUnknown       a batch has no webhook delivery with this number
    │   ├── WebhookInvalid        a webhook cannot be sent to this URL
    │   ├── BatchClosed           the state of the batch does not allow the change
    │   ├── CountDiffers          the batch has another number of questions than expected
    │   ├── SourceChanged         a batch of other questions has this name
    │   ├── HandOffUnknown        the question was not handed off
    │   ├── HandOffTaken          another agent holds the hand-off, or it has an answer
    │   ├── EntryUnknown          the knowledge base of the model has no entry with this id
    │   ├── ModelUnknown          no model version has this name
    │   │   └── NoPreviousVersion     no earlier version of this name was in production
    │   ├── BundleInvalid         a model bundle is damaged or incomplete
    │   ├── EncoderInvalid        an encoder cannot be loaded
    │   ├── PromotionRefused      a model version cannot be promoted as requested
    │   │   └── GateRefused       the version is worse than the version in production
    │   ├── TuningRefused         an encoder cannot be tuned on this knowledge base
    │   ├── DistillationRefused   an encoder cannot be distilled on this knowledge base
    │   ├── ConversionRefused     a model version cannot be converted as requested
    │   │   └── ConversionDrifted its answers would change by more than the limits
    │   ├── KeyMissing            stored data is encrypted with a key that is not configured
    │   ├── TextDamaged           an encrypted value was changed after it was stored
    │   ├── BatchTooLarge         a batch has more questions than may wait at once
    │   ├── SchemaMissing         the database lacks the tables of this release
    │   ├── BrokerInUse           another stack uses this Redis
    │   ├── ExtraMissing          a command needs a package that is not installed
    │   └── StackRunning          another stack runs on the same ANSWERMILL_HOME
    ├── ServiceUnavailable        exit status 3: the same call can succeed later
    │   ├── DatabaseUnavailable
    │   ├── BrokerUnavailable
    │   ├── StoreUnavailable      the store of model bundles
    │   └── BacklogFull           too many questions wait; holds the time to retry after
    ├── MessageInvalid            no supported release wrote this message
    └── LeaseLost                 another worker has the job; write nothing

A class takes facts and builds the message. `transient` states whether the same call can succeed
later without a change by the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class AnswermillError(Exception):
    """The root of the tree, never raised itself."""

    transient: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1


class UserError(AnswermillError):
    """A request that cannot be served as the caller made it."""

    exit_status = 2


class SettingsInvalid(UserError):
    """One or more wrong settings, with every fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


class SourceInvalid(UserError):
    """A question file that cannot be read."""

    def __init__(self, source: str, problem: str, *, row: int | None = None) -> None:
        self.source, self.problem, self.row = source, problem, row
        location = source if row is None else f"{source}, row {row}"
        super().__init__(f"{location}: {problem}")


class KnowledgeInvalid(UserError):
    """A knowledge base that cannot be read."""

    def __init__(self, source: str, problem: str, *, line: int | None = None) -> None:
        self.source, self.problem, self.line = source, problem, line
        location = source if line is None else f"{source}, line {line}"
        super().__init__(f"{location}: {problem}")


class NameInvalid(UserError):
    """A name that a batch cannot have."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"a batch cannot have the name {name[:40]!r}: {problem}")


class OutputInvalid(UserError):
    """A target to which an output cannot be written."""

    def __init__(self, target: str, problem: str) -> None:
        self.target, self.problem = target, problem
        super().__init__(f"{target}: {problem}")


class KeyInvalid(UserError):
    """An API key that cannot be created or changed as requested."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"API key {name[:40]!r}: {problem}")


class BatchUnknown(UserError):
    """An id or name that no batch has."""

    def __init__(self, batch: str) -> None:
        self.batch = batch
        super().__init__(f"no batch has the id or name {batch!r}; `answermill status` lists them")


class FileUnknown(UserError):
    """An id that no uploaded file, and no batch of a file, has."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__(f"no file or batch has the id {file[:80]!r}")


class DeliveryUnknown(UserError):
    """A webhook delivery that a batch does not have."""

    def __init__(self, batch: int, delivery: int) -> None:
        self.batch, self.delivery = batch, delivery
        super().__init__(f"batch {batch} has no delivery {delivery}")


class WebhookInvalid(UserError):
    """A URL to which a webhook cannot be sent."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"webhook: {problem}")


class BatchClosed(UserError):
    """A change that the state of the batch does not allow."""

    def __init__(self, batch: int, state: str, change: str) -> None:
        self.batch, self.state = batch, state
        super().__init__(f"batch {batch} is {state}: it cannot be {change}")


class CountDiffers(UserError):
    """A number of questions that differs from the caller's expectation."""

    def __init__(self, batch: int, count: int, expected: int) -> None:
        self.batch, self.count, self.expected = batch, count, expected
        super().__init__(f"batch {batch} has {count} questions, not {expected}")


class SourceChanged(UserError):
    """A batch name that belongs to a batch of other questions."""

    def __init__(self, name: str, batch: int) -> None:
        self.name, self.batch = name, batch
        super().__init__(
            f"batch {batch} has the name {name!r} and contains other questions; "
            "choose another name with --name"
        )


class HandOffUnknown(UserError):
    """A question that was not handed off, or has no answer of an agent."""

    def __init__(self, batch: int, position: int) -> None:
        self.batch, self.position = batch, position
        super().__init__(f"question {position} of batch {batch} was not handed off")


class HandOffTaken(UserError):
    """A hand-off that another agent holds, or that has an answer."""

    def __init__(self, batch: int, position: int, problem: str) -> None:
        self.batch, self.position, self.problem = batch, position, problem
        super().__init__(f"question {position} of batch {batch} {problem}")


class EntryUnknown(UserError):
    """An id that no entry of the knowledge base has."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        super().__init__(f"no entry has the id {entry[:80]!r}")


class ModelUnknown(UserError):
    """A name that no model version has."""

    def __init__(self, name: str, hint: str = "`answermill model list` shows them") -> None:
        self.name = name
        problem = f"no model version {name!r}" if name else "no model to answer with"
        super().__init__(f"{problem}; {hint}")


class NoPreviousVersion(ModelUnknown):
    """A rollback without an earlier version in production."""

    def __init__(self, name: str) -> None:
        self.name = name
        message = f"cannot roll back model {name!r}: no earlier version of it was in production"
        UserError.__init__(self, message)


class BundleInvalid(UserError):
    """A model bundle that is damaged or incomplete."""

    def __init__(self, bundle: str, problem: str) -> None:
        self.bundle, self.problem = bundle, problem
        super().__init__(f"model bundle {bundle}: {problem}")


class EncoderInvalid(UserError):
    """An encoder that cannot be loaded."""

    def __init__(self, encoder: str, problem: str) -> None:
        self.encoder, self.problem = encoder, problem
        super().__init__(f"encoder {encoder}: {problem}")


class PromotionRefused(UserError):
    """A model version that cannot be promoted as requested."""

    def __init__(self, version: str, problem: str) -> None:
        self.version, self.problem = version, problem
        super().__init__(f"{version} is not promoted: {problem}")


class GateRefused(PromotionRefused):
    """A version that is worse than production by more than the margin."""

    def __init__(self, version: str, production: str, figures: list[str]) -> None:
        self.production, self.figures = production, figures
        problem = f"worse than {production} in {'; '.join(figures)}"
        super().__init__(version, f"{problem}; to promote it anyway, add --force --reason TEXT")


class TuningRefused(UserError):
    """An encoder that cannot be tuned on a knowledge base."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"cannot tune the encoder: {problem}; build with --tune none or head")


class DistillationRefused(UserError):
    """An encoder that cannot be distilled as requested."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"cannot distill the encoder: {problem}; build without --layers")


class BatchTooLarge(UserError):
    """A batch with more questions than may wait at once."""

    def __init__(self, questions: int, limit: int) -> None:
        self.questions, self.limit = questions, limit
        super().__init__(
            f"{questions:,} questions exceed the limit of {limit:,} waiting questions;"
            " with --when-full wait, `submit` stores them as workers make room"
        )


class SchemaMissing(UserError):
    """A database without the tables that this release needs."""

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        self.url, self.found, self.needed = url, found, needed
        state = "has no tables yet" if found is None else f"is at revision {found}, not {needed}"
        super().__init__(f"database {url} {state}; run `answermill db upgrade`")


class KeyMissing(UserError):
    """Stored data that is encrypted with a key that is not configured."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"stored data is encrypted with the key {key[:20]!r}, which is not among"
            " ANSWERMILL_ENCRYPTION_KEYS; add that key"
        )


class TextDamaged(UserError):
    """An encrypted value that was changed, or moved from another column."""

    def __init__(self, column: str) -> None:
        self.column = column
        super().__init__(f"an encrypted value of {column} is damaged; restore it from a backup")


class ConversionRefused(UserError):
    """A model version that cannot be converted as requested."""

    def __init__(self, version: str, to: str, problem: str) -> None:
        self.version, self.to, self.problem = version, to, problem
        super().__init__(f"{version} is not converted to {to}: {problem}")


class ConversionDrifted(ConversionRefused):
    """A converted version that drifts by more than the limits."""

    def __init__(self, version: str, to: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(version, to, f"it drifts, {'; '.join(faults)}; nothing was stored")


class BrokerInUse(UserError):
    """A Redis that another stack uses, so that messages would mix."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"Redis {url}: workers on another database use it;"
            " give each stack its own Redis, or its own database number (redis://HOST/1)"
        )


class ExtraMissing(UserError):
    """A package that a command needs and this installation lacks."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"this command needs the package {package}: pip install 'answermill[{extra}]'"
        )


class StackRunning(UserError):
    """Another stack that runs on the same ANSWERMILL_HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home
        super().__init__(
            f"another stack already runs on {home};"
            " stop it, or set ANSWERMILL_HOME to another folder"
        )


class ServiceUnavailable(AnswermillError):
    """A service that cannot be reached or cannot serve now."""

    transient = True
    exit_status = 3


class DatabaseUnavailable(ServiceUnavailable):
    """A database that cannot be reached or cannot serve now."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"database {url}: {problem}")


class BrokerUnavailable(ServiceUnavailable):
    """A Redis that cannot be reached or cannot serve now."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"Redis {url}: {problem}")


class StoreUnavailable(ServiceUnavailable):
    """A model store that cannot be reached, or that refuses access."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"model store {url}: {problem}")


class BacklogFull(ServiceUnavailable):
    """Too many waiting questions, with the seconds to retry after."""

    def __init__(self, lane: str | None, waiting: int, limit: int, retry_seconds: int) -> None:
        self.lane, self.waiting, self.limit = lane, waiting, limit
        self.retry_seconds = retry_seconds
        lanes = f"the lane {lane}" if lane else "all lanes"
        super().__init__(
            f"full: {waiting:,} questions wait in {lanes} (limit {limit:,});"
            f" retry in {retry_seconds} s"
        )


class MessageInvalid(AnswermillError):
    """A message that no supported release wrote."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"message: {problem}")


class LeaseLost(AnswermillError):
    """A job that another worker has, or that was cancelled: write nothing."""

    def __init__(self, job: int, attempt: int) -> None:
        self.job, self.attempt = job, attempt
        super().__init__(f"job {job}, attempt {attempt}: the lease was lost")
