"""Every error raised on purpose.

    AnswermillError
    ├── UserError                 exit status 2: the caller can mend it
    │   ├── SettingsInvalid       one or more settings are wrong
    │   ├── SourceInvalid         a question file can't be read as one
    │   ├── KnowledgeInvalid      a knowledge base can't be read as one
    │   ├── NameInvalid           a batch can't have that name
    │   ├── OutputInvalid         results can't be written there
    │   ├── KeyInvalid            an API key can't be made or changed as asked
    │   ├── BatchUnknown          no batch has that id or name
    │   ├── FileUnknown           no uploaded file, and no batch of one, has that id
    │   ├── DeliveryUnknown       a batch has no such message about its end
    │   ├── WebhookInvalid        a batch's end can't be told there
    │   ├── BatchClosed           the batch takes no such change any more
    │   ├── CountDiffers          a batch has another number of questions than is thought
    │   ├── SourceChanged         a name is taken by a batch of other questions
    │   ├── HandOffUnknown        no question was handed off there
    │   ├── HandOffTaken          a colleague holds it, or it is answered already
    │   ├── EntryUnknown          the model's knowledge base has no such entry
    │   ├── ModelUnknown          no model version has that name
    │   │   └── NoPreviousVersion     none of that name was in production before
    │   ├── BundleInvalid         a model bundle is damaged or incomplete
    │   ├── EncoderInvalid        an encoder can't be loaded
    │   ├── PromotionRefused      a model version can't be promoted as asked
    │   │   └── GateRefused       it does worse than the one in production
    │   ├── TuningRefused         an encoder can't be tuned to that knowledge base
    │   ├── DistillationRefused   an encoder can't be distilled on it, or to so many layers
    │   ├── ConversionRefused     a model version can't be converted as asked
    │   │   └── ConversionDrifted its answers would change too much
    │   ├── KeyMissing            what is stored can be read with another key alone
    │   ├── TextDamaged           what is stored encrypted was changed since
    │   ├── BatchTooLarge         more questions than may wait at once
    │   ├── SchemaMissing         the database lacks this release's tables
    │   ├── BrokerInUse           Redis is another stack's
    │   ├── ExtraMissing          a command needs a package that is not installed
    │   └── StackRunning          another stack runs on the same ANSWERMILL_HOME
    ├── ServiceUnavailable        exit status 3: try again when it is back
    │   ├── DatabaseUnavailable
    │   ├── BrokerUnavailable
    │   ├── StoreUnavailable      of model bundles
    │   └── BacklogFull           too many questions wait; it tells when to retry
    ├── MessageInvalid            a message that no release of ours has written
    └── LeaseLost                 the job went to another worker: write nothing

The class takes facts and makes the sentence. `transient` says whether the same
call can succeed later without anybody changing anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class AnswermillError(Exception):
    """The root of the tree; never raised itself."""

    transient: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1


class UserError(AnswermillError):
    """The caller asked for something that can't be done as asked."""

    exit_status = 2


class SettingsInvalid(UserError):
    """One or more settings are wrong; all of them are told at once."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


class SourceInvalid(UserError):
    """A question file can't be read as one."""

    def __init__(self, source: str, problem: str, *, row: int | None = None) -> None:
        self.source, self.problem, self.row = source, problem, row
        where = source if row is None else f"{source}, row {row}"
        super().__init__(f"{where}: {problem}")


class KnowledgeInvalid(UserError):
    """A knowledge base can't be read as one."""

    def __init__(self, source: str, problem: str, *, line: int | None = None) -> None:
        self.source, self.problem, self.line = source, problem, line
        where = source if line is None else f"{source}, line {line}"
        super().__init__(f"{where}: {problem}")


class NameInvalid(UserError):
    """A batch can't have that name."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"a batch can't have the name {name[:40]!r}: {problem}")


class OutputInvalid(UserError):
    """Results can't be written there."""

    def __init__(self, target: str, problem: str) -> None:
        self.target, self.problem = target, problem
        super().__init__(f"{target}: {problem}")


class KeyInvalid(UserError):
    """An API key can't be made or changed as asked."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"API key {name[:40]!r}: {problem}")


class BatchUnknown(UserError):
    """No batch has that id or name."""

    def __init__(self, batch: str) -> None:
        self.batch = batch
        super().__init__(f"no batch has the id or name {batch!r}; `answermill status` lists them")


class FileUnknown(UserError):
    """No uploaded file, and no batch made of one, has that id."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__(f"there is no {file[:80]!r}")


class DeliveryUnknown(UserError):
    """A batch has no such message about its end."""

    def __init__(self, batch: int, delivery: int) -> None:
        self.batch, self.delivery = batch, delivery
        super().__init__(f"batch {batch} has no delivery {delivery}")


class WebhookInvalid(UserError):
    """A batch's end can't be told there."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"webhook: {problem}")


class BatchClosed(UserError):
    """The batch takes no such change any more."""

    def __init__(self, batch: int, state: str, wanted: str) -> None:
        self.batch, self.state = batch, state
        super().__init__(f"batch {batch} is {state}: it can't be {wanted}")


class CountDiffers(UserError):
    """A batch has another number of questions than the caller thinks."""

    def __init__(self, batch: int, count: int, thought: int) -> None:
        self.batch, self.count, self.thought = batch, count, thought
        super().__init__(f"batch {batch} has {count} questions, not {thought}")


class SourceChanged(UserError):
    """A name is taken by a batch that was made of other questions."""

    def __init__(self, name: str, batch: int) -> None:
        self.name, self.batch = name, batch
        super().__init__(
            f"batch {batch} has the name {name!r} and was made of other questions; "
            "give this one another --name"
        )


class HandOffUnknown(UserError):
    """No question was handed off there, or nothing was answered at the desk."""

    def __init__(self, batch: int, position: int) -> None:
        self.batch, self.position = batch, position
        super().__init__(f"question {position} of batch {batch} is no such hand-off")


class HandOffTaken(UserError):
    """A colleague holds the hand-off, or it is answered already."""

    def __init__(self, batch: int, position: int, problem: str) -> None:
        self.batch, self.position, self.problem = batch, position, problem
        super().__init__(f"question {position} of batch {batch} {problem}")


class EntryUnknown(UserError):
    """The model's knowledge base has no such entry."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        super().__init__(f"no entry has the id {entry[:80]!r}")


class ModelUnknown(UserError):
    """No model version answers to that name."""

    def __init__(self, name: str, hint: str = "`answermill model list` shows them") -> None:
        self.name = name
        what = f"no model version {name!r}" if name else "no model to answer with"
        super().__init__(f"{what}; {hint}")


class NoPreviousVersion(ModelUnknown):
    """There is nothing to roll back to."""

    def __init__(self, name: str) -> None:
        self.name = name
        message = f"model {name!r} can't be rolled back: no earlier version of it was in production"
        UserError.__init__(self, message)


class BundleInvalid(UserError):
    """A model bundle is damaged or incomplete."""

    def __init__(self, bundle: str, problem: str) -> None:
        self.bundle, self.problem = bundle, problem
        super().__init__(f"model bundle {bundle}: {problem}")


class EncoderInvalid(UserError):
    """An encoder can't be loaded."""

    def __init__(self, encoder: str, problem: str) -> None:
        self.encoder, self.problem = encoder, problem
        super().__init__(f"encoder {encoder}: {problem}")


class PromotionRefused(UserError):
    """A model version can't be promoted as asked."""

    def __init__(self, version: str, problem: str) -> None:
        self.version, self.problem = version, problem
        super().__init__(f"{version} is not promoted: {problem}")


class GateRefused(PromotionRefused):
    """A model version does worse than the one in production, by more than the margin."""

    def __init__(self, version: str, production: str, figures: list[str]) -> None:
        self.production, self.figures = production, figures
        told = f"worse than {production} in {'; '.join(figures)}"
        super().__init__(version, f"{told}; to overrule, --force --reason TEXT")


class TuningRefused(UserError):
    """An encoder can't be tuned to that knowledge base."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the encoder can't be tuned: {problem}; build with --tune none or head")


class DistillationRefused(UserError):
    """An encoder can't be distilled on that knowledge base, or to so many layers."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the encoder can't be distilled: {problem}; build without --layers")


class BatchTooLarge(UserError):
    """There are more questions than may wait at once."""

    def __init__(self, questions: int, limit: int) -> None:
        self.questions, self.limit = questions, limit
        super().__init__(
            f"{questions:,} questions are more than may wait at once, {limit:,};"
            " with --when-full wait they are stored as workers make room"
        )


class SchemaMissing(UserError):
    """The database lacks the tables that this release needs."""

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        self.url, self.found, self.needed = url, found, needed
        state = "has no tables yet" if found is None else f"is at revision {found}, not {needed}"
        super().__init__(f"database {url} {state}; run `answermill db upgrade`")


class KeyMissing(UserError):
    """What is stored is encrypted with a key that is not here."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"what is stored is encrypted with the key {key[:20]!r}, which is not among"
            " ANSWERMILL_ENCRYPTION_KEYS"
        )


class TextDamaged(UserError):
    """What is stored encrypted was changed since, or moved from another column."""

    def __init__(self, column: str) -> None:
        self.column = column
        super().__init__(f"an encrypted value of {column} is damaged; restore it from a backup")


class ConversionRefused(UserError):
    """A model version can't be converted as asked."""

    def __init__(self, version: str, to: str, problem: str) -> None:
        self.version, self.to, self.problem = version, to, problem
        super().__init__(f"{version} is not converted to {to}: {problem}")


class ConversionDrifted(ConversionRefused):
    """A converted model version drifts from the original by more than the limits."""

    def __init__(self, version: str, to: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(version, to, f"it drifts, {'; '.join(faults)}; nothing was stored")


class BrokerInUse(UserError):
    """Redis is another stack's, whose messages would go astray among ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"Redis {url}: workers on another database use it;"
            " give each stack a Redis of its own, or another number behind the last /"
        )


class ExtraMissing(UserError):
    """The command needs a package that this installation lacks."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"this command needs the package {package}: pip install 'answermill[{extra}]'"
        )


class StackRunning(UserError):
    """Another stack runs on the same ANSWERMILL_HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home
        super().__init__(f"a stack is running already on {home}; stop it, or set ANSWERMILL_HOME")


class ServiceUnavailable(AnswermillError):
    """A service can't be reached or can't serve now."""

    transient = True
    exit_status = 3


class DatabaseUnavailable(ServiceUnavailable):
    """The database can't be reached or can't serve now."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"database {url}: {problem}")


class BrokerUnavailable(ServiceUnavailable):
    """Redis can't be reached or can't serve now."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"Redis {url}: {problem}")


class StoreUnavailable(ServiceUnavailable):
    """The model store can't be reached, or refuses us."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"model store {url}: {problem}")


class BacklogFull(ServiceUnavailable):
    """Too many questions wait already; there will be room in so many seconds."""

    def __init__(self, lane: str | None, waiting: int, limit: int, retry_seconds: int) -> None:
        self.lane, self.waiting, self.limit = lane, waiting, limit
        self.retry_seconds = retry_seconds
        where = f"in the lane {lane}" if lane else "in all lanes"
        super().__init__(
            f"full: {waiting:,} questions wait {where}, {limit:,} may; retry in {retry_seconds} s"
        )


class MessageInvalid(AnswermillError):
    """A message that no release of ours has written, or one from a later release."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"message: {problem}")


class LeaseLost(AnswermillError):
    """The job went to another worker, or was cancelled: nothing may be written."""

    def __init__(self, job: int, attempt: int) -> None:
        self.job, self.attempt = job, attempt
        super().__init__(f"job {job}, attempt {attempt}: the lease was lost")
