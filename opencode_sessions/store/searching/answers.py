"""What rows say that one may look for, and which of them answer a question.

An index only names rows; whether one answers, and where, is told by the row itself. So what an
index has of a row that has changed since is never shown.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import count
from typing import Any, Literal, NamedTuple

from ... import parts as parts_
from ...words import Asked, snippet
from .. import Store, TableName, Where

Kind = Literal["title", "prompt", "answer", "output", "path", "command", "diff", "error"]
KINDS: tuple[Kind, ...] = (
    *("title", "prompt", "answer", "output", "path", "command", "diff", "error"),
)
# The columns of each table that a search looks at or tells of.
SEARCHED: dict[TableName, tuple[str, ...]] = {
    "sessions": ("id", "created_at", "title"),
    "messages": ("id", "session_id", "created_at", "role", "content", "parts"),
    "file_events": (
        *("id", "session_id", "message_id", "created_at", "file_path", "new_file_path"),
        *("command", "diff", "error"),
    ),
}
KINDS_OF: dict[TableName, set[Kind]] = {
    "sessions": {"title"},
    "messages": {"prompt", "answer", "output"},
    "file_events": {"path", "command", "diff", "error"},
}
Progress = Callable[[int], object]
TIE_BITS = 20  # of a row's number, to tell rows of one millisecond apart
LATEST = (1 << 62 - TIE_BITS) - 1  # milliseconds of the latest that fits into a number: 2109


class Search(NamedTuple):
    """What to look for, and where."""

    question: Asked
    kinds: Collection[Kind]
    sessions: Collection[str] | None
    """Row ids of the sessions to look in; None for all."""
    limit: int


class Answer(NamedTuple):
    """A row that answers: what kind of text does, and the place in it."""

    table: TableName
    id: str
    session_id: str
    message_id: str | None
    time: datetime | None
    kind: Kind
    snippet: str
    file_path: str | None


def texts(
    table: TableName, row: dict[str, Any], kinds: Collection[Kind] = KINDS
) -> Iterator[tuple[Kind, str]]:
    """Each text of a row that one may look for; of these kinds, and maybe others."""
    if table == "sessions":
        yield "title", row["title"] or ""
    elif table == "messages":
        yield "prompt" if row["role"] == "user" else "answer", row["content"] or ""
        if "output" in kinds:
            outputs = (call.output for call in parts_.tool_calls(row["parts"]))
            yield "output", "\n".join(output for output in outputs if output)
    else:
        yield "path", "\n".join(filter(None, (row["file_path"], row["new_file_path"])))
        yield "command", row["command"] or ""
        yield "diff", _changes(row["diff"] or "")
        yield "error", row["error"] or ""


def _changes(diff: str) -> str:
    """A diff without what it says of its file above the first hunk: that is another kind."""
    is_headed = diff.startswith(("Index: ", "--- ", "diff "))
    return diff[diff.find("\n@@") + 1 :] if is_headed and "\n@@" in diff else diff


def answers(table: TableName, row: dict[str, Any], search: Search) -> Iterator[Answer]:
    """How a row answers: each kind of its texts that does."""
    for kind, text in texts(table, row, search.kinds):
        if kind not in search.kinds or not text:
            continue
        if (found := snippet(search.question, text)) is not None:
            session_id = row["id"] if table == "sessions" else row["session_id"]
            message_id = row["id"] if table == "messages" else row.get("message_id")
            path, time = row.get("file_path"), row["created_at"]
            yield Answer(table, row["id"], session_id, message_id, time, kind, found, path)


class Newest:
    """The newest answers among rows that are looked at one by one."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._found: list[tuple[int, int, Answer]] = []  # a heap: the oldest one first
        self._place = count(step=-1)

    def columns(self, table: TableName) -> tuple[str, ...]:
        """What of a table's rows has to be seen; nothing if none of them can answer."""
        kinds = KINDS_OF[table] & {*self._search.kinds}
        unseen = () if "output" in kinds else ("parts",)
        return tuple(column for column in SEARCHED[table] if kinds and column not in unseen)

    def where(self, table: TableName) -> Where | None:
        """Which rows of a table may answer; None for all."""
        id = "id" if table == "sessions" else "session_id"
        return None if self._search.sessions is None else {id: self._search.sessions}

    def take(self, table: TableName, rows: Iterable[dict[str, Any]]) -> None:
        """Looks at rows of a table; fast where older ones follow enough newer answers."""
        wanted = self._search._replace(kinds=KINDS_OF[table] & {*self._search.kinds})
        for row in rows:
            is_full = len(self._found) == wanted.limit
            if is_full and _milliseconds(row["created_at"]) < self._found[0][0] >> TIE_BITS:
                continue
            for answer in answers(table, row, wanted):
                entry = number(answer.time, answer.id), next(self._place), answer
                if len(self._found) < wanted.limit:
                    heapq.heappush(self._found, entry)
                else:
                    heapq.heappushpop(self._found, entry)

    def answers(self) -> list[Answer]:
        """Those found, the newest first."""
        return [answer for _, _, answer in sorted(self._found, reverse=True)]


async def without_index(store: Store, search: Search) -> list[Answer]:
    """The newest answers, newest first, by looking at every row."""
    newest = Newest(search)
    for table in SEARCHED:
        if not (columns := newest.columns(table)):
            continue

        def take(
            rows: Sequence[tuple[Any, ...]],
            table: TableName = table,
            columns: Sequence[str] = columns,
        ) -> None:
            newest.take(table, (dict(zip(columns, row, strict=True)) for row in rows))

        await store.scan(table, columns, newest.where(table), take)
    return newest.answers()


def number(time: datetime | None, id: str) -> int:
    """A number of a row's time, later ones higher, that hardly another row has."""
    tie = int.from_bytes(blake2b(id.encode(), digest_size=8).digest()) >> (64 - TIE_BITS)
    return (_milliseconds(time) << TIE_BITS) + tie


def _milliseconds(time: datetime | None) -> int:
    return 0 if time is None else min(max(0, int(time.timestamp() * 1000)), LATEST)
