"""The tables: three as applications have had them, and one for every tool call.

`metadata` is public for applications that run their own Alembic. Everything added to the three old
tables is nullable, so rows written before keep their meaning. Times are stored in UTC and come back
aware. No relationships: an object of ours never loads anything by itself, so reading one cannot
fail later.
"""

from datetime import UTC, datetime
from functools import cache
from os import urandom
from time import time_ns
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, make_transient_to_detached, mapped_column
from sqlalchemy.types import BigInteger, TypeDecorator

from .shown import cut, fields_html, number_of

Row = dict[str, Any]
TEXT_LETTERS, TEXT_LINES = 300, 6  # of a value in a notebook


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime everywhere; SQLite has no zones, so what it holds is taken as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without its zone where the database has none."""
        if value is None:
            return None
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To an aware UTC datetime."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A fresh row id: a UUID of version 7.

    It begins with the time, so rows made one after another lie side by side in an index: a group of
    them changes few of its pages, however large it has grown.
    """
    time, noise = time_ns() // 1_000_000, urandom(10).hex()
    return f"{time >> 16:08x}-{time & 0xFFFF:04x}-7{noise[:3]}-8{noise[3:6]}-{noise[6:18]}"


class Base(DeclarativeBase):
    """The declarative base of our tables alone, so that an application's metadata stays its own."""

    metadata = MetaData()
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Text,
        int: Integer,
        float: Float,
        bool: Boolean,
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }

    def _repr_html_(self) -> str:
        values = (
            (column.key, self.__dict__.get(column.key)) for column in table(type(self)).columns
        )
        known = [(name, _brief(value)) for name, value in values if value is not None]
        return fields_html(type(self).__name__, known)


def _brief(value: Any) -> str:
    """A value in a table of them: a long text is cut, of parts and objects the number is enough."""
    if isinstance(value, list | dict):
        return number_of(len(value), "part" if isinstance(value, list) else "field")
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    shown, more = cut(str(value), TEXT_LETTERS, TEXT_LINES)
    return f"{shown} {more}".rstrip()


Id = String(36)
# A path that has another, plainer name: one path may be written so in any number of ways.
ODDLY_WRITTEN = r"""file_path = '' OR substr(file_path, 2, 1) = ':'
    OR replace(file_path, '\', '') <> file_path
    OR replace(file_path || '/', '//', '') <> file_path || '/'
    OR replace('/' || file_path || '/', '/./', '') <> '/' || file_path || '/'
    OR replace('/' || file_path || '/', '/../', '') <> '/' || file_path || '/'"""
IS_MOVE = "new_file_path IS NOT NULL"


def _path_index(name: str, column: str, where: str | None = None) -> Index:
    """PostgreSQL's usual index has no room for texts of some KB, which an agent may call a path."""
    condition = text(where) if where else None
    only: dict[str, Any] = {"sqlite_where": condition, "postgresql_where": condition}
    return Index(f"ix_opencode_file_events_{name}", column, postgresql_using="spgist", **only)


class OpencodeSession(Base):
    """One opencode session."""

    __tablename__ = "opencode_sessions"
    __table_args__ = (
        Index("ux_opencode_sessions_opencode_id", "opencode_id", unique=True),
        Index("ix_opencode_sessions_place", "workdir", "worktree").ddl_if(dialect="sqlite"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    opencode_id: Mapped[str | None]
    agent_name: Mapped[str | None]
    workdir: Mapped[str | None]
    abi_thread_id: Mapped[str | None]
    title: Mapped[str | None]
    created_at: Mapped[datetime | None] = mapped_column(default=now)
    updated_at: Mapped[datetime | None] = mapped_column(default=now)
    # added
    parent_id: Mapped[str | None]
    project_id: Mapped[str | None]
    worktree: Mapped[str | None]
    provider: Mapped[str | None]
    model: Mapped[str | None]
    opencode_version: Mapped[str | None]
    archived_at: Mapped[datetime | None]
    reported_files: Mapped[int | None]
    reported_additions: Mapped[int | None]
    reported_deletions: Mapped[int | None]
    reported_cost_usd: Mapped[float | None]
    reported_tokens_input: Mapped[int | None] = mapped_column(BigInteger)
    reported_tokens_output: Mapped[int | None] = mapped_column(BigInteger)
    reported_tokens_reasoning: Mapped[int | None] = mapped_column(BigInteger)
    reported_tokens_cache_read: Mapped[int | None] = mapped_column(BigInteger)
    reported_tokens_cache_write: Mapped[int | None] = mapped_column(BigInteger)
    info: Mapped[dict[str, Any] | None]
    source: Mapped[str | None]
    origin: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    imported: Mapped[dict[str, Any] | None]

    def __repr__(self) -> str:
        values = self.__dict__
        return f"<OpencodeSession {values.get('opencode_id')!r} {values.get('title')!r}>"


class OpencodeMessage(Base):
    """One message of a session, with its parts as they were given."""

    __tablename__ = "opencode_messages"
    __table_args__ = (
        Index("ux_opencode_messages_opencode_id", "session_id", "opencode_id", unique=True),
        Index(  # all that a session's totals are made of: its messages are large
            "ix_opencode_messages_totals",
            *("session_id", "seq", "role", "created_at", "is_fork_copy", "cost_usd"),
            *("tokens_input", "tokens_output", "tokens_reasoning"),
            *("tokens_cache_read", "tokens_cache_write"),
        ),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    session_id: Mapped[str] = mapped_column(Id, ForeignKey("opencode_sessions.id"))
    role: Mapped[str | None]
    content: Mapped[str | None]
    parts: Mapped[list[Any] | None]
    created_at: Mapped[datetime | None] = mapped_column(default=now)
    # added
    opencode_id: Mapped[str | None]
    parent_id: Mapped[str | None]
    seq: Mapped[int | None]
    turn: Mapped[int | None]
    completed_at: Mapped[datetime | None]
    agent_name: Mapped[str | None]
    provider: Mapped[str | None]
    model: Mapped[str | None]
    finish: Mapped[str | None]
    error: Mapped[str | None]
    is_compaction: Mapped[bool | None]
    is_fork_copy: Mapped[bool | None]
    is_undone: Mapped[bool | None]
    cost_usd: Mapped[float | None]
    tokens_input: Mapped[int | None] = mapped_column(BigInteger)
    tokens_output: Mapped[int | None] = mapped_column(BigInteger)
    tokens_reasoning: Mapped[int | None] = mapped_column(BigInteger)
    tokens_cache_read: Mapped[int | None] = mapped_column(BigInteger)
    tokens_cache_write: Mapped[int | None] = mapped_column(BigInteger)
    reported_files: Mapped[int | None]
    reported_additions: Mapped[int | None]
    reported_deletions: Mapped[int | None]
    info: Mapped[dict[str, Any] | None]
    source: Mapped[str | None]
    origin: Mapped[str | None]
    deleted_at: Mapped[datetime | None]

    def __repr__(self) -> str:
        values = self.__dict__
        return f"<OpencodeMessage {values.get('id')!r} {values.get('role')!r}>"


class OpencodeFileEvent(Base):
    """One path that one tool call touched or tried to touch, or one command."""

    __tablename__ = "opencode_file_events"
    __table_args__ = (
        Index("ix_opencode_file_events_session_seq", "session_id", "seq"),
        Index("ix_opencode_file_events_message", "message_id"),
        _path_index("file_path", "file_path"),
        _path_index("odd_path", "file_path", ODDLY_WRITTEN),
        _path_index("new_path", "new_file_path", IS_MOVE),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    session_id: Mapped[str] = mapped_column(Id, ForeignKey("opencode_sessions.id"))
    message_id: Mapped[str | None] = mapped_column(Id, ForeignKey("opencode_messages.id"))
    event_type: Mapped[str]
    file_path: Mapped[str | None]
    diff: Mapped[str | None]
    command: Mapped[str | None]
    created_at: Mapped[datetime | None] = mapped_column(default=now)
    # added
    tool_call_id: Mapped[str | None] = mapped_column(Id)
    call_id: Mapped[str | None]
    tool: Mapped[str | None]
    seq: Mapped[int | None]
    turn: Mapped[int | None]
    duration_s: Mapped[float | None]
    actor: Mapped[str | None]
    new_file_path: Mapped[str | None]
    is_new_file: Mapped[bool | None]
    status: Mapped[str | None]
    error: Mapped[str | None]
    additions: Mapped[int | None]
    deletions: Mapped[int | None]
    start_line: Mapped[int | None]
    end_line: Mapped[int | None]
    evidence: Mapped[str | None]
    is_fork_copy: Mapped[bool | None]
    is_undone: Mapped[bool | None]
    source: Mapped[str | None]
    origin: Mapped[str | None]
    output_bytes: Mapped[int | None] = mapped_column(BigInteger)
    exit_code: Mapped[int | None]
    pruned_at: Mapped[datetime | None]
    errors_left: Mapped[int | None]

    def __repr__(self) -> str:
        values = self.__dict__
        what = values.get("file_path") or values.get("command")
        return f"<OpencodeFileEvent {values.get('event_type')} {what!r} {values.get('status')}>"


class OpencodeToolCall(Base):
    """One call of any tool, whether it touched a file or not."""

    __tablename__ = "opencode_tool_calls"
    __table_args__ = (
        Index("ix_opencode_tool_calls_session_seq", "session_id", "seq"),
        Index("ix_opencode_tool_calls_message", "message_id"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    session_id: Mapped[str] = mapped_column(Id, ForeignKey("opencode_sessions.id"))
    message_id: Mapped[str | None] = mapped_column(Id, ForeignKey("opencode_messages.id"))
    call_id: Mapped[str | None]
    tool: Mapped[str]
    input: Mapped[dict[str, Any] | None]
    input_hash: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str | None]
    error: Mapped[str | None]
    title: Mapped[str | None]
    output_bytes: Mapped[int | None] = mapped_column(BigInteger)
    exit_code: Mapped[int | None]
    child_session_id: Mapped[str | None]
    created_at: Mapped[datetime | None] = mapped_column(default=now)
    duration_s: Mapped[float | None]
    seq: Mapped[int | None]
    turn: Mapped[int | None]
    actor: Mapped[str | None]
    is_fork_copy: Mapped[bool | None]
    is_undone: Mapped[bool | None]
    source: Mapped[str | None]
    origin: Mapped[str | None]

    def __repr__(self) -> str:
        values = self.__dict__
        return f"<OpencodeToolCall {values.get('tool')!r} {values.get('status')}>"


metadata = Base.metadata

Model = TypeVar("Model", bound=Base)


@cache
def _columns(model: type[Base]) -> tuple[str, ...]:
    return tuple(column.key for column in inspect(model).column_attrs)


def detached(model: type[Model], row: Row) -> Model:
    """An object of this row that is plain to read for ever: loaded, tied to no session."""
    instance = model()
    # As a load does it: set one by one, each value would be noted as a change.
    instance.__dict__.update(dict.fromkeys(_columns(model)), **row)
    make_transient_to_detached(instance)
    return instance


def identity(instance: Base) -> str:
    """The primary key of an object, without a load, even where a commit has expired it."""
    key = inspect(instance).identity
    return str(key[0]) if key else str(instance.__dict__["id"])


def table(model: type[Base]) -> Table:
    """The Core table of a model."""
    found = model.__table__
    assert isinstance(found, Table)
    return found


MODELS: dict[str, type[Base]] = {
    "sessions": OpencodeSession,
    "messages": OpencodeMessage,
    "tool_calls": OpencodeToolCall,
    "file_events": OpencodeFileEvent,
}
TABLES: dict[str, Table] = {name: table(model) for name, model in MODELS.items()}
