"""Where rows are kept: in memory, or in a database through SQLAlchemy, behind one small protocol.

A write is a list of steps that are applied together or not at all. Rows are plain dicts by column
name; `values.clean` has made them storable before they get here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, TypeVar

from ..errors import PersistenceError
from ..models import Row

if TYPE_CHECKING:
    from .searching.answers import Answer, Progress, Search

log = logging.getLogger("opencode_sessions")
Done = TypeVar("Done")

TableName = Literal["sessions", "messages", "tool_calls", "file_events"]
# Children before parents, the order in which rows may be deleted.
TABLE_NAMES: tuple[TableName, ...] = ("file_events", "tool_calls", "messages", "sessions")
# What is summed over a session's messages, fork copies left out.
MONEY = (
    "cost_usd",
    *(f"tokens_{kind}" for kind in ("input", "output", "reasoning", "cache_read", "cache_write")),
)
# What is counted and summed over a session; of messages first.
TOTALS = ("messages", "turns", *MONEY, "tool_calls", "file_events")
# What an Append leaves as it is in a row that is there already.
KEPT_BY_APPEND = {"id", "session_id", "seq", "created_at"}
# What a stored message says as it was given: large, so not read back, nor given by a Put.
GIVEN = {"content", "parts"}


@dataclass(frozen=True, slots=True)
class PutSession:
    """Finds the session by its opencode_id and touches it, or creates it; gives the row."""

    row: Row


@dataclass(frozen=True, slots=True)
class PutMessage:
    """Adds a message to its session, or updates the one with its opencode_id; gives it.

    What is `GIVEN` may come back as it was packed.
    """

    row: Row


@dataclass(frozen=True, slots=True)
class Append:
    """Adds rows of messages (all with the same columns), or updates those there by id.

    `seq` goes on at the end of the session, `turn` is the message's, and so is a session not given.
    """

    table: TableName
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class AppendTo:
    """Appends to a message what is `within` it, by the id it turns out to be stored under."""

    message_id: str
    within: Callable[[str], Sequence[Append]]


@dataclass(frozen=True, slots=True)
class Put:
    """Inserts or updates rows by id, exactly as given (all with the same columns).

    A row never moves to another session: where one has the id already, IdsTaken is raised.
    """

    table: TableName
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes rows of a table, and everything in them."""

    table: TableName
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Prune:
    """Removes every session in which nothing happened since a moment; gives their ids."""

    before: datetime


Step = PutSession | PutMessage | Append | AppendTo | Put | Delete | Prune


class Summary(NamedTuple):
    """What a store holds, as its repr says it."""

    sessions: int
    messages: int
    file_events: int
    newest: Any
    writes_since: int = 0  # since these were counted


class StoreFailed(PersistenceError):
    """A read or write did not happen, none of it. `is_passing`: the same may succeed later."""

    def __init__(self, reason: str, *, is_passing: bool) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


class IdsTaken(StoreFailed):
    """Rows of other sessions have these ids; nothing was stored."""

    def __init__(self, ids: dict[TableName, set[str]]) -> None:
        count = sum(map(len, ids.values()))
        super().__init__(f"{count} ids are those of another session's rows", is_passing=False)
        self.ids = ids


class NotAtOnce(Exception):
    """Some value cannot be read with many others at once; row by row it can."""


class CallerWorkFailed(PersistenceError):
    """The caller's own objects could not be flushed; our write has happened (`rows`)."""

    rows: list[Row]


async def finish(work: Awaitable[Done]) -> Done:
    """Runs work to its end even if its caller is cancelled; only then the cancellation goes on."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # however often: half a write helps nobody
                await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            log.error("what a cancelled caller had asked for failed: %s", error)
        raise


Where = Mapping[str, Collection[Any]]
Take = Callable[[Sequence[tuple[Any, ...]]], None]
Totals = tuple[float | int | None, ...]


class Texts(NamedTuple):
    """Many rows at once: by column, the JSON of an array of their values.

    Times and JSON are texts, truth is 0 or 1, decimals are millionths.
    """

    columns: Mapping[str, bytes]
    exact: Mapping[str, Sequence[float | None]]
    """Columns that are no millionths, in place of those."""


class Copied(NamedTuple):
    r"""Many rows at once: the whole lines that PostgreSQL's COPY makes of them.

    Values stand between tabs, nothing is \N, truth is t or f, and a backslash, a tab or the end of
    a line within a text is written with a backslash.
    """

    columns: Sequence[str]
    rows: bytes


class Whole(Protocol):
    """One reading of whole tables, by the thread that enters it; much faster than row by row."""

    beside: Path | None
    """The folder beside the database for what is kept to be read faster yet, if there may be one.
    """

    def __enter__(self) -> Self:
        """Begins a reading; another one can follow.

        Raises:
            NotAtOnce: it cannot be read like this.
        """

    def __exit__(self, *error: object) -> None: ...

    def begin(self) -> None:
        """From here on all is read as it is at one moment."""

    def twin(self) -> "Whole | None":
        """Another reading of the same moment, for another thread; None where there can be none."""

    def count(self, table: TableName) -> int:
        """How many rows a table has."""

    def batches(
        self, table: TableName, columns: Sequence[str], sessions: Collection[str] | None = None
    ) -> "Iterator[Texts | Copied]":
        """The rows of a table, or of some sessions.

        Raises:
            NotAtOnce: it cannot be read like this.
        """

    def lacks(self, sessions: Collection[str]) -> bool:
        """Whether one of these sessions is not there."""

    def marks(self) -> dict[str, int] | None:
        """Each unchanged session's mark; None where changes are not kept track of."""

    def schema_version(self) -> int:
        """Changes with every change of tables or triggers."""

    def mark(self) -> bool:
        """Marks the sessions that have none; says whether it could."""


class Store(Protocol):
    """What the service, the import and the frames need of a store."""

    @property
    def place(self) -> str:
        """Where the rows are, for messages and reprs."""

    @property
    def known(self) -> Summary | None:
        """What it held when it was last counted, without counting again."""

    @property
    def takes_groups(self) -> bool:
        """Whether steps of several writes may be applied together, those of a later one knowing
        rows of an earlier one by the ids they were given."""

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps, durably, or none.

        Gives one row for each PutSession and PutMessage, and for each session a Prune removed.

        Raises:
            StoreFailed: nothing of it was stored; IdsTaken, if another session has an id of a Put.
            CallerWorkFailed: it was stored, what the caller had in the same AsyncSession was not.
            SchemaError: the tables are missing or old.
        """

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows as tuples in the order of `columns`; `where` gives each column's allowed values."""

    async def scan(
        self, table: TableName, columns: Sequence[str], where: Where | None, take: Take
    ) -> None:
        """Hands over the rows that `select` gives, in batches, as they come."""

    async def texts(self, table: TableName, columns: Sequence[str], where: Where) -> Texts:
        """The rows that `select` gives as texts, which is faster; `id` is one of the columns.

        Raises:
            NotAtOnce: they are to be read as rows.
        """

    async def with_prompt(self, message_id: str) -> list[str]:
        """The row ids of a message and of the prompt it answers, the last of the user's before it.

        A prompt itself answers none; no ids where there is no such message.
        """

    def whole(self) -> Whole | None:
        """A way to read whole tables at once, where there is one."""

    async def touched(self, since: datetime) -> set[str]:
        """The sessions in which something happened at or after this moment, by row id."""

    async def places(self) -> set[tuple[str | None, str | None]]:
        """Where sessions are: each different workdir and worktree."""

    async def on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> list[tuple[Any, ...]]:
        """File events from or to one of these paths, and what else may be shown with this ending.

        That are those whose path is oddly written; with no paths, all that may. Columns that
        events do not have, are those of their message; `id` is one of the columns.
        """

    async def texts_on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> Texts:
        """The same as texts, which is faster.

        Raises:
            NotAtOnce: they are to be read as rows.
        """

    async def totals(self, session_ids: Collection[str] | None = None) -> dict[str, Totals]:
        """By session, what it holds, in the order of `TOTALS`; an empty one may be missing."""

    async def reading(self, work: "Callable[[Store], Coroutine[Any, Any, Done]]") -> Done:
        """Does work that selects a few rows several times, faster than one select after another.

        It awaits nothing but what this store is asked to read; where it can be, it is done in
        another thread, on what is there at one moment.
        """

    async def summary(self) -> Summary:
        """Counts and the newest session's time."""

    async def search(self, search: "Search", progress: "Progress") -> "list[Answer]":
        """The newest answers to a question, newest first; tells what it does to an index first."""

    async def reindex(self, progress: "Progress") -> None:
        """Makes the index of words anew, where there is one to make."""

    async def room(self) -> tuple[int, str]:
        """How many bytes deleted rows hold, and how to give them back."""

    async def close(self) -> None:
        """Lets go of everything this store opened itself."""
