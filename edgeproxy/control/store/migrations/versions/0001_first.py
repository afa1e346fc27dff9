"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes all tables."""
    op.create_table(
        "about",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="version, readable_from, store_id",
    )
    op.create_table(
        "accounts",
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("contact", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("directory"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("audit_by_subject", "audit", ["subject", "number"], unique=False)
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("not_after", sa.Float(), nullable=False),
        sa.Column("renew_at", sa.Float(), nullable=True),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("superseded_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("certificates_by_expiry", "certificates", ["not_after", "superseded_at"], unique=False)
    op.create_index("certificates_by_renewal", "certificates", ["superseded_at", "renew_at", "not_after"], unique=False)
    op.create_table(
        "challenges",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("challenges_by_age", "challenges", ["created_at"], unique=False)
    op.create_table(
        "changes",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("database", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="change: the number of the newest change. One row, so that numbers are given in the order of commits",
    )
    op.create_table(
        "domains",
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("verified_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("hostname"),
    )
    op.create_index("domains_by_parent", "domains", ["parent", "hostname"], unique=False)
    op.create_index("domains_by_state", "domains", ["state", "hostname"], unique=False)
    op.create_index("domains_by_workspace", "domains", ["workspace_id", "hostname"], unique=False)
    op.create_table(
        "failures",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("next_try", sa.Float(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("failures_by_age", "failures", ["updated_at"], unique=False)
    op.create_table(
        "gate_routes",
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("fresh_until", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hostname"),
    )
    op.create_index("gate_routes_by_age", "gate_routes", ["updated_at"], unique=False)
    op.create_index("gate_routes_by_parent", "gate_routes", ["parent", "hostname"], unique=False)
    op.create_table(
        "orders",
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hostname"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="tickets; internal_ca",
    )
    op.create_table(
        "certificate_names",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("not_after", sa.Float(), nullable=False),
        sa.Column("certificate_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificates.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name", "number"),
        comment="number: the change that added it, so the newest of a name is the highest",
    )
    op.create_index("certificate_names_by_certificate", "certificate_names", ["certificate_id", "position"], unique=False)
    op.create_index("certificate_names_by_parent", "certificate_names", ["parent", "name"], unique=False)
