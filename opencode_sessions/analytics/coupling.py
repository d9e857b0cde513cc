"""What changes together: files in one turn, and what a reader of one file goes on to edit."""

from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd

from .counting import (
    Extra,
    Numbers,
    check_known,
    counted,
    distinct,
    expanded,
    grouped,
    is_mutation,
    mutations,
)
from .files import KEY, file_timeline
from .results import gives, share, tidy

ONE_OF_MANY = [*KEY, "session_id", "turn", "seq", "time", "actor"]
Transaction = Literal["turn", "session"]
TRANSACTIONS = {"turn": ["session_id", "turn"], "session": ["session_id"]}


@gives(
    project="category",
    file_path="category",
    coupled_path="category",
    shared="Int64",
    revisions="Int64",
    coupled_revisions="Int64",
    degree="Int64",
)
def coupling(
    events: pd.DataFrame,
    by: Transaction = "turn",
    *,
    min_revs: float = 5,
    min_shared: int = 5,
    min_coupling: float = 30,
    max_changeset: int = 30,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """Which files change together: each pair of a project, the closest first.

    A transaction is a turn, or a session (`by`). degree = 100 * shared / ((revisions +
    coupled_revisions) / 2), cut to a whole percentage. `min_revs` is one for the mean of the two
    files' revisions, and a transaction of more than `max_changeset` files tells nothing of who
    belongs together: it is no revision either. A file that was renamed is one under its last name.
    Fork copies, undone turns and the user's own calls are left out unless `include` names them.
    Source: code-maat's logical coupling (Tornhill), with its thresholds and its rounding.

    Returns:
        project, file_path, coupled_path (category): the pair, in the order of the names;
        shared (Int64): transactions that changed both;
        revisions, coupled_revisions (Int64): transactions that changed the one, and the other;
        degree (Int64, percent): never NA, since a pair has revisions.

    Raises:
        ValueError: `by` is neither.

    >>> coupling(events)[["file_path", "coupled_path", "shared", "degree"]]
                    file_path              coupled_path  shared  degree
    0  trailmap/difficulty.py  trailmap/geo/distance.py       5      90
    1         trailmap/cli.py     trailmap/elevation.py       6      48
    """
    check_known("by", by, TRANSACTIONS)
    changes = file_timeline(mutations(counted(events, include, ONE_OF_MANY)), include=include)
    file, first = grouped(changes, ["project", "last_path"])
    transaction, file = _distinct(grouped(changes, TRANSACTIONS[by])[0], file)
    is_small = np.bincount(transaction)[transaction] <= max_changeset
    transaction, file = transaction[is_small], file[is_small]
    revisions = np.bincount(file, minlength=len(first))
    # Who is in fewer transactions than a pair must share is in no pair.
    is_often = revisions[file] >= min_shared
    one, other, shared = _pairs(transaction[is_often], file[is_often])
    both = revisions[one] + revisions[other]
    keep = (shared >= min_shared) & (both >= 2 * min_revs) & (200 * shared >= min_coupling * both)
    one, other, shared, both = one[keep], other[keep], shared[keep], both[keep]
    names = changes[["project", "last_path"]].iloc[first]
    table = pd.DataFrame(
        {
            "project": names["project"].iloc[one].array,
            "file_path": names["last_path"].iloc[one].array,
            "coupled_path": names["last_path"].iloc[other].array,
            "shared": shared,
            "revisions": revisions[one],
            "coupled_revisions": revisions[other],
            "degree": 200 * shared // both,
        }
    )
    by_degree = table.assign(_both=both).sort_values(
        ["degree", "_both", "project", "file_path", "coupled_path"],
        ascending=[False, False, True, True, True],
    )
    return tidy(by_degree, coupling)


@gives(
    project="category",
    read_path="category",
    edited_path="category",
    turns="Int64",
    turns_read="Int64",
    turns_edited="Int64",
    shared="Int64",
    edited_if_read=share("shared", "turns_read"),
    edited_at_all=share("turns_edited", "turns"),
    lift=share("edited_if_read", "edited_at_all"),
)
def read_edit_lift(
    events: pd.DataFrame,
    *,
    min_read: int = 5,
    min_shared: int = 3,
    max_changeset: int = 30,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """Which files are edited in turns that read another: each pair of a project, strongest first.

    lift = P(edit b in turn | read a in turn) / P(edit b in turn), over the project's turns with a
    completed read or change: 1 says the one tells nothing of the other. A few turns make any lift
    large, so pairs need `min_read` turns that read a, and `min_shared` that also edit b; turns that
    change more than `max_changeset` files are left out altogether. Any completed change is an edit
    here, and a file with itself is no pair. Fork copies, undone turns and the user's own calls are
    left out unless `include` names them. Source: the lift of association rules (Brin et al., SIGMOD
    1997).

    Returns:
        project, read_path, edited_path (category): the pair; a renamed file has its last name;
        turns, turns_read, turns_edited, shared (Int64): turns of the project, those that read a,
            those that edit b, those that do both, in whatever order;
        edited_if_read, edited_at_all (float64): shared / turns_read and turns_edited / turns;
        lift (float64): the one by the other; never NA, since pairs share turns.

    >>> lift = read_edit_lift(events, min_read=8, min_shared=5)
    >>> lift[["read_path", "edited_path", "turns_read", "shared", "lift"]].head(3).round(2)
                          read_path      edited_path  turns_read  shared  lift
    0  trailmap/store/json_store.py  trailmap/cli.py          10       5  1.47
    1         trailmap/elevation.py  trailmap/cli.py          14       5  1.05
    """
    rows = file_timeline(counted(events, include, ONE_OF_MANY), include=include)
    rows = rows[rows["status"].eq("completed")]
    is_change = is_mutation(rows).to_numpy(bool)
    file, first = grouped(rows, ["project", "last_path"])
    turn, first_of_turn = grouped(rows, ["session_id", "turn"])
    edits, edited = _distinct(turn[is_change], file[is_change])
    is_small = np.bincount(edits, minlength=len(first_of_turn)) <= max_changeset
    reads, read = _distinct(turn[~is_change], file[~is_change])
    (edits, edited), (reads, read) = (
        (turns[is_small[turns]], files[is_small[turns]])
        for turns, files in ((edits, edited), (reads, read))
    )
    turns_edited, turns_read = (np.bincount(of, minlength=len(first)) for of in (edited, read))
    # What is too rare for a pair is in none.
    is_often = turns_read[read] >= max(min_read, min_shared)
    reads, read = reads[is_often], read[is_often]
    is_often = turns_edited[edited] >= min_shared
    edits, edited = edits[is_often], edited[is_often]
    which, place = expanded(*(np.searchsorted(reads, edits, side) for side in ("left", "right")))
    pairs, shared = np.unique(read[place] * len(first) + edited[which], return_counts=True)
    a, b = pairs // max(len(first), 1), pairs % max(len(first), 1)
    keep = (shared >= min_shared) & (a != b)
    a, b, shared = a[keep], b[keep], shared[keep]
    project, first_of_project = grouped(rows, ["project"])
    turns = np.bincount(project[first_of_turn][is_small], minlength=len(first_of_project))
    table = pd.DataFrame(
        {
            "project": rows["project"].iloc[first[a]].array,
            "read_path": rows["last_path"].iloc[first[a]].array,
            "edited_path": rows["last_path"].iloc[first[b]].array,
            "turns": turns[project[first[a]]],
            "turns_read": turns_read[a],
            "turns_edited": turns_edited[b],
            "shared": shared,
        }
    )
    table["edited_if_read"] = table["shared"] / table["turns_read"]
    table["edited_at_all"] = table["turns_edited"] / table["turns"]
    table["lift"] = table["edited_if_read"] / table["edited_at_all"]
    strongest = table.sort_values(
        ["lift", "shared", "project", "read_path", "edited_path"],
        ascending=[False, False, True, True, True],
    )
    return tidy(strongest, read_edit_lift)


def _distinct(transaction: Numbers, file: Numbers) -> tuple[Numbers, Numbers]:
    """Each file once a transaction, transaction after transaction, the files in order."""
    files = int(file.max(initial=0)) + 1
    both = distinct(transaction * files + file)
    return both // files, both % files


def _pairs(transaction: Numbers, file: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The pairs of files that share transactions, the smaller first, and how many they share.

    Takes what `_distinct` gives.
    """
    files, found = int(file.max(initial=0)) + 1, []
    # Each file with the next of its transaction, then the next but one, until none has any.
    for step in range(1, len(file)):
        is_pair = transaction[step:] == transaction[:-step]
        if not is_pair.any():
            break
        found.append(file[:-step][is_pair] * files + file[step:][is_pair])
    both = np.concatenate(found) if found else np.empty(0, dtype="int64")
    pairs, shared = np.unique(both, return_counts=True)
    return pairs // files, pairs % files, shared.astype("int64")
