"""Which rows a measure counts, what a change is, and the one order of events over sessions.

A fork's copies did not happen again, an undone turn was put back, and a `!` command is the user's:
none of them counts unless `include` names it.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Extra = Literal["fork_copies", "undone", "user"]
EXTRAS: tuple[Extra, ...] = ("fork_copies", "undone", "user")
SMALL, LARGEST = 2**31, 2**62
MUTATIONS = ("write", "edit", "delete", "move")
SHELL_MADE = ("snapshot", "patch_part", "shell")  # evidence of what commands changed
FAILED = ("error", "denied", "aborted")


def counted(
    rows: pd.DataFrame,
    include: Extra | Collection[Extra] = (),
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The rows a measure counts: without fork copies, undone turns and the user's own calls.

    `include` names those that count after all: "fork_copies", "undone", "user", one or several.
    `columns` takes these alone: texts make copying a million rows slow.

    Raises:
        ValueError: `include` names something else.
    """
    keep = is_counted(rows, include)
    return (rows if columns is None else rows[list(columns)])[keep]


def is_counted(rows: pd.DataFrame, include: Extra | Collection[Extra] = ()) -> Flags:
    """Whether each row is one that `counted` keeps."""
    wanted = {include} if isinstance(include, str) else set(include)
    if unknown := wanted - set(EXTRAS):
        known = ", ".join(map(repr, EXTRAS))
        raise ValueError(f"include={sorted(unknown)} is unknown. Choose from {known}.")
    keep = np.ones(len(rows), dtype=bool)
    if "fork_copies" not in wanted:
        keep &= ~rows["is_fork_copy"].to_numpy(bool)
    if "undone" not in wanted:
        keep &= ~rows["is_undone"].to_numpy(bool)
    if "user" not in wanted and "actor" in rows:  # a message has a role instead
        keep &= rows["actor"].ne("user").to_numpy(bool)
    return keep


def columns_of(by: str | Sequence[str] | None, known: Collection[str], least: int = 1) -> list[str]:
    """The columns to group by, each once: one or several of those there are.

    Raises:
        ValueError: one of them is not there, or they are fewer than `least`.
    """
    named: list[Any] = [by] if isinstance(by, str) or not isinstance(by, Iterable) else list(by)
    named = [] if by is None else named
    there_are = f"There are: {', '.join(known)}."
    if missing := [name for name in named if name not in [*known]]:
        raise ValueError(f"There is no {missing[0]!r} to group by. {there_are}")
    if len(named) < least:
        raise ValueError(f"by={by!r} names no column to group by. {there_are}")
    return list(dict.fromkeys(named))


def check_known(name: str, value: object, known: Collection[str]) -> None:
    """Refuses what is none of those that an argument of this name can be.

    Raises:
        ValueError: it is something else; the message says what there is.
    """
    if value not in [*known]:
        choices = ", ".join(map(repr, known))
        raise ValueError(f"{name}={value!r} is unknown. Choose from {choices}.")


def mutations(events: pd.DataFrame) -> pd.DataFrame:
    """The completed writes, edits, deletes and moves among these events."""
    return events[is_mutation(events)]


def is_mutation(events: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each event is a completed write, edit, delete or move."""
    return events["status"].eq("completed") & events["event_type"].isin(MUTATIONS)


def places_in_order(events: pd.DataFrame) -> Numbers:
    """The row numbers of events in the order they happened, over sessions.

    By time, but never against a session's own `seq`: calls of one step may start out of order.
    """
    session, seq = codes(events["session_id"]), events["seq"].to_numpy("int64", na_value=-1)
    return np.lexsort((seq, session, clock(events))).astype("int64")


def clock(events: pd.DataFrame) -> Numbers:
    """When each event happened, in microseconds, and never before what its session did earlier."""
    session, seq = codes(events["session_id"]), events["seq"].to_numpy("int64", na_value=-1)
    own = np.lexsort((seq, session))
    # NaT is the smallest integer, so a row without a time takes the one before it.
    started = events["time"].to_numpy("datetime64[us]").astype("int64")
    latest = np.empty_like(started)
    latest[own] = pd.Series(started[own]).groupby(session[own]).cummax().to_numpy()
    return latest


def grouped(rows: pd.DataFrame, columns: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Which group each row is in, by these columns, and the place of each group's first row.

    Groups are numbered from 0 in the order of the columns' values; NA is a value, the last.
    """
    key, many = np.zeros(len(rows), dtype="int64"), 1
    for column in columns:
        code = codes(rows[column])
        last = int(code.max(initial=-1)) + 1
        if many * (last + 1) > LARGEST:
            key = pd.factorize(key, sort=True)[0]
            many = len(key)
        key, many = key * (last + 1) + np.where(code < 0, last, code), many * (last + 1)
    key = pd.factorize(key, sort=True)[0]
    first = np.empty(int(key.max(initial=-1)) + 1, dtype="int64")
    first[key[::-1]] = np.arange(len(key))[::-1]
    return key.astype("int64"), first


def codes(values: "pd.Series[Any]") -> Numbers:
    """The values as small numbers in the order of their categories; -1 where there is none."""
    if pd.api.types.is_integer_dtype(values.dtype):
        least, most = values.min(), values.max()
        if pd.isna(least) or int(most) - int(least) < SMALL:  # as good as codes
            base = 0 if pd.isna(least) else int(least)
            return values.to_numpy("int64", na_value=base - 1) - base
        return pd.factorize(values, sort=True)[0].astype("int64")
    return values.astype("category").cat.codes.to_numpy().astype("int64")


def numbered(values: "pd.Series[Any]", names: "pd.Index[Any]") -> Numbers:
    """Where each value is among the names, -1 where it is not."""
    values = values.astype("category")
    places = names.get_indexer(values.cat.categories)
    return np.append(places, -1)[values.cat.codes].astype("int64")


def places_of(values: "pd.Series[Any]", ids: "pd.Series[Any]") -> Numbers:
    """Where each value is among these ids, -1 where it is not; texts by the million."""
    code = pd.factorize(pd.concat([ids, values], ignore_index=True))[0]
    places = np.full(int(code.max(initial=-1)) + 2, -1, dtype="int64")
    places[code[: len(ids)]] = np.arange(len(ids))
    places[-1] = -1  # the code of NA
    return places[code[len(ids) :]]


def distinct(numbers: Numbers) -> Numbers:
    """The different numbers, in order."""
    # Asked for counts as well it sorts; else it hashes, which takes up to 100 times as long.
    return np.unique(numbers, return_counts=True)[0]


def expanded(first: Numbers, last: Numbers) -> tuple[Numbers, Numbers]:
    """Every number from each first up to its last, that one left out, beside whose it is."""
    many = np.maximum(last - first, 0)
    whose = np.repeat(np.arange(len(first)), many)
    return whose, first[whose] + np.arange(len(whose)) - (np.cumsum(many) - many)[whose]
