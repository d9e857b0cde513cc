"""What a store has of a session besides what opencode has of it now: kept in its place, or dropped.

opencode deletes messages when a reverted turn is replaced: what they did was undone. They are kept
and marked, between those that were there before and after them, as is what an application stored
and opencode has not. What was spent on them was spent, and stays in the sums.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from .matching import APPLICATION, IN_SESSION, TRUST
from .models import Row, now
from .rows import SessionRows
from .store import Delete, Put, Step, Store, TableName
from .store.values import as_stored

Deleted = Literal["keep", "drop"]
BATCH = 500  # ids in one statement
NEVER = datetime.min.replace(tzinfo=UTC)
# What of a row that is there may change, and what else has to be said to change it.
CHANGING: dict[TableName, tuple[str, ...]] = {
    "messages": ("seq", "turn", "is_undone", "deleted_at"),
    "tool_calls": ("seq", "turn", "is_undone"),
    "file_events": ("seq", "turn", "is_undone"),
}
KEYS: dict[TableName, tuple[str, ...]] = {
    "messages": ("id", "session_id", "opencode_id"),
    "tool_calls": ("id", "session_id", "message_id", "tool"),
    "file_events": ("id", "session_id", "message_id", "event_type"),
}


def besides(rows: SessionRows, stored: SessionRows) -> SessionRows:
    """What is stored of a session and is none of these rows."""
    others: SessionRows = {}
    for name in IN_SESSION:
        here = {row["id"] for row in rows[name]}
        others[name] = [row for row in stored[name] if row["id"] not in here]
    return others


def farewell(
    rows: SessionRows, others: SessionRows, deleted: Deleted | None
) -> tuple[list[Step], int]:
    """Steps that drop or mark what opencode has deleted, and put what stays where it belongs.

    `seq` and `turn` are counted anew, over the rows and all that stays. `deleted` is None where it
    is not known that opencode deleted anything. Also tells how many messages were not marked yet.
    """
    gone: dict[TableName, set[str]] = {
        name: {row["id"] for row in others[name] if deleted and row["source"] not in APPLICATION}
        for name in IN_SESSION
    }
    dropped: dict[TableName, set[str]] = {"file_events": _outdated(rows, others, gone)}
    if deleted == "drop":
        dropped = gone
    kept: SessionRows = {}
    for name in IN_SESSION:
        kept[name] = [dict(row) for row in others[name] if row["id"] not in dropped.get(name, ())]
        for row in kept[name]:
            if row["id"] in gone[name]:
                row["is_undone"] = True
                if name == "messages":
                    row["deleted_at"] = row["deleted_at"] or now()
    if any(kept.values()):
        _count_anew(rows, kept)
    steps: list[Step] = [Delete(name, sorted(ids)) for name, ids in dropped.items() if ids]
    for name in IN_SESSION:
        before = {row["id"]: row for row in others[name]}
        changed = [
            {column: row[column] for column in KEYS[name] + CHANGING[name]}
            for row in kept[name]
            if any(row[column] != before[row["id"]][column] for column in CHANGING[name])
        ]
        if changed:
            steps.append(Put(name, changed))
    unmarked = [row for row in others["messages"] if not row["deleted_at"]]
    return steps, sum(row["id"] in gone["messages"] for row in unmarked)


async def bury(store: Store, places: set[str], there: set[str], deleted: Deleted) -> list[str]:
    """Drops or marks the sessions that were imported from these places and are not there now.

    One that an application stored is the application's to drop. Returns what to say of it.
    """
    columns = ["id", "opencode_id", "source", "imported", "deleted_at"]
    stored = await store.select("sessions", columns)

    def missing() -> tuple[list[Row], list[str]]:
        here = {as_stored(id) for id in there}
        marked, dropped = [], []
        for id, opencode_id, source, imported, deleted_at in stored:
            if opencode_id in here or not imported or imported["place"] not in places:
                continue
            if deleted == "drop" and source not in APPLICATION:
                dropped.append(id)
            elif not deleted_at:
                marked.append({"id": id, "opencode_id": opencode_id, "deleted_at": now()})
        return marked, dropped

    marked, dropped = await asyncio.to_thread(missing)
    for start in range(0, len(marked), BATCH):
        await store.apply([Put("sessions", marked[start : start + BATCH])])
    for start in range(0, len(dropped), BATCH):
        await store.apply([Delete("sessions", dropped[start : start + BATCH])])
    counts: list[tuple[int, Deleted]] = [(len(marked), "keep"), (len(dropped), "drop")]
    return [gone_note(count, "sessions", done) for count, done in counts if count]


def gone_note(count: int, what: str, deleted: Deleted) -> str:
    """What to say of so many that opencode has no more."""
    done = "dropped" if deleted == "drop" else "kept, and marked"
    return f"{count} {what} are gone from opencode: {done}"


def _outdated(rows: SessionRows, others: SessionRows, gone: dict[TableName, set[str]]) -> set[str]:
    """Events of calls that are still there: they were our reading then, and are not now.

    So are those that were read from what tells less.
    """
    trust = TRUST.get(rows["sessions"][0]["source"], 0)
    messages = {row["id"] for row in rows["messages"]}
    calls = {None, *(row["id"] for row in rows["tool_calls"])}
    return {
        row["id"]
        for row in others["file_events"]
        if (
            row["id"] in gone["file_events"]
            or (row["source"] not in APPLICATION and TRUST.get(row["source"], 0) < trust)
        )
        and row["message_id"] in messages
        and row["tool_call_id"] in calls
    }


def _count_anew(rows: SessionRows, kept: SessionRows) -> None:
    """Numbers a session's rows over all that is and was there, the kept ones by their time."""
    turn, turns, places = 0, dict[str, int](), dict[str, int]()
    for seq, message in enumerate(_merged(rows["messages"], kept["messages"])):
        turn = turn + 1 if message["role"] == "user" else max(turn, 1)
        message |= {"seq": seq, "turn": turn}
        turns[message["id"]], places[message["id"]] = turn, seq
    last = len(places)
    for name in IN_SESSION[1:]:
        listed = [(False, row) for row in rows[name]] + [(True, row) for row in kept[name]]
        listed.sort(key=lambda one: (places.get(one[1]["message_id"], last), one[0], _seq(one[1])))
        for seq, (_is_kept, row) in enumerate(listed):
            row |= {"seq": seq, "turn": turns.get(row["message_id"], row["turn"])}


def _merged(new: list[Row], kept: list[Row]) -> Iterator[Row]:
    """The messages in the order they have, each kept one before the first that is later."""
    left = sorted(kept, key=_when, reverse=True)
    for row in new:
        while left and _when(left[-1]) < _when(row):
            yield left.pop()
        yield row
    yield from reversed(left)


def _when(row: Row) -> tuple[datetime, str]:
    return row["created_at"] or NEVER, row["id"]


def _seq(row: Row) -> int:
    return -1 if row["seq"] is None else int(row["seq"])
