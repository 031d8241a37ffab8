"""Add canaries, the log of promotions, and the runners-up of an answer."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CURSOR_BITS = 20

# PostgreSQL fixes a view's columns when it is created. SQLite expands `*` at every query.
_RESULTS = (
    "CREATE OR REPLACE VIEW results AS SELECT * FROM result_rows WHERE cursor <"  # noqa: S608 - a number
    f" (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << {_CURSOR_BITS})"
)


def upgrade() -> None:
    op.add_column("result_rows", sa.Column("url", sa.Text))
    op.add_column("result_rows", sa.Column("runners_up", sa.JSON))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_RESULTS)
    _canaries()
    _promotions()


def _canaries() -> None:
    op.add_column("model_versions", sa.Column("canary_share", sa.Float))
    condition = sa.text("state = 'canary'")
    op.create_index(
        "uq_model_versions_canary",
        "model_versions",
        ["name"],
        unique=True,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _promotions() -> None:
    op.create_table(
        "promotions",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("previous_version", sa.Integer),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("share", sa.Float),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("gate", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
    )
    op.create_index("ix_promotions_name_id", "promotions", ["name", "id"])
