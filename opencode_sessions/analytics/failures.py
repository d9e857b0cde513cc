"""How often a change does not go through, why, and what it takes until it does."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .counting import FAILED, MUTATIONS, SHELL_MADE, Extra, codes, columns_of, is_counted
from .ratios import ratio, wilson
from .results import COUNT, gives, share, tidy

# What opencode's tools say, over the versions; the first that is found decides.
ERRORS = {
    # 1.0.0 does not tell which of the two it was
    "other": "not found in content or was found multiple times",
    "several_matches": "multiple matches|found multiple times",
    "stale": "modified since it was last read|must read (?:the )?file|has not been read",
    "not_found": "Could not find oldString|oldString not found|Failed to find (?:expected|context)"
    "|Failed to read file to update|[Ff]ile .*not found|File not found|ENOENT|no such file",
}
CLASSES = ("not_found", "several_matches", "stale", "denied", "aborted", "other")


@gives(
    "by",
    attempts=COUNT,
    failures=COUNT,
    failure_rate=share("failures", "attempts"),
    low=share("failures", "attempts", "low"),
    high=share("failures", "attempts", "high"),
    recovered=COUNT,
    recovery_rate=share("recovered", "failures"),
    overcome=COUNT,
    median_attempts_to_success="float64",
    not_found=COUNT,
    several_matches=COUNT,
    stale=COUNT,
    denied=COUNT,
    aborted=COUNT,
    other=COUNT,
)
def edit_failures(
    events: pd.DataFrame,
    by: str | Sequence[str] = "model",
    *,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """How often attempts to change a file fail, why, and whether the next one works.

    An attempt is one path of one call that was to write, edit, delete or move it, and came to an
    end: a patch of three files is three. It fails if it ended in an error, was denied or aborted.
    The next attempt is the session's next on that path, by whatever tool. What commands changed is
    no attempt: of those that changed nothing there is no trace. `by` is one or several columns of
    the events, or "extension", the file name's. Fork copies, undone turns and the user's own calls
    are left out unless `include` names them ("fork_copies", "undone", "user"). Source: this
    package's; the interval is Wilson's.

    Returns, one row a group, sorted by `by`:
        the columns of `by`, as in the events; extension (category): ".py", "" without one;
        attempts, failures (Int64);
        failure_rate (float64): failures / attempts;
        low, high (float64): its 95 % interval (see `ratios.wilson`);
        recovered (Int64): failures whose next attempt completed;
        recovery_rate (float64): recovered / failures; NA at 0/0. What was given up counts as not
            recovered;
        overcome (Int64): rows of failures, of one or more, that ended in an attempt that completed;
        median_attempts_to_success (float64): over these, attempts from the first that failed to
            the one that completed, both counted: 2 if the next one does it; NA without any;
        not_found, several_matches, stale, denied, aborted, other (Int64): the failures by reason:
            the text or file to change is not there, or there more than once; the file was not read
            since it changed, or never; refused by the user or a rule; stopped; anything else.

    Raises:
        ValueError: `by` names no column.

    >>> failures = edit_failures(events)
    >>> columns = ["model", "attempts", "failures", "low", "high", "recovered", "not_found"]
    >>> failures[columns].round(2)
             model  attempts  failures   low  high  recovered  not_found
    0  gpt-5-cedar        36         1  0.00  0.14          1          1
    1   pine-large       225         7  0.02  0.06          3          4
    2    pine-mini       166         2  0.00  0.04          1          1
    """
    columns = columns_of(by, [*events.columns, "extension"])
    kept = is_counted(events, include) & events["file_path"].notna().to_numpy()
    kept &= events["event_type"].isin(MUTATIONS).to_numpy()
    kept &= ~events["evidence"].isin(SHELL_MADE).to_numpy()
    kept &= events["status"].isin(["completed", *FAILED]).to_numpy()
    known = [column for column in columns if column != "extension"]
    wanted = ["session_id", "seq", "file_path", "status", "error", *known]
    rows = events.loc[kept, list(dict.fromkeys(wanted))]
    rows = rows.iloc[_by_path(rows)].reset_index(drop=True)
    if "extension" in columns:
        rows["extension"] = _extensions(rows["file_path"])
    failed = rows["status"].ne("completed").to_numpy()
    last = _is_last(rows)
    worked_next = np.append(~failed[1:], False) & ~last
    begins = failed & np.append(True, ~failed[:-1] | last[:-1])
    took = np.where(begins, _attempts_to_success(failed, last), np.nan)
    cases = rows[columns].assign(
        attempts=1,
        failures=failed,
        recovered=failed & worked_next,
        overcome=~np.isnan(took),
        median_attempts_to_success=took,
    )
    reason = _reasons(rows)
    cases = cases.assign(**{name: reason == name for name in CLASSES})
    sums = ["attempts", "failures", "recovered", "overcome", *CLASSES]
    cases = cases.astype(dict.fromkeys(sums, "Int64"))
    groups = cases.groupby(columns, observed=True, dropna=False)
    table = groups[sums].sum()
    table["median_attempts_to_success"] = groups["median_attempts_to_success"].median()
    table["failure_rate"] = ratio(table["failures"], table["attempts"])
    table["low"], table["high"] = wilson(table["failures"], table["attempts"])
    table["recovery_rate"] = ratio(table["recovered"], table["failures"])
    return tidy(table.reset_index(), edit_failures, columns)


def _by_path(rows: pd.DataFrame) -> Any:
    """The row numbers, session by session and path by path, in order."""
    seq = rows["seq"].to_numpy("int64", na_value=-1)
    return np.lexsort((seq, codes(rows["file_path"]), codes(rows["session_id"])))


def _is_last(rows: pd.DataFrame) -> Any:
    """Whether each row is its session's last on the path; they are in the order of `_by_path`."""
    session, path = codes(rows["session_id"]), codes(rows["file_path"])
    return np.append((session[1:] != session[:-1]) | (path[1:] != path[:-1]), True)[: len(rows)]


def _attempts_to_success(failed: Any, last: Any) -> Any:
    """Attempts from each row to the next on its path that completed, both counted; else NaN."""
    place = np.arange(len(failed))
    never = len(failed)
    success = np.minimum.accumulate(np.where(failed, never, place)[::-1])[::-1]
    end = np.minimum.accumulate(np.where(last, place, never)[::-1])[::-1]
    return np.where(success <= end, success - place + 1.0, np.nan)


def _extensions(paths: "pd.Series[Any]") -> pd.Categorical:
    names = paths.astype("category").cat
    found = pd.Series(names.categories, dtype="str").str.extract(r"[^/](\.[^./]*)$")[0].fillna("")
    codes_, unique = pd.factorize(found.str.lower(), sort=True)
    return pd.Categorical.from_codes(np.append(codes_, -1)[names.codes], unique)


def _reasons(rows: pd.DataFrame) -> Any:
    """The class of each failure, one of `CLASSES`; "" where it completed."""
    status, error = rows["status"], rows["error"].where(rows["status"].eq("error"))
    reason = np.where(status.eq("error"), "other", "").astype(object)
    texts = error.astype("category").cat
    said = pd.Series(texts.categories, dtype="str")
    of_text = np.full(len(said) + 1, "other", dtype=object)
    for name, pattern in reversed(ERRORS.items()):
        of_text[:-1][said.str.contains(pattern, regex=True).to_numpy(bool)] = name
    is_error = status.eq("error").to_numpy()
    reason[is_error] = of_text[texts.codes.to_numpy()[is_error]]
    for name in ("denied", "aborted"):
        reason[status.eq(name).to_numpy()] = name
    return reason
