"""Add answers and claims of agents, and the entries that they search."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TIME = sa.DateTime(timezone=True)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("entry_id", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("phrasing", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.PrimaryKeyConstraint("name", "version", "entry_id", name="pk_entries"),
    )
    op.create_table(
        "desk_claims",
        sa.Column("batch_id", _ID, nullable=False),
        sa.Column("position", _ID, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "position", name="pk_desk_claims"),
    )
    op.create_table(
        "desk_answers",
        sa.Column("batch_id", _ID, nullable=False),
        sa.Column("position", _ID, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("entry_id", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("proposal", sa.Text),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", _TIME),
        sa.PrimaryKeyConstraint("batch_id", "position", name="pk_desk_answers"),
    )
    op.create_index("ix_desk_answers_proposal", "desk_answers", ["proposal", "at"])
    condition = sa.text("status = 'handed_off'")
    op.create_index(
        "ix_result_rows_handed_off",
        "result_rows",
        ["batch_id", "position"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
