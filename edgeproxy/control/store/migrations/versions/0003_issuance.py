"""Issuance: whose fault a failure is, names that wait, who works on one, what was spent of a CA's limits. Renewals: when they
are looked at, when a CA is asked about them, names whose DNS points elsewhere, how often names are visited."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("failures", sa.Column("fault", sa.String(), nullable=False, server_default="ca"))
    _turns()
    _renewals()


def _renewals() -> None:
    op.add_column("certificates", sa.Column("look_at", sa.Float(), nullable=False, server_default="0"))
    op.add_column("certificates", sa.Column("info_at", sa.Float(), nullable=False, server_default="0"))
    op.add_column("certificates", sa.Column("astray_since", sa.Float(), nullable=True))
    op.add_column("certificates", sa.Column("parked_at", sa.Float(), nullable=True))
    op.create_index("certificates_by_info", "certificates", ["superseded_at", "issuer", "info_at"], unique=False)
    op.create_table(
        "visits",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("heat", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="how much names of certificates are visited; heat: as issuance.visits has it",
    )


def _turns() -> None:
    op.create_table(
        "waiting",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Float(), nullable=False),
        sa.Column("visited", sa.Boolean(), nullable=False),
        sa.Column("renewal", sa.Boolean(), nullable=False),
        sa.Column("replaces", sa.Boolean(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="names that wait for their turn to be ordered",
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="who works on a name; holder: one process of the machine",
    )
    op.create_index("leases_by_holder", "leases", ["holder"], unique=False)
    op.create_table(
        "spent",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("registered", sa.String(), nullable=False),
        sa.Column("paced", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        comment="orders and failed validations that a CA still counts",
        sqlite_autoincrement=True,
    )
    op.create_index("spent_by_time", "spent", ["at"], unique=False)
    op.create_index("spent_by_name", "spent", ["name"], unique=False)
    op.create_table(
        "rate_limits",
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("directory", "scope", "subject"),
        comment="what a CA said not to ask before",
    )
