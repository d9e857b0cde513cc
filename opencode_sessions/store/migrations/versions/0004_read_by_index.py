"""What is read most, read from an index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MESSAGES = "opencode_messages"
OLD = "ix_opencode_messages_session_seq"
TOTALS = "ix_opencode_messages_totals"
TOTALS_OF = (
    *("session_id", "seq", "role", "created_at", "is_fork_copy", "cost_usd"),
    *("tokens_input", "tokens_output", "tokens_reasoning"),
    *("tokens_cache_read", "tokens_cache_write"),
)


def upgrade() -> None:
    """Makes the indexes that are missing; the new one of the messages begins as the old one did."""
    present = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(MESSAGES)}
    if OLD in present:
        op.drop_index(OLD, MESSAGES)
    if TOTALS not in present:
        op.create_index(TOTALS, MESSAGES, TOTALS_OF)


def downgrade() -> None:
    """The indexes as they were."""
    op.drop_index(TOTALS, MESSAGES)
    op.create_index(OLD, MESSAGES, ("session_id", "seq"))
