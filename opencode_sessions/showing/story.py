"""What one session did, or two side by side: its file events by file."""

import difflib

import numpy as np
import pandas as pd

from ..analytics import file_timeline
from ..analytics.columns import COLUMNS
from ..analytics.counting import EXTRAS, FAILED, MUTATIONS, Numbers, is_mutation
from ..errors import OpencodeSessionsError
from .svg import MARK, marked

SHELL = ""  # as a file's name: the commands, which have none
ADDED = ["file_id", "last_path", "version"]  # by `file_timeline`
OF_FILES = [  # what it needs
    *("session_id", "project", "seq", "time", "actor", "event_type", "status"),
    *("file_path", "new_file_path", "is_fork_copy", "is_undone"),
]


class Story:
    """File events by file, fork copies and undone turns included.

    `events` are all file events, in order; `names` the file each of them is about: its last name,
    or SHELL, which is the first of the categories. `files` has a row a name, the commands first,
    then the busiest: `events`, `failed`, a column for each mark in `svg.MARK`, and `former`: its
    other names, joined by ", ".
    """

    def __init__(self, events: pd.DataFrame) -> None:
        self.events = events
        placed = events[OF_FILES].assign(place=np.arange(len(events)))  # all columns take a while
        self._histories = file_timeline(placed, include=EXTRAS)
        last = self._histories["last_path"].cat
        name = np.zeros(len(events), "int64")
        name[self._histories["place"]] = last.codes + 1
        names = pd.CategoricalDtype(pd.Index([SHELL, *last.categories], dtype="str"))
        self.names = pd.Series(pd.Categorical.from_codes(name, dtype=names), events.index)
        self.files = self._counted(name)

    def _counted(self, name: Numbers) -> pd.DataFrame:
        names = self.names.cat.categories
        count = np.bincount(name, minlength=len(names))
        failed = name[self.events["status"].isin(FAILED).to_numpy(bool)]
        kind = pd.Categorical(marked(self.events["event_type"]), [*MARK]).codes
        shape = len(names), len(MARK)
        kinds = np.bincount(name * len(MARK) + kind, minlength=len(names) * len(MARK))
        columns = {"events": count, "failed": np.bincount(failed, minlength=len(names))}
        columns |= dict(zip(MARK, kinds.reshape(shape).T, strict=True))
        busiest = np.append(0, 1 + np.argsort(-count[1:], kind="stable"))
        files: pd.DataFrame = pd.DataFrame(columns, names).iloc[busiest[count[busiest] > 0]]
        files["former"] = _former_names(self._histories).reindex(files.index, fill_value="")
        return files

    def of(self, file: str) -> pd.DataFrame:
        """The file's events in order, under all its names, with the columns of `file_timeline`.

        Raises:
            OpencodeSessionsError: there are none; the message names files that have some.
        """
        histories = self._histories
        if file == SHELL:
            rows = np.flatnonzero(self.names == SHELL)
            added = histories[ADDED].reindex(np.full(len(rows), -1))  # none has them
        else:
            names = ("file_path", "new_file_path", "last_path")
            is_named = np.logical_or.reduce([histories[name] == file for name in names])
            ids = histories.loc[is_named, "file_id"]
            its = histories[histories["file_id"].isin(ids)]
            rows, added = its["place"].to_numpy(), its[ADDED]
        events = self.events.iloc[rows].reset_index(drop=True)
        events = events.assign(**{name: added[name].array for name in ADDED})
        if events.empty:
            known = [name for name in self.files.index if name != SHELL]
            near = difflib.get_close_matches(file, known, cutoff=0.4) or known[:3]
            raise OpencodeSessionsError(
                f"This session has no events of {file!r}. Try {', '.join(map(repr, near))}."
            )
        return events

    def file_of(self, event: str) -> str:
        """The name of the file this event is about.

        Raises:
            OpencodeSessionsError: the session has no such event.
        """
        found = self.names[self.events["event_id"] == event]
        if found.empty:
            raise OpencodeSessionsError(
                f"This session has no event {event!r}. See `explorer.events.event_id`."
            )
        return str(found.iloc[0])


def no_events() -> pd.DataFrame:
    """A frame with the columns of `Story.of` and no rows."""
    return pd.DataFrame(columns=[*(column.name for column in COLUMNS["file_events"]), *ADDED])


def newest_change(events: pd.DataFrame) -> str:
    """The event_id of the last of these events that changed its file, else of the last."""
    ids = events["event_id"]
    changed = ids[is_mutation(events)]
    return str((ids if changed.empty else changed).iloc[-1])


def steps(events: pd.DataFrame, file: str) -> pd.Index:
    """The places of what one steps through: a file's changes, those tried in vain too; commands."""
    if file == SHELL:
        return pd.RangeIndex(len(events))
    return events.index[events["event_type"].isin(MUTATIONS)]


def reach(events: pd.DataFrame, wanted: pd.Series, *, by_session: bool) -> list[int] | None:
    """The first and the last place of the wanted event_ids, in each session by itself or in all."""
    group = events["session_id"] if by_session else np.zeros(len(events))
    places = events.groupby(group, observed=True).cumcount()
    found = places[events["event_id"].isin(wanted)]
    return None if found.empty else [int(found.min()), int(found.max())]


def _former_names(histories: pd.DataFrame) -> pd.Series:
    """The other names of each file that had some, by its last one."""
    moved = histories.loc[histories["new_file_path"].notna(), "file_id"]
    if moved.empty:  # as of most sessions; the rest takes as long for none
        return pd.Series(dtype="str")
    pairs = histories[["last_path", "file_path"]][histories["file_id"].isin(moved)]
    pairs = pairs.astype("str").drop_duplicates()
    pairs = pairs[pairs["last_path"] != pairs["file_path"]]
    return pairs.groupby("last_path")["file_path"].agg(", ".join)
