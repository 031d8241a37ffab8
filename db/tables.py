"""The SQLAlchemy tables and views, as this release reads and writes them.

Migrations never import this module: they hold the changes of each release, and this module
holds the current schema. Users poll the view `results`; its rows are stored in `result_rows`
(see `db.dialect` for why the two differ on PostgreSQL).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from db.column_types import BigId, UtcDateTime
from db.encrypted_columns import (
    EncryptedBytes,
    EncryptedError,
    EncryptedJSON,
    EncryptedText,
    LenientEncryptedText,
)

# The Alembic revision of these tables; a test compares it with the migrations.
REVISION = "0007"

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _result_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("batch_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("position", BigId, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("answer", EncryptedText("results.answer")),
        sa.Column("entry_id", sa.Text),
        sa.Column("matched", sa.Text),
        sa.Column("confidence", sa.Float),
        sa.Column("reason", sa.Text),
        sa.Column("error", EncryptedError("results.error")),
        sa.Column("model_version", sa.Text),
        sa.Column("answered_at", UtcDateTime, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("runners_up", sa.JSON(none_as_null=True)),
    ]


batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # A digest of the questions; in plain text, it would confirm a guess of them.
    sa.Column("idempotency_key", LenientEncryptedText("batches.idempotency_key"), nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("deadline", UtcDateTime),
    sa.Column("question_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("webhook", LenientEncryptedText("batches.webhook")),  # URLs may contain secrets
)
sa.Index(
    "ix_batches_unfinished",
    batches.c.id,
    sqlite_where=batches.c.finished_at.is_(None),
    postgresql_where=batches.c.finished_at.is_(None),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("batch_id", BigId, sa.ForeignKey("batches.id"), nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("first_position", sa.BigInteger, nullable=False),
    sa.Column("last_position", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("error", EncryptedError("jobs.error")),
    _count("answered"),
    _count("handed_off"),
    _count("failed"),
    _count("cancelled"),
    _count("expired"),
)
sa.Index("ix_jobs_batch_id_first_position", jobs.c.batch_id, jobs.c.first_position)
sa.Index(
    "ix_jobs_queued",
    jobs.c.lane,
    jobs.c.id,
    sqlite_where=jobs.c.state == sa.literal_column("'queued'"),
    postgresql_where=jobs.c.state == sa.literal_column("'queued'"),
)
sa.Index(
    "ix_jobs_running",
    jobs.c.lease_until,
    sqlite_where=jobs.c.state == sa.literal_column("'running'"),
    postgresql_where=jobs.c.state == sa.literal_column("'running'"),
)
sa.Index(
    "ix_jobs_finished",
    jobs.c.finished_at,
    sqlite_where=jobs.c.finished_at.is_not(None),
    postgresql_where=jobs.c.finished_at.is_not(None),
)
sa.Index(
    "ix_jobs_active",
    jobs.c.batch_id,
    sqlite_where=jobs.c.state.in_([sa.literal_column("'queued'"), sa.literal_column("'running'")]),
    postgresql_where=jobs.c.state.in_(
        [sa.literal_column("'queued'"), sa.literal_column("'running'")]
    ),
)

questions = sa.Table(
    "questions",
    metadata,
    sa.Column("batch_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("position", BigId, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("text", EncryptedText("questions.text"), nullable=False),
    sa.Column("language", sa.Text),
    sa.Column("metadata", EncryptedJSON("questions.metadata")),
    sa.UniqueConstraint("batch_id", "key"),
)

result_rows = sa.Table("result_rows", metadata, *_result_columns())
sa.Index("ix_result_rows_batch_id_cursor", result_rows.c.batch_id, result_rows.c.cursor)
sa.Index(
    "ix_result_rows_handed_off",
    result_rows.c.batch_id,
    result_rows.c.position,
    sqlite_where=result_rows.c.status == sa.literal_column("'handed_off'"),
    postgresql_where=result_rows.c.status == sa.literal_column("'handed_off'"),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("promoted_at", UtcDateTime),
    sa.Column("promoted_by", sa.Text),
    sa.Column("retired_at", UtcDateTime),
    sa.Column("canary_share", sa.Float),
    sa.UniqueConstraint("name", "digest"),
)
sa.Index(
    "uq_model_versions_production",
    model_versions.c.name,
    unique=True,
    sqlite_where=model_versions.c.state == sa.literal_column("'production'"),
    postgresql_where=model_versions.c.state == sa.literal_column("'production'"),
)
sa.Index(
    "uq_model_versions_canary",
    model_versions.c.name,
    unique=True,
    sqlite_where=model_versions.c.state == sa.literal_column("'canary'"),
    postgresql_where=model_versions.c.state == sa.literal_column("'canary'"),
)

promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous_version", sa.Integer),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("share", sa.Float),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("gate", sa.JSON(none_as_null=True)),
)
sa.Index("ix_promotions_name_id", promotions.c.name, promotions.c.id)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("lanes", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("job_id", sa.BigInteger),
    sa.Column("model_version", sa.Text, nullable=False),
    _count("failures"),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("progress_at", UtcDateTime, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("serial", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.UniqueConstraint("name", "serial"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
sa.Index("ix_files_created_at", files.c.created_at, files.c.id)

file_parts = sa.Table(
    "file_parts",
    metadata,
    sa.Column("file_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("content", EncryptedBytes("file_parts.content"), nullable=False),
)

openai_batches = sa.Table(
    "openai_batches",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("file_id", sa.Text, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("metadata", EncryptedJSON("openai_batches.metadata")),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
sa.Index("ix_openai_batches_created_at", openai_batches.c.created_at, openai_batches.c.name)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry_id", sa.Text, primary_key=True),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("phrasing", sa.Text, nullable=False),
    sa.Column("url", sa.Text),
)

desk_claims = sa.Table(
    "desk_claims",
    metadata,
    sa.Column("batch_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("position", BigId, primary_key=True, autoincrement=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("until", UtcDateTime, nullable=False),
)

desk_answers = sa.Table(
    "desk_answers",
    metadata,
    sa.Column("batch_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("position", BigId, primary_key=True, autoincrement=False),
    sa.Column("answer", EncryptedText("desk_answers.answer"), nullable=False),
    sa.Column("entry_id", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("proposal", sa.Text),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", UtcDateTime),
)
sa.Index("ix_desk_answers_proposal", desk_answers.c.proposal, desk_answers.c.at)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("batch_id", BigId, sa.ForeignKey("batches.id"), nullable=False),
    sa.Column("message_id", sa.Text, nullable=False, unique=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    _count("attempts"),
    sa.Column("next_at", UtcDateTime),
    sa.Column("delivered_at", UtcDateTime),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text),
)
sa.Index("ix_deliveries_batch_id", deliveries.c.batch_id)
sa.Index(
    "ix_deliveries_next_at",
    deliveries.c.next_at,
    sqlite_where=deliveries.c.next_at.is_not(None),
    postgresql_where=deliveries.c.next_at.is_not(None),
)

# Views are read like tables. Their own MetaData keeps them out of the comparison of schemas.
views = sa.MetaData()
results = sa.Table("results", views, *_result_columns())
question_status = sa.Table(
    "question_status",
    views,
    sa.Column("batch_id", BigId),
    sa.Column("position", BigId),
    sa.Column("key", sa.Text),
    sa.Column("status", sa.Text),
)
