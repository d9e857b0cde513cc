"""What rows say that one may look for, and which of them answer a question.

An index only names rows; whether one answers, and where, is told by the row itself. So what an
index has of a row that has changed since is never shown.
"""

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import count
from typing import Any, Literal, NamedTuple

from ... import parts as parts_
from ...words import Asked, snippet
from .. import Store, TableName

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


def texts(table: TableName, row: dict[str, Any]) -> Iterator[tuple[Kind, str]]:
    """Each text of a row that one may look for."""
    if table == "sessions":
        yield "title", row["title"] or ""
    elif table == "messages":
        yield "prompt" if row["role"] == "user" else "answer", row["content"] or ""
        outputs = (call.output for call in parts_.tool_calls(row.get("parts")))
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
    for kind, text in texts(table, row):
        if kind not in search.kinds or not text:
            continue
        if (found := snippet(search.question, text)) is not None:
            session_id = row["id"] if table == "sessions" else row["session_id"]
            message_id = row["id"] if table == "messages" else row.get("message_id")
            path, time = row.get("file_path"), row["created_at"]
            yield Answer(table, row["id"], session_id, message_id, time, kind, found, path)


async def without_index(store: Store, search: Search) -> list[Answer]:
    """The newest answers, newest first, by looking at every row."""
    newest: list[tuple[int, int, Answer]] = []
    place = count(step=-1)
    for table, columns in SEARCHED.items():
        wanted = search._replace(kinds=KINDS_OF[table] & {*search.kinds})
        if not wanted.kinds:
            continue
        if "output" not in wanted.kinds:
            columns = tuple(column for column in columns if column != "parts")

        def take(
            rows: Sequence[tuple[Any, ...]],
            table: TableName = table,
            columns: Sequence[str] = columns,
            wanted: Search = wanted,
        ) -> None:
            for row in rows:
                said = dict(zip(columns, row, strict=True))
                for answer in answers(table, said, wanted):
                    entry = number(answer.time, answer.id), next(place), answer
                    if len(newest) < search.limit:
                        heapq.heappush(newest, entry)
                    else:
                        heapq.heappushpop(newest, entry)

        id = "id" if table == "sessions" else "session_id"
        where = None if search.sessions is None else {id: search.sessions}
        await store.scan(table, columns, where, take)
    return [answer for _, _, answer in sorted(newest, reverse=True)]


def number(time: datetime | None, id: str) -> int:
    """A number of a row's time, later ones higher, that hardly another row has."""
    milliseconds = 0 if time is None else max(0, int(time.timestamp() * 1000))
    tie = int.from_bytes(blake2b(id.encode(), digest_size=8).digest()) >> (64 - TIE_BITS)
    return (milliseconds << TIE_BITS) + tie
