"""A domain's own settings, as a JSON object."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("domains", sa.Column("policies", sa.String(), nullable=False, server_default=""))
