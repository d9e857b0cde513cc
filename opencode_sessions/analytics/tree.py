"""Who called whom: sessions and their subagents as a tree, with what each branch came to."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from .costs import session_costs
from .counting import Extra, Numbers, counted, is_mutation
from .files import distinct, last_names
from .frames import Frames
from .lineage import WHO, ancestry, of_sessions, oldest_first, parents, session_of
from .results import AMOUNT, gives, tidy
from .sessions import CHANGE


@gives(
    session_id="category",
    opencode_session_id="category",
    parent_session_id="category",
    root_session_id="category",
    project="category",
    title="str",
    agent_name="category",
    depth="Int64",
    children="Int64",
    descendants="Int64",
    own_cost_usd=AMOUNT,
    inclusive_cost_usd="float64",
    own_files="Int64",
    inclusive_files="Int64",
)
def session_tree(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """Each session with the subagents it called below it: one row a session, in the tree's order.

    The oldest root comes first, and after each session its children, the oldest first. Fork copies,
    undone turns and the user's own calls are left out of the files unless `include` names them;
    costs are those of `session_costs`. Source: opencode's `parentID`.

    Returns:
        session_id, opencode_session_id, parent_session_id, root_session_id, project, title,
            agent_name: as in `frames.sessions`;
        depth (Int64): sessions above it, 0 for a root, and for one whose parent is not there;
        children, descendants (Int64): sessions it called, and all below it;
        own_cost_usd, inclusive_cost_usd (float64, US dollars): its own, and with all below it; NA
            where none is known;
        own_files, inclusive_files (Int64): different files with a completed change, its own, and
            with all below it: a file that two of them changed is one, and so is one they moved.

    >>> tree = session_tree(frames)[["title", "depth", "descendants", "inclusive_files"]]
    >>> tree[tree["title"].str.startswith("Review")]
                                      title  depth  descendants  inclusive_files
    12            Review before the release      0            4                4
    13  Review geometry (@general subagent)      1            0                0
    14  Review storage (@reviewer subagent)      1            0                0
    15      Review web (@reviewer subagent)      1            0                0
    """
    frames = of_sessions(frames)
    sessions, ids = oldest_first(frames)
    parent = parents(sessions, ids)
    below, above = ancestry(parent)
    costs = session_costs(frames)
    table = sessions[[*WHO, "title", "agent_name"]].copy()
    table[["own_cost_usd", "inclusive_cost_usd"]] = costs[["own_cost_usd", "inclusive_cost_usd"]]
    table["depth"] = np.bincount(below, minlength=len(ids)) - 1
    table["descendants"] = np.bincount(above, minlength=len(ids)) - 1
    table["children"] = np.bincount(parent[parent >= 0], minlength=len(ids))
    events = counted(frames.file_events, include, CHANGE)
    changed = events[is_mutation(events)]
    session = session_of(changed, ids)
    table["own_files"] = _files(changed, session).reindex(table.index, fill_value=0)
    places = pd.DataFrame({"session": session, "place": np.arange(len(changed))})
    places = places.merge(pd.DataFrame({"session": below, "above": above}), on="session")
    within = _files(changed.iloc[places["place"]].reset_index(drop=True), places["above"])
    table["inclusive_files"] = within.reindex(table.index, fill_value=0)
    return tidy(table.iloc[_in_order(parent)], session_tree)


def _files(changed: pd.DataFrame, owner: "pd.Series[int]") -> pd.Series:
    """How many different files these changes of each owner are about (Int64)."""
    return distinct(last_names(changed, owner).to_frame("file"), owner, ["file"])


def _in_order(parent: Numbers) -> list[int]:
    """The sessions in the tree's order, from each one's parent, -1 for none."""
    children: dict[int, list[int]] = {}
    for session, above in enumerate(parent.tolist()):
        children.setdefault(above, []).append(session)
    order: dict[int, None] = {}
    # Parents in a circle hang from no root: they follow at the end.
    for start in [*children.get(-1, []), *range(len(parent))]:
        waiting = [start]
        while waiting:
            session = waiting.pop()
            if session not in order:
                order[session] = None
                waiting += reversed(children.get(session, []))
    return list(order)
