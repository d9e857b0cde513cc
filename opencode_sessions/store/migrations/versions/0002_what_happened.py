"""What happened, in order and with its evidence; every tool call; one row per session."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT, INTEGER, BIG, FLOAT = sa.Text(), sa.Integer(), sa.BigInteger(), sa.Float()
BOOLEAN, JSON, TIME = sa.Boolean(), sa.JSON(), sa.DateTime(timezone=True)
TOKENS = ("input", "output", "reasoning", "cache_read", "cache_write")
REPORTED: dict[str, sa.types.TypeEngine[Any]] = {
    f"reported_{name}": INTEGER for name in ("files", "additions", "deletions")
}
WRITER: dict[str, sa.types.TypeEngine[Any]] = {"source": TEXT, "origin": TEXT}
FLAGS: dict[str, sa.types.TypeEngine[Any]] = {"is_fork_copy": BOOLEAN, "is_undone": BOOLEAN}

ADDED: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "opencode_sessions": {
        **dict.fromkeys(("parent_id", "project_id", "worktree", "provider", "model"), TEXT),
        "opencode_version": TEXT,
        "archived_at": TIME,
        **REPORTED,
        "reported_cost_usd": FLOAT,
        **{f"reported_tokens_{name}": BIG for name in TOKENS},
        "info": JSON,
        **WRITER,
    },
    "opencode_messages": {
        "opencode_id": TEXT,
        "parent_id": TEXT,
        "seq": INTEGER,
        "turn": INTEGER,
        "completed_at": TIME,
        **dict.fromkeys(("agent_name", "provider", "model", "finish", "error"), TEXT),
        "is_compaction": BOOLEAN,
        **FLAGS,
        "cost_usd": FLOAT,
        **{f"tokens_{name}": BIG for name in TOKENS},
        **REPORTED,
        "info": JSON,
        **WRITER,
    },
    "opencode_file_events": {
        "tool_call_id": sa.String(36),
        "call_id": TEXT,
        "tool": TEXT,
        "seq": INTEGER,
        "turn": INTEGER,
        "duration_s": FLOAT,
        "actor": TEXT,
        "new_file_path": TEXT,
        "is_new_file": BOOLEAN,
        "status": TEXT,
        "error": TEXT,
        **dict.fromkeys(("additions", "deletions", "start_line", "end_line"), INTEGER),
        "evidence": TEXT,
        **FLAGS,
        **WRITER,
    },
}
INDEXES = {
    "ux_opencode_sessions_opencode_id": ("opencode_sessions", ["opencode_id"], True),
    "ux_opencode_messages_opencode_id": ("opencode_messages", ["session_id", "opencode_id"], True),
    "ix_opencode_messages_session_seq": ("opencode_messages", ["session_id", "seq"], False),
    "ix_opencode_file_events_session_seq": ("opencode_file_events", ["session_id", "seq"], False),
    "ix_opencode_file_events_message": ("opencode_file_events", ["message_id"], False),
    "ix_opencode_file_events_file_path": ("opencode_file_events", ["file_path"], False),
    "ix_opencode_tool_calls_session_seq": ("opencode_tool_calls", ["session_id", "seq"], False),
    "ix_opencode_tool_calls_message": ("opencode_tool_calls", ["message_id"], False),
}
OF_ANY_LENGTH = {"ix_opencode_file_events_file_path"}  # more than PostgreSQL's usual index takes


def upgrade() -> None:
    """Adds what is missing, so that tables made by `metadata.create_all` pass as well."""
    existing = sa.inspect(op.get_bind())
    for table, columns in ADDED.items():
        present = {column["name"] for column in existing.get_columns(table)}
        for name, type_ in columns.items():
            if name not in present:
                op.add_column(table, sa.Column(name, type_, nullable=True))
    if not existing.has_table("opencode_tool_calls"):
        _create_tool_calls()
    _unite_doubled_sessions()
    _number_old_rows()
    for index, (table, keys, unique) in INDEXES.items():
        if index not in {present["name"] for present in existing.get_indexes(table)}:
            kind = "spgist" if index in OF_ANY_LENGTH else "btree"
            op.create_index(index, table, keys, unique=unique, postgresql_using=kind)


def downgrade() -> None:
    """Back to the three tables; what only the added columns held is lost."""
    for name, (table, _columns, _unique) in reversed(INDEXES.items()):
        op.drop_index(name, table)
    op.drop_table("opencode_tool_calls")
    for table, columns in ADDED.items():
        for name in reversed(columns):
            op.drop_column(table, name)


def _create_tool_calls() -> None:
    id = sa.String(36)
    op.create_table(
        "opencode_tool_calls",
        sa.Column("id", id, primary_key=True),
        sa.Column("session_id", id, sa.ForeignKey("opencode_sessions.id"), nullable=False),
        sa.Column("message_id", id, sa.ForeignKey("opencode_messages.id")),
        sa.Column("call_id", TEXT),
        sa.Column("tool", TEXT, nullable=False),
        sa.Column("input", JSON),
        *(sa.Column(name, TEXT) for name in ("status", "error", "title")),
        sa.Column("output_bytes", BIG),
        sa.Column("exit_code", INTEGER),
        sa.Column("child_session_id", TEXT),
        sa.Column("created_at", TIME),
        sa.Column("duration_s", FLOAT),
        sa.Column("seq", INTEGER),
        sa.Column("turn", INTEGER),
        sa.Column("actor", TEXT),
        *(sa.Column(name, type_) for name, type_ in {**FLAGS, **WRITER}.items()),
    )


def _unite_doubled_sessions() -> None:
    """One row per opencode_id, as the unique index wants it: the oldest takes what the others have.

    The others stay as rows, without messages; their `info` says whose doubles they were, and they
    have no opencode_id, or their own id where there must be one.
    """
    sessions = sa.table(
        "opencode_sessions",
        *(sa.column(name) for name in ("id", "opencode_id", "created_at")),
        sa.column("info", JSON),
    )
    children = [
        sa.table(name, sa.column("session_id"))
        for name in ("opencode_messages", "opencode_file_events")
    ]
    connection = op.get_bind()
    doubled = (
        sa.select(sessions.c.opencode_id)
        .where(sessions.c.opencode_id.is_not(None))
        .group_by(sessions.c.opencode_id)
        .having(sa.func.count() > 1)
    )
    columns = {c["name"]: c for c in sa.inspect(connection).get_columns("opencode_sessions")}
    no_id = sa.null() if columns["opencode_id"]["nullable"] else sessions.c.id
    for opencode_id in connection.execute(doubled).scalars().all():
        same = sa.select(sessions.c.id).where(sessions.c.opencode_id == opencode_id)
        rows = connection.execute(same.order_by(sessions.c.created_at, sessions.c.id)).scalars()
        oldest, *others = rows.all()
        for child in children:
            connection.execute(
                child.update().where(child.c.session_id.in_(others)).values(session_id=oldest)
            )
        connection.execute(
            sessions.update()
            .where(sessions.c.id.in_(others))
            .values(opencode_id=no_id, info={"double_of": oldest, "opencode_id": opencode_id})
        )


def _number_old_rows() -> None:
    """Gives old rows their place in the session, by time, so that new ones come after them."""
    connection = op.get_bind()
    # Times may be whole seconds: within one, by the place a row was given when it was inserted.
    same_time = "rowid" if connection.dialect.name == "sqlite" else "ctid"
    in_order = f"OVER (PARTITION BY session_id ORDER BY created_at, {same_time})"
    prompts = f"sum(CASE WHEN role = 'user' THEN 1 ELSE 0 END) {in_order}"
    for statement in (
        f"""
        UPDATE opencode_messages SET seq = placed.seq, turn = placed.turn FROM (
            SELECT id, row_number() {in_order} - 1 AS seq, {prompts} + CASE
                WHEN first_value(role) {in_order} = 'user' THEN 0 ELSE 1 END AS turn
            FROM opencode_messages WHERE seq IS NULL
        ) AS placed WHERE placed.id = opencode_messages.id
        """,
        f"""
        UPDATE opencode_file_events SET seq = placed.seq FROM (
            SELECT id, row_number() {in_order} - 1 AS seq
            FROM opencode_file_events WHERE seq IS NULL
        ) AS placed WHERE placed.id = opencode_file_events.id
        """,
        """
        UPDATE opencode_file_events SET turn = opencode_messages.turn FROM opencode_messages
        WHERE opencode_messages.id = message_id AND opencode_file_events.turn IS NULL
        """,
    ):
        connection.exec_driver_sql(statement)
