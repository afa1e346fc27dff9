"""Certificates: serials, challenges, uploads, revocation, warnings of expiry, history. Accounts: a key that is to come."""

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
