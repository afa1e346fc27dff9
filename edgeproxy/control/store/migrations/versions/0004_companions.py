"""The kind of each certificate's key, and certificates with an RSA key beside those with an ECDSA key."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 1000


def upgrade() -> None:
    op.add_column("certificates", sa.Column("key_type", sa.String(), nullable=False, server_default=""))
    op.add_column("certificates", sa.Column("companion_at", sa.Float(), nullable=False, server_default="0"))
    op.create_index("certificates_by_companion", "certificates", ["superseded_at", "companion_at"], unique=False)
    op.create_table(
        "companions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("certificate_id", sa.String(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("not_after", sa.Float(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("key_type", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificates.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        comment="certificates with an RSA key beside those with an ECDSA key",
    )
    op.create_index("companions_by_certificate", "companions", ["certificate_id"], unique=True)
    op.create_index("companions_by_serial", "companions", ["serial"], unique=False)
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """The kinds of key of the certificates that are there."""
    after = ""
    page = sa.text("SELECT id, chain FROM certificates WHERE id > :after ORDER BY id LIMIT :limit")
    while rows := connection.execute(page, {"after": after, "limit": _BATCH}).all():
        kinds = [{"id": row.id, "kind": _kind(row.chain)} for row in rows]
        connection.execute(sa.text("UPDATE certificates SET key_type = :kind WHERE id = :id"), kinds)
        after = rows[-1].id


def _kind(chain: Any) -> str:
    """The kind of the leaf's key; empty where it cannot be read, which is no reason to stop a start."""
    try:
        key = x509.load_pem_x509_certificate(bytes(chain)).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return ""
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return ""
    return f"{'p' if isinstance(key, ec.EllipticCurvePublicKey) else 'rsa'}{key.key_size}"
