"""Whether models, agents, projects or single sessions differ, and how sure one can be of it."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from .counting import Extra, Floats, columns_of, counted
from .frames import Frames
from .results import RESULTS, gives, tidy
from .sessions import session_summary

# What is compared of a session, and its unit.
VALUES = {
    "inclusive_cost_usd": "US dollars",
    "inclusive_tokens_output": "tokens",
    "turns": "messages",
    "calls": "calls",
    "failed_share": "share of calls",
    "files_changed": "files",
    "churn": "lines",
    "active_s": "seconds",
    "first_edit_s": "seconds",
}
ENOUGH = 8  # of fewer sessions an interval says more than they know
RESAMPLES = 9_999


@gives(
    measure="str",
    unit="str",
    group="str",
    n="Int64",
    median="float64",
    low="float64",
    high="float64",
    note="str",
    baseline="str",
    pairs="Int64",
    difference="float64",
    difference_low="float64",
    difference_high="float64",
)
def compare(
    frames: Frames, by: str | Sequence[str] = "model", *, include: Extra | Collection[Extra] = ()
) -> pd.DataFrame:
    """Groups of sessions side by side: one row a measure and group, the largest group first.

    What is compared is a session that nobody called and that has a turn, unlike a fork with which
    nobody went on; its subagents' costs and tokens are with it, all else is its own. Sessions that
    began with the same prompt make pairs, the fairest comparison there is: of each such prompt the
    group's median minus the baseline's. Intervals are 95 % bootstrap percentile intervals of the
    median, NA of fewer than 8. Fork copies, undone turns and the user's own calls are left out
    unless `include` names them; what they cost is not. Source: Efron's bootstrap (Annals of
    Statistics 7, 1979, 1-26).

    Args:
        frames: all frames of the sessions.
        by: a column of `frames.sessions` ("model", "agent_name", "project", ...), whose values are
            the groups, NA none; or sessions, by row id or opencode's, each a group, the first one
            the baseline.
        include: as above.

    Returns:
        measure, unit (str): inclusive_cost_usd, inclusive_tokens_output, turns, calls, failed_share
            (failed by all calls, NA without any), files_changed, churn, active_s, first_edit_s, as
            `session_summary` says;
        group (str), n (Int64): the group, and how many of its sessions have the measure;
        median, low, high (float64): over these sessions; NA without any;
        note (str): "too few" where n is under 8;
        baseline (str), pairs (Int64): the group that the others are compared with, and the prompts
            that began sessions with the measure in both;
        difference, difference_low, difference_high (float64): the median over these prompts, NA
            without any.

    Raises:
        ValueError: no such column, or neither a column nor a session.
        KeyError: no such session.

    >>> models = compare(frames, by="model")
    >>> models[["measure", "group", "n", "note", "median", "low", "high"]].head(3).round(2)
                  measure        group  n     note  median   low  high
    0  inclusive_cost_usd   pine-large  9             0.44  0.14  0.54
    1  inclusive_cost_usd    pine-mini  5  too few    0.06   NaN   NaN
    2  inclusive_cost_usd  gpt-5-cedar  2  too few    0.15   NaN   NaN
    """
    table = session_summary(frames, include=include)
    table["failed_share"] = table["failed"] / table["calls"].where(table["calls"] > 0)
    table["prompt"] = table["session_id"].map(_first_prompts(frames, include))
    table["group"] = _groups(frames, table, by)
    table = table.dropna(subset="group")
    names = list(
        table["group"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    )
    if not isinstance(by, str):
        names = list(dict.fromkeys(by))
    rows = []
    for measure, unit in VALUES.items():
        values = table.dropna(subset=measure).astype({measure: "float64"})
        by_prompt = values.groupby(["prompt", "group"])[measure].median().unstack("group")
        for group in names:
            mine = values.loc[values["group"] == group, measure].to_numpy()
            row = {"measure": measure, "unit": unit, "group": group, "baseline": names[0]}
            row |= {"n": len(mine), "note": "" if len(mine) >= ENOUGH else "too few"}
            row |= dict(zip(["median", "low", "high"], _median(mine), strict=True))
            if group != names[0]:
                both = by_prompt.reindex(columns=[names[0], group]).dropna()
                apart = (both[group] - both[names[0]]).to_numpy()
                told = ["difference", "difference_low", "difference_high"]
                row |= {"pairs": len(apart)} | dict(zip(told, _median(apart), strict=True))
            rows.append(row)
    return tidy(pd.DataFrame(rows, columns=list(RESULTS["compare"])), compare)


def _groups(frames: Frames, table: pd.DataFrame, by: str | Sequence[str]) -> pd.Series:
    """The group of each session of the table, NA for those that are compared with nobody."""
    if isinstance(by, str) or not isinstance(by, Iterable) or not [*by]:
        (column,) = columns_of(by, frames.sessions.columns)
        sessions = frames.sessions.set_index("session_id")
        is_one = table["parent_session_id"].isna() & table["turns"].gt(0)
        return table["session_id"].map(sessions[column].astype("str")).astype("str").where(is_one)
    row_id, opencode_id = (table[name] for name in ("session_id", "opencode_session_id"))
    group = pd.Series(pd.NA, index=table.index, dtype="str")
    for session in by:
        is_it = row_id.eq(session) | opencode_id.eq(session)
        if not is_it.any():
            hint = f" To compare by a column: by={session!r}." if session in frames.sessions else ""
            raise KeyError(f"No session {session!r} in these frames.{hint}")
        group[is_it] = session
    return group


def _first_prompts(frames: Frames, include: Extra | Collection[Extra]) -> pd.Series:
    """The text of each session's first own prompt, by session id."""
    prompts = counted(frames.messages, include, ["session_id", "seq", "role", "content"])
    prompts = prompts[prompts["role"].eq("user")].sort_values("seq")
    first = prompts.drop_duplicates("session_id").astype({"session_id": "str"})
    return first.set_index("session_id")["content"]


def _median(values: Floats) -> tuple[float, float, float]:
    """The median and the 95 % bootstrap percentile interval around it; NaN where too few.

    A resample of n values is n draws from 0 to 1, each taking the value that many n-ths up the
    sorted ones; so its median is where the middle draw, or two, are, and these are Beta
    distributed. That makes the exact bootstrap, whatever n, without drawing n values.
    """
    n = len(values)
    if n < ENOUGH:
        return (float(np.median(values)) if n else np.nan), np.nan, np.nan
    ordered, rng = np.sort(values), np.random.default_rng(0)
    middle = (n + 1) // 2
    lower = rng.beta(middle, n + 1 - middle, RESAMPLES)
    upper = lower
    if n % 2 == 0:  # the next draw is the least of those above
        upper = 1 - (1 - lower) * rng.random(RESAMPLES) ** (1 / (n - middle))
    medians = (ordered[(n * lower).astype(int)] + ordered[(n * upper).astype(int)]) / 2
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)
