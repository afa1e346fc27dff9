"""The life of a customer's domain: its proof, its schedule, who held it; tokens, entitlement, webhooks, proofs by mail."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, server_default="")


def upgrade() -> None:
    for name in ("method", "proof", "redirect_to", "metadata", "error_code", "error_detail", "error_fault"):
        op.add_column("domains", _text(name))
    for name in ("include_www", "maintenance", "must_prove"):
        op.add_column("domains", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("looks", "version"):
        op.add_column("domains", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    for name in ("next_look", "looking_since", "looked_at", "active_at", "parked_at", "suspended_at"):
        op.add_column("domains", sa.Column(name, sa.Float()))
    op.create_index("domains_by_next_look", "domains", ["next_look"], unique=False)
    op.create_index("domains_by_redirect", "domains", ["redirect_to"], unique=False, sqlite_where=sa.text("redirect_to <> ''"))
    op.create_table(
        "holders",
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("was_active", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hostname", "workspace_id"),
        comment="who held a name before; a name that was active is given to another only against a proof in the DNS",
    )
    op.create_table(
        "removals",
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("domain", sa.LargeBinary(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=False),
        sa.Column("removed_by", sa.String(), nullable=False),
        sa.Column("final_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hostname", "workspace_id"),
        comment="domains that were removed and can still be brought back; domain: the row as JSON",
    )
    op.create_index("removals_by_end", "removals", ["final_at"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        _text("workspace_id"),
        _text("hostname"),
        _text("label"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
        sa.Column("used_at", sa.Float()),
        sa.PrimaryKeyConstraint("id"),
        comment="bearer tokens; digest: SHA-256",
    )
    op.create_index("tokens_by_digest", "tokens", ["digest"], unique=True)
    op.create_index("tokens_by_workspace", "tokens", ["workspace_id", "id"], unique=False)
    op.create_table(
        "workspaces",
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("paid", sa.Boolean(), nullable=False),
        sa.Column("max_domains", sa.Integer()),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("fresh_until", sa.Float(), nullable=False),
        sa.Column("checked_at", sa.Float(), nullable=False),
        sa.Column("unpaid_since", sa.Float()),
        sa.PrimaryKeyConstraint("workspace_id"),
        comment="what workspaces are entitled to; source: platform, api or config",
    )
    op.create_index("workspaces_by_unpaid", "workspaces", ["unpaid_since"], unique=False)
    op.create_table(
        "mail_proofs",
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("addresses", sa.String(), nullable=False),
        sa.Column("link_digest", sa.LargeBinary(), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("sends", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("sent_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hostname"),
        comment="links and codes that were sent by mail",
    )
    op.create_index("mail_proofs_by_link", "mail_proofs", ["link_digest"], unique=True)
    op.create_table(
        "outbox",
        sa.Column("number", sa.Integer(), nullable=False, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sqlite_autoincrement=True,
        comment="what happened, for webhooks and whoever asks later; id: webhook-id; data: JSON",
    )
    op.create_index("outbox_by_id", "outbox", ["id"], unique=True)
    op.create_index("outbox_by_age", "outbox", ["at"], unique=False)
    op.create_index("outbox_by_subject", "outbox", ["subject", "number"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_try", sa.Float()),
        sa.Column("tried_at", sa.Float()),
        sa.Column("delivered_at", sa.Float()),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("endpoint_id", "number"),
        comment="what became of an event of the outbox at an endpoint",
    )
    op.create_index("deliveries_by_next_try", "deliveries", ["endpoint_id", "next_try"], unique=False)
    op.create_index("deliveries_by_event", "deliveries", ["number"], unique=False)
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        _text("label"),
        _text("events"),
        sa.Column("sealed_secrets", sa.LargeBinary()),
        sa.Column("reached", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("disabled_at", sa.Float()),
        sa.Column("disabled_why", sa.Text(), nullable=False, server_default=""),
        sa.Column("failing_since", sa.Float()),
        sa.PrimaryKeyConstraint("id"),
        comment="where events are sent; source: api or config; reached: number in the outbox",
    )
    op.create_table(
        "alerts",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("told_at", sa.Float(), nullable=False),
        sa.Column("over_at", sa.Float()),
        sa.PrimaryKeyConstraint("kind", "subject"),
        comment="what people were told of, so that they are not told again",
    )
