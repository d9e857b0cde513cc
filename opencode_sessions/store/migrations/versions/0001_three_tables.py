"""The three tables as applications had them before this package came with migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.String(36)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates those that are not there; what is there stays as it is."""
    existing = set(sa.inspect(op.get_bind()).get_table_names())
    if "opencode_sessions" not in existing:
        op.create_table(
            "opencode_sessions",
            sa.Column("id", ID, primary_key=True),
            *(sa.Column(name, sa.Text) for name in ("opencode_id", "agent_name", "workdir")),
            *(sa.Column(name, sa.Text) for name in ("abi_thread_id", "title")),
            *(sa.Column(name, TIME) for name in ("created_at", "updated_at")),
        )
    if "opencode_messages" not in existing:
        op.create_table(
            "opencode_messages",
            sa.Column("id", ID, primary_key=True),
            sa.Column("session_id", ID, sa.ForeignKey("opencode_sessions.id"), nullable=False),
            sa.Column("role", sa.Text),
            sa.Column("content", sa.Text),
            sa.Column("parts", sa.JSON),
            sa.Column("created_at", TIME),
        )
    if "opencode_file_events" not in existing:
        op.create_table(
            "opencode_file_events",
            sa.Column("id", ID, primary_key=True),
            sa.Column("session_id", ID, sa.ForeignKey("opencode_sessions.id"), nullable=False),
            sa.Column("message_id", ID, sa.ForeignKey("opencode_messages.id")),
            sa.Column("event_type", sa.Text, nullable=False),
            *(sa.Column(name, sa.Text) for name in ("file_path", "diff", "command")),
            sa.Column("created_at", TIME),
        )


def downgrade() -> None:
    """Leaves the tables: they were there before us."""
