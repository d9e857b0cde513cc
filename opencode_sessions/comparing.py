"""What of a session is to be written: the rows that a store has not, or has otherwise.

Of what an application stored, what it said stays and what it did not say is filled in. What a
source does not tell is no reason to forget what another one told.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from .besides import Deleted, besides, farewell
from .import_report import ORDER
from .known_before import keep_better_known
from .loose import as_dict, as_number
from .matching import APPLICATION, TRUST, take_over_ids
from .models import Row
from .rows import SessionRows
from .sources import WITH_SNAPSHOTS
from .store import Put, Step, TableName

# What no application has said of a session or message: opencode's times, what takes the whole
# session to know, and what is the import's own.
NEVER_SAID = {"created_at", "seq", "turn", "is_fork_copy", "is_undone", "deleted_at", "imported"}

EVENT = ("event_type", "file_path", "new_file_path")

NONE_TAKEN: Mapping[TableName, Collection[str]] = {}


def is_older(session: Row, stored: list[Row]) -> bool:
    """Whether opencode has touched the stored session later than this one: this is a backup."""
    said = [as_dict(as_dict(row["info"]).get("time")).get("updated") for row in (session, *stored)]
    here, *kept = map(as_number, said)
    return here is not None and any(time is not None and time > here for time in kept)


def is_told(rows: SessionRows, stored: SessionRows) -> bool:
    """Whether a file that opencode gave out repeats what its database or its tree told in full.

    They tell more of what commands changed, where opencode kept snapshots.
    """
    (session,) = rows["sessions"]
    if session["imported"]["place"] is not None or not stored["sessions"]:
        return False
    (kept,) = stored["sessions"]
    updated, last = (
        as_number(as_dict(as_dict(row["info"]).get("time")).get("updated"))
        for row in (session, kept)
    )
    return (
        updated is not None
        and updated == last
        and as_dict(kept["imported"]).get("state") is not None
        and kept["deleted_at"] is None
        and not any(map(_is_unfinished, [*stored["messages"], *stored["tool_calls"]]))
        and {row["id"] for row in rows["messages"]} <= {row["id"] for row in stored["messages"]}
    )


class Difference(NamedTuple):
    """What has to be written of a session, and what that is.

    `others` counts the rows of an application beside it, `gone` the messages found deleted.
    """

    steps: list[Step]
    new: Counter[TableName]
    changed: Counter[TableName]
    others: Counter[TableName]
    gone: int


def compare(
    rows: SessionRows,
    stored: SessionRows,
    deleted: Deleted | None = None,
    taken: Mapping[TableName, Collection[str]] = NONE_TAKEN,
    *,
    shell: bool = True,
) -> Difference:
    """The rows that the store has not or has otherwise, and what becomes of what it has besides.

    `deleted` is None where what is missing need not be; `taken` ids are those of other sessions;
    without `shell` nobody asked what commands changed.
    """
    others = take_over_ids(rows, stored, taken)
    if shell:
        state = rows["sessions"][0]["imported"]["state"] or ""
        keep_better_known(rows, stored, has_trees=state.endswith(WITH_SNAPSHOTS))
    aside, gone = farewell(rows, besides(rows, stored), deleted)
    rows["sessions"][0]["imported"]["beside"] = dict(others)
    says_less = _says_less(rows["sessions"][0], stored["sessions"])
    found = Difference([], Counter(), Counter(), others, gone)
    for name in ORDER:
        kept = {row["id"]: row for row in stored[name]}
        written = []
        for row in rows[name]:
            old = kept.get(row["id"])
            if old is None:
                found.new[name] += 1
                written.append(row)
                continue
            new = _merged(name, old, row, says_less)
            differs = {column for column, value in new.items() if old[column] != value}
            if differs:
                found.changed[name] += differs != {"imported"}
                written.append(new)
        if written:
            found.steps.append(Put(name, written))
    found.steps.extend(aside)
    return found


def _says_less(session: Row, stored: list[Row]) -> bool:
    """Whether more is known already: this is sanitized, or says nothing of the session itself.

    The lines of a run do not, nor do a session's messages alone.
    """
    known = [as_dict(row["info"]) for row in stored]
    info = as_dict(session["info"])
    return ("sanitized" in info and any("sanitized" not in one for one in known)) or (
        "time" not in info and any("time" in one for one in known)
    )


def _merged(name: TableName, old: Row, new: Row, says_less: bool) -> Row:
    """The new row; of one that an application stored, what it said stays.

    What it said are the session and its messages. Its calls and file events were read from parts
    that may not tell what became of them: opencode's say that. A source that says less fills in
    only what is open, and one that may not be able to tell unsays nothing.
    """
    if says_less and not _is_unfinished(old):
        return new | {column: old[column] for column in new if old[column] not in (None, "")}
    if old["source"] not in APPLICATION:
        if TRUST.get(new["source"], 0) >= TRUST.get(old["source"], 0):
            return new
        if name == "file_events" and any(old[column] != new[column] for column in EVENT):
            return new  # another event of the same call: nothing of this one is its
        return new | {column: old[column] for column in new if new[column] is None}
    if name in ("sessions", "messages"):
        said = {column for column in new if old[column] not in (None, "")} - NEVER_SAID
    else:
        said = {column for column in new if new[column] is None}
    return new | {column: old[column] for column in said | {"source", "origin"}}


def _is_unfinished(row: Row) -> bool:
    """A call that ran, or an answer that was not complete, when it was stored."""
    return row.get("status") == "pending" or (
        row.get("role") == "assistant" and row["completed_at"] is None
    )
