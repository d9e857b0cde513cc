"""What is read most, read from an index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TOTALS = (
    *("session_id", "seq", "role", "created_at", "is_fork_copy", "cost_usd"),
    *("tokens_input", "tokens_output", "tokens_reasoning"),
    *("tokens_cache_read", "tokens_cache_write"),
)
ODDLY_WRITTEN = r"""file_path = '' OR substr(file_path, 2, 1) = ':'
    OR replace(file_path, '\', '') <> file_path
    OR replace(file_path || '/', '//', '') <> file_path || '/'
    OR replace('/' || file_path || '/', '/./', '') <> '/' || file_path || '/'
    OR replace('/' || file_path || '/', '/../', '') <> '/' || file_path || '/'"""
# name: table, columns, condition
INDEXES = {
    "ix_opencode_sessions_place": ("opencode_sessions", ("workdir", "worktree"), None),
    "ix_opencode_messages_totals": ("opencode_messages", TOTALS, None),
    "ix_opencode_file_events_odd_path": ("opencode_file_events", ("file_path",), ODDLY_WRITTEN),
    "ix_opencode_file_events_new_path": (
        *("opencode_file_events", ("new_file_path",)),
        "new_file_path IS NOT NULL",
    ),
}
ON_SQLITE = {"ix_opencode_sessions_place"}  # two paths may be more than PostgreSQL has room for
OF_ANY_LENGTH = {"ix_opencode_file_events_odd_path", "ix_opencode_file_events_new_path"}
REPLACED = "ix_opencode_messages_session_seq", "opencode_messages", ("session_id", "seq")


def upgrade() -> None:
    """Makes the indexes that are missing; that of the messages' totals begins as its old one."""
    existing = sa.inspect(op.get_bind())
    tables = {table for table, _columns, _condition in INDEXES.values()}
    present = {index["name"] for table in tables for index in existing.get_indexes(table)}
    old, table, _columns = REPLACED
    if old in present:
        op.drop_index(old, table)
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, (table, columns, condition) in INDEXES.items():
        if name not in present and (is_sqlite or name not in ON_SQLITE):
            where = condition and sa.text(condition)
            op.create_index(
                name,
                table,
                columns,
                sqlite_where=where,
                postgresql_where=where,
                postgresql_using="spgist" if name in OF_ANY_LENGTH else "btree",
            )


def downgrade() -> None:
    """The indexes as they were."""
    for name, (table, _columns, _condition) in reversed(INDEXES.items()):
        op.drop_index(name, table, if_exists=True)
    op.create_index(*REPLACED)
