"""Certificates: serials, challenges, uploads, revocation, warnings of expiry, history. Accounts: a key that is to come.
Issuance: names that wait, who works on one, what was spent of a CA's limits. Renewals: when they are looked at, when a CA is
asked about them, names whose DNS points elsewhere, how often names are visited."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from cryptography import x509

revision = "0002"
down_revision = "0001"

_BATCH = 1000


def upgrade() -> None:
    """Adds columns that an older program need not know, and tables."""
    op.add_column("certificates", sa.Column("serial", sa.String(), nullable=False, server_default=""))
    op.add_column("certificates", sa.Column("auto_renew", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("certificates", sa.Column("warned", sa.Integer(), nullable=True))
    op.add_column("certificates", sa.Column("revocation", sa.String(), nullable=True))
    op.add_column("certificates", sa.Column("revoked_at", sa.Float(), nullable=True))
    op.add_column("certificates", sa.Column("challenge", sa.String(), nullable=False, server_default=""))
    op.create_index("certificates_by_serial", "certificates", ["serial"], unique=False)
    op.create_index("certificates_by_issuer", "certificates", ["issuer", "not_after"], unique=False)
    op.create_index("certificates_by_revocation", "certificates", ["revocation"], unique=False)
    op.add_column("accounts", sa.Column("sealed_next_key", sa.LargeBinary(), nullable=True))
    op.add_column("accounts", sa.Column("key_changed_at", sa.Float(), nullable=True))
    op.add_column("failures", sa.Column("fault", sa.String(), nullable=False, server_default="ca"))
    op.create_table(
        "certificate_history",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("certificate_id", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("not_after", sa.Float(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=False, server_default=""),
        sa.Column("ended_why", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("certificate_history_by_name", "certificate_history", ["name", "number"], unique=False)
    op.create_index("certificate_history_by_certificate", "certificate_history", ["certificate_id"], unique=False)
    _fill(op.get_bind())
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


def _fill(connection: sa.Connection) -> None:
    """The serials of the certificates that are there, and the beginning of their history."""
    after = ""
    page = sa.text("SELECT id, chain FROM certificates WHERE id > :after ORDER BY id LIMIT :limit")
    while rows := connection.execute(page, {"after": after, "limit": _BATCH}).all():
        serials = [{"id": row.id, "serial": _serial(row.chain)} for row in rows]
        connection.execute(sa.text("UPDATE certificates SET serial = :serial WHERE id = :id"), serials)
        after = rows[-1].id
    connection.execute(
        sa.text(
            "INSERT INTO certificate_history (name, certificate_id, serial, issuer, not_after, added_at, added_by, ended_at,"
            " ended_by, ended_why)"
            " SELECT n.name, c.id, c.serial, c.issuer, c.not_after, c.added_at, 'edge', c.superseded_at,"
            " CASE WHEN c.superseded_at IS NULL THEN '' ELSE 'edge' END,"
            " CASE WHEN c.superseded_at IS NULL THEN '' ELSE 'replaced' END"
            " FROM certificate_names n JOIN certificates c ON c.id = n.certificate_id ORDER BY n.number"
        )
    )


def _serial(chain: Any) -> str:
    """The leaf's serial number as hex; empty where it cannot be read, which then has no more reason to stop a start."""
    try:
        return f"{x509.load_pem_x509_certificate(bytes(chain)).serial_number:x}"
    except ValueError:
        return ""
