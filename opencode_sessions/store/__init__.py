"""Where rows are kept: in memory, or in a database through SQLAlchemy, behind one small protocol.

A write is a list of steps that are applied together or not at all. Rows are plain dicts by column
name; `values.clean` has made them storable before they get here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from ..models import Row

TableName = Literal["sessions", "messages", "tool_calls", "file_events"]
# Children before parents, the order in which rows may be deleted.
TABLE_NAMES: tuple[TableName, ...] = ("file_events", "tool_calls", "messages", "sessions")


@dataclass(frozen=True, slots=True)
class PutSession:
    """Finds the session by its opencode_id and touches it, or creates it; gives the row."""

    row: Row


@dataclass(frozen=True, slots=True)
class PutMessage:
    """Adds a message to its session, or updates the one with its opencode_id; gives it."""

    row: Row


@dataclass(frozen=True, slots=True)
class Append:
    """Adds rows at the end of their session (`seq` follows on), or updates those there by id."""

    table: TableName
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Put:
    """Inserts or updates rows by id, exactly as given (all with the same columns)."""

    table: TableName
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes sessions and everything in them."""

    session_ids: Sequence[str]


Step = PutSession | PutMessage | Append | Put | Delete


class Summary(NamedTuple):
    """What a store holds, as its repr says it."""

    sessions: int
    messages: int
    file_events: int
    newest: Any


class StoreFailed(Exception):
    """A read or write did not happen, none of it. `is_passing`: the same may succeed later."""

    def __init__(self, reason: str, *, is_passing: bool) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


class CallerWorkFailed(Exception):
    """The caller's own objects could not be flushed; our write has happened (`rows`)."""

    rows: list[Row]


Where = Mapping[str, Collection[Any]]


class Store(Protocol):
    """What the service, the import and the frames need of a store."""

    @property
    def place(self) -> str:
        """Where the rows are, for messages and reprs."""

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps, durably, or none; gives one row for each PutSession and PutMessage.

        Raises:
            StoreFailed: nothing of it was stored.
            SchemaError: the tables are missing or old.
        """

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows as tuples in the order of `columns`; `where` gives each column's allowed values."""

    async def summary(self) -> Summary:
        """Counts and the newest session's time."""

    async def close(self) -> None:
        """Lets go of everything this store opened itself."""


def column_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """The columns of rows that all have the same."""
    return tuple(next(iter(rows), {}))
