"""What commands changed, where it was known better before than it is now.

opencode prunes its snapshots after a week, an export has none, and what its patch parts or the text
of a command tell instead is less: it names no move, counts no lines and may name another file. So
what a call or step changed is taken as a whole from the reading that knew it best.
"""

from collections import defaultdict

from .models import Row
from .rows import SessionRows

BY_TREES = 3
RANKS = {"snapshot": BY_TREES, "patch_part": 2, "shell": 1}
# What a reading tells of all in a message or call, whoever knows the changes best.
OF_ITS_PLACE = ("turn", "is_undone", "is_fork_copy")
Group = tuple[str | None, str]


def keep_better_known(rows: SessionRows, stored: SessionRows, *, has_trees: bool) -> None:
    """Puts stored changes in the place of those in `rows` that are less well known.

    Args:
        rows: what was read, under the ids it has in the store; changed in place.
        stored: what the store has of it.
        has_trees: snapshots were there, so that what they do not show did not happen.
    """
    before, now = _groups(stored["file_events"]), _groups(rows["file_events"])
    better = {
        group: listed
        for group, listed in before.items()
        if _rank(listed) > _rank(now.get(group, []))
        and (group in now or (_rank(listed) == BY_TREES and not has_trees))
    }
    places = {row["id"]: row for name in ("messages", "tool_calls") for row in rows[name]}
    better = {group: listed for group, listed in better.items() if _place(listed[0]) in places}
    if not better:
        return
    less = {row["id"] for group in better for row in now.get(group, [])}
    events = sorted(
        (row for row in rows["file_events"] if row["id"] not in less), key=lambda row: row["seq"]
    )
    last: dict[str | None, int] = {}  # where the events of a message, and of a call, end
    for number, row in enumerate(events):
        last[row["message_id"]] = last[row["tool_call_id"]] = number
    after: dict[int, list[Row]] = defaultdict(list)
    for listed in better.values():
        at = last.get(_place(listed[0]), last.get(listed[0]["message_id"], len(events) - 1))
        place = places[_place(listed[0])]
        told = {name: place[name] for name in OF_ITS_PLACE if name in place}
        after[at] += [row | told for row in sorted(listed, key=lambda row: row["seq"] or 0)]
    merged = [*after[-1]]
    for number, row in enumerate(events):
        merged += [row, *after[number]]
    rows["file_events"] = [row | {"seq": seq} for seq, row in enumerate(merged)]


def _groups(events: list[Row]) -> dict[Group, list[Row]]:
    """The changes of each call, and of each step that no single call of it explains."""
    found: dict[Group, list[Row]] = defaultdict(list)
    for row in events:
        if row["evidence"] in RANKS:
            of = row["tool_call_id"] or row["id"].rpartition(".")[0]
            found[row["message_id"], of].append(row)
    return found


def _rank(events: list[Row]) -> int:
    return max((RANKS[row["evidence"]] for row in events), default=0)


def _place(event: Row) -> str | None:
    place: str | None = event["tool_call_id"] or event["message_id"]
    return place
