"""Answers that are given again for the same Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("begun_at", sa.Float(), nullable=False),
        sa.Column("answered_at", sa.Float()),
        sa.Column("sealed_use", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="requests with an Idempotency-Key; id: digest of caller and key; sealed_use: what was asked and answered",
    )
    op.create_index("idempotency_keys_by_caller", "idempotency_keys", ["caller", "begun_at"], unique=False)
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["begun_at"], unique=False)
