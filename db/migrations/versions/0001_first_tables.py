"""Create the first tables and the views `results` and `question_status`."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_CURSOR_BITS = 20

# On PostgreSQL, a row is visible after every transaction with a smaller id has ended (db.dialect).
_RESULTS = {
    "sqlite": "CREATE VIEW results AS SELECT * FROM result_rows",
    "postgresql": (
        "CREATE VIEW results AS SELECT * FROM result_rows WHERE cursor <"  # noqa: S608 - a number
        f" (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << {_CURSOR_BITS})"
    ),
}

_QUESTION_STATUS = """
CREATE VIEW question_status AS
SELECT q.batch_id, q.position, q.key,
       COALESCE(r.status, CASE WHEN j.state = 'running' THEN 'running' ELSE 'queued' END) AS status
FROM questions q
LEFT JOIN result_rows r ON r.batch_id = q.batch_id AND r.position = q.position
LEFT JOIN jobs j ON r.batch_id IS NULL AND j.batch_id = q.batch_id AND j.state <> 'split'
     AND q.position BETWEEN j.first_position AND j.last_position
"""


def upgrade() -> None:
    _batches()
    _jobs()
    _questions_and_results()
    _model_versions()
    op.execute(_RESULTS[op.get_bind().dialect.name])
    op.execute(_QUESTION_STATUS)


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("deadline", _TIME),
        sa.Column("question_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.UniqueConstraint("name", name="uq_batches_name"),
    )
    _partial("ix_batches_unfinished", "batches", ["id"], "finished_at IS NULL")


def _jobs() -> None:
    counts = ("answered", "handed_off", "failed", "cancelled", "expired")
    op.create_table(
        "jobs",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("batch_id", _BIG_ID, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("first_position", sa.BigInteger, nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until", _TIME),
        sa.Column("sent_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("error", sa.Text),
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in counts),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_jobs_batch_id"),
    )
    op.create_index("ix_jobs_batch_id_first_position", "jobs", ["batch_id", "first_position"])
    _partial("ix_jobs_queued", "jobs", ["lane", "id"], "state = 'queued'")
    _partial("ix_jobs_running", "jobs", ["lease_until"], "state = 'running'")
    _partial("ix_jobs_active", "jobs", ["batch_id"], "state IN ('queued', 'running')")


def _questions_and_results() -> None:
    op.create_table(
        "questions",
        sa.Column("batch_id", _BIG_ID, nullable=False),
        sa.Column("position", _BIG_ID, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("language", sa.Text),
        sa.Column("metadata", sa.JSON),
        sa.PrimaryKeyConstraint("batch_id", "position", name="pk_questions"),
        sa.UniqueConstraint("batch_id", "key", name="uq_questions_batch_id_key"),
    )
    op.create_table(
        "result_rows",
        sa.Column("batch_id", _BIG_ID, nullable=False),
        sa.Column("position", _BIG_ID, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("entry_id", sa.Text),
        sa.Column("matched", sa.Text),
        sa.Column("confidence", sa.Float),
        sa.Column("reason", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("model_version", sa.Text),
        sa.Column("answered_at", _TIME, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "position", name="pk_result_rows"),
    )
    op.create_index("ix_result_rows_batch_id_cursor", "result_rows", ["batch_id", "cursor"])


def _model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("promoted_at", _TIME),
        sa.Column("promoted_by", sa.Text),
        sa.Column("retired_at", _TIME),
        sa.PrimaryKeyConstraint("name", "version", name="pk_model_versions"),
        sa.UniqueConstraint("name", "digest", name="uq_model_versions_name_digest"),
    )
    _partial(
        "uq_model_versions_production",
        "model_versions",
        ["name"],
        "state = 'production'",
        unique=True,
    )


def _partial(
    name: str, table: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    condition = sa.text(where)
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition
    )
