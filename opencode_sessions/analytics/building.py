"""From stored columns to a frame: what belongs to a session as a whole is joined here.

Its project, its parents, the agent that a message does not name, the paths seen from the worktree.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..store import MONEY, TOTALS, TableName, Totals
from .arrow import TYPES, Coded, Masked, Numbers, coded, filled, looked_up, places, stored_array
from .columns import COLUMNS
from .framing import MANY, to_frame
from .paths import posix_path, project_of

# What the rows of the other frames are told of their session, and of their message.
OF_SESSION = ("opencode_session_id", "root_session_id", "parent_session_id", "project")
OF_MESSAGE = ("agent_name", "provider", "model")
LATEST = datetime.max.replace(tzinfo=UTC)
SLICES = 256  # of a table; above this it is faster to copy the rows
NO_SEQ = 2**31  # after every seq

# What is read of a session to tell of it in the other frames.
TOLD = ("id", "opencode_id", "parent_id", "workdir", "worktree", "agent_name", "created_at")

Place = tuple[str | None, str | None]  # a session's workdir and worktree
Columns = dict[str, Any]  # by name, Arrow arrays, `Coded`, `Masked`, or arrays of objects
StoredRow = dict[str, Any]


class Sessions(NamedTuple):
    """Sessions by row id, oldest first, with all that is told of them in other frames."""

    rows: dict[str, StoredRow]
    wanted: Collection[str]


def sessions_of(rows: Iterable[StoredRow], wanted: Collection[str] | None) -> Sessions:
    """Rows of sessions with their project and family; of more than those wanted, for the family."""

    def age(row: StoredRow) -> tuple[Any, ...]:
        return row["created_at"] or LATEST, row["id"]

    by_id = {row["id"]: row for row in sorted(rows, key=age)}
    family = _family(by_id)
    for id, row in by_id.items():
        row["session_id"], row["opencode_session_id"] = id, row["opencode_id"]
        row["project"] = project_of(row["workdir"], row["worktree"])
        row["parent_session_id"], row["root_session_id"] = family[id]
    return Sessions(by_id, by_id if wanted is None else wanted)


def session_frame(sessions: Sessions, totals: Mapping[str, Totals]) -> pd.DataFrame:
    """The frame of sessions, with what was counted and summed over the other tables."""
    nothing: Totals = tuple(None if name in MONEY else 0 for name in TOTALS)
    rows = []
    for id, row in sessions.rows.items():
        if id in sessions.wanted:
            held = zip(TOTALS, totals.get(id, nothing), strict=True)
            rows.append(row | dict(held))
    found = {
        column.name: stored_array(
            column.name, [row[column.name] for row in rows], TYPES[column.dtype]
        )
        for column in COLUMNS["sessions"]
    }
    return to_frame(COLUMNS["sessions"], found, len(rows), None)


def build(
    name: TableName,
    stored: Any,
    sessions: Sessions,
    agents: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """The frame of a table but that of the sessions, session by session in the order of `seq`.

    Args:
        name: the table.
        stored: its columns, as they are stored: a mapping or a table.
        sessions: those of its rows.
        agents: `id`, `agent_name`, `provider` and `model` of the messages of its rows, where its
            own columns do not say the last three.
    """
    order = row_order(ranked(stored["session_id"], sessions), stored)
    # Few rows are put in order at once, many column by column as those are made.
    if order is not None and not isinstance(stored, Mapping):
        if len(order) < MANY:
            stored, order = stored.take(pa.array(order)), None
        elif len(_runs(order)) <= SLICES:
            stored, order = taken(stored, order), None
    at, ids = coded(stored["session_id"])
    rows: list[StoredRow] = [sessions.rows.get(id, {}) for id in ids if id is not None]
    has = {*stored} if isinstance(stored, Mapping) else {*stored.column_names}
    found: Columns = {
        column.name: stored[column.stored] for column in COLUMNS[name] if column.stored in has
    }
    for column in OF_SESSION:
        found[column] = looked_up([row.get(column) for row in rows], at)
    if name == "messages":
        took = pc.subtract(stored["completed_at"], stored["created_at"])
        found["duration_s"] = pc.divide(took.cast("int64").cast("float64", safe=False), 1e6)
    if agents is None:
        found |= {column: coded(stored[column]) for column in OF_MESSAGE}
    else:
        message = places(stored["message_id"], agents["id"])
        for column in OF_MESSAGE:
            codes, values = coded(agents[column])
            found[column] = Coded(np.append(codes, np.int32(-1))[message], values)
    own = looked_up([row.get("agent_name") for row in rows], at)
    found["agent_name"] = filled(found["agent_name"], own)
    if name == "file_events":
        of_session = [(row.get("workdir"), row.get("worktree")) for row in rows]
        for column in ("file_path", "new_file_path"):
            found[column] = partial(shown_paths, stored[column], at, of_session)
    del stored  # so that nothing keeps a column of which that of the frame is made
    return to_frame(COLUMNS[name], found, len(at), order)


def ranked(session_ids: Any, sessions: Sessions) -> Numbers:
    """The place of each row's session among all."""
    at, ids = coded(session_ids)
    rank = {id: place for place, id in enumerate(sessions.rows)}
    ranks = np.array([*(rank.get(id or "", len(rank)) for id in ids), len(rank)], dtype=np.int64)
    return ranks[at]


def row_order(ranks: Numbers, stored: Any) -> Numbers | None:
    """The rows by rank, seq, time and id; None if they are in this order."""
    seq = stored["seq"]
    if isinstance(seq, Masked):
        seq = np.where(seq.is_none, NO_SEQ, seq.values)
    elif seq.null_count:
        seq = pc.fill_null(seq.cast("int64"), NO_SEQ)
    key = ranks * (2 * NO_SEQ) + np.asarray(seq)
    steps = np.diff(key)
    if (steps > 0).all():
        return None
    order = np.argsort(key, kind="stable")
    if (np.diff(key[order]) > 0).all():
        return order
    keys = {"key": pa.chunked_array([key]), "time": stored["created_at"], "id": stored["id"]}
    sorted_by = [(name, "ascending") for name in keys]
    found = pc.sort_indices(pa.table(keys), sort_keys=sorted_by)  # nulls at the end
    return found.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def ordered(columns: Columns, rows: Numbers) -> Any:
    """Columns as a table with these rows in this order; each is let go where it has been copied."""
    if len(_runs(rows)) <= SLICES:
        return taken(pa.table(columns), rows)
    indices = pa.array(rows)
    return pa.table({name: columns.pop(name).take(indices) for name in list(columns)})


def taken(table: Any, rows: Numbers) -> Any:
    """These rows in this order: as slices of the table, without a copy, where these are few."""
    starts = _runs(rows)
    if len(starts) > SLICES:
        return table.take(pa.array(rows))
    lengths = np.diff(starts, append=len(rows))
    slices = map(table.slice, rows[starts].tolist(), lengths.tolist())
    return pa.concat_tables([table.slice(0, 0), *slices])


def _runs(rows: Numbers) -> Numbers:
    """Where rows begin that lie one behind the other."""
    return np.flatnonzero(np.diff(rows, prepend=-2) != 1)


def shown_paths(stored: Any, at: Numbers, of_session: Sequence[Place]) -> Coded:
    """Paths as the frames show them; each different one of a place is worked out once.

    Args:
        stored: as they are stored.
        at: each row's session.
        of_session: each session's place.
    """
    paths = coded(stored)
    count = len(paths.values)
    if not count:
        return paths
    different = list(dict.fromkeys(of_session))
    if len(different) == 1:
        return looked_up(
            [posix_path(str(path), *different[0]) for path in paths.values], paths.codes
        )
    number = {place: i for i, place in enumerate(different)}
    place_at = np.array([number[place] for place in of_session] or [0], dtype=np.int64)
    pairs = np.where(paths.codes < 0, -1, place_at[at] * count + paths.codes)
    codes, seen = pd.factorize(pairs)
    shown = [
        None if pair < 0 else posix_path(str(paths.values[pair % count]), *different[pair // count])
        for pair in seen.tolist()
    ]
    return looked_up(shown, codes)


def _family(rows: Mapping[str, StoredRow]) -> dict[str, tuple[str | None, str]]:
    """Each session's parent and topmost ancestor; a circle ends where it closes.

    By row id; by opencode's where the parent is not stored.
    """
    ids = {row["opencode_id"]: id for id, row in rows.items()}
    parents = {
        id: (ids.get(parent, parent) if (parent := row["parent_id"]) else None)
        for id, row in rows.items()
    }
    family = {}
    for id, parent in parents.items():
        root, seen = id, {id}
        while (above := parents.get(root)) is not None and above not in seen:
            root = above
            seen.add(root)
        family[id] = parent, root
    return family
