"""When the work happened: counts and churn per hour, day or month on the reader's own clock."""

from collections.abc import Collection, Sequence
from datetime import tzinfo
from typing import Literal

import numpy as np
import pandas as pd

from .columns import TIME
from .counting import Extra, counted
from .files import event_totals
from .results import adds_up, gives

Freq = Literal["min", "h", "D", "M"]


@adds_up("events", "failed", "additions", "deletions", "churn", "lines_unknown")
@gives(
    period=TIME,  # on the clock of `tz`
    event_type="category",
    events="Int64",
    failed="Int64",
    additions="Int64",
    deletions="Int64",
    churn="Int64",
    lines_unknown="Int64",
)
def activity(
    events: pd.DataFrame,
    freq: Freq = "D",
    tz: str | tzinfo = "UTC",
    by: str | Sequence[str] | None = None,
    *,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """How much happened when: one row a period and event type that has events, in order of time.

    Periods are minutes ("min"), hours ("h"), days ("D") or months ("M") of the clock in `tz`: a day
    has 23 or 25 hours where the clock changes, and the hour it repeats is two. `by` splits further:
    "project", "agent_name", "model" or any other columns. Fork copies, undone turns and the user's
    own calls are left out unless `include` names them ("fork_copies", "undone", "user").

    Returns:
        period (datetime64[us, tz]): when the period starts; NaT for events without a time;
        the columns of `by`, event_type (category);
        events, failed (Int64): all, and those that ended in an error, were denied or aborted;
        additions, deletions, churn (Int64, lines): of the changes whose lines are known, NA where
            there were changes and none's are;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's.

    Raises:
        ValueError: `freq` is none of these.
        ZoneInfoNotFoundError: `tz` names no time zone.

    >>> activity(events, "D", tz="Europe/Berlin")[["period", "event_type", "events", "churn"]]
                         period event_type  events  churn
    0 2026-03-08 00:00:00+01:00       read       1      0
    1 2026-03-08 00:00:00+01:00      write       1   <NA>
    2 2026-03-08 00:00:00+01:00       edit       3      8
    3 2026-03-08 00:00:00+01:00       move       1      0
    4 2026-03-08 00:00:00+01:00       bash       1      0
    """
    columns = [by] if isinstance(by, str) else list(by or ())
    rows = counted(events, include)
    keys = rows[[*columns, "event_type"]].copy()
    keys.insert(0, "period", period_start(rows["time"], freq, tz))
    group = keys.groupby(list(keys), observed=True, dropna=False).ngroup()
    totals = event_totals(rows, group)
    first = keys.assign(group=group).drop_duplicates("group").set_index("group")
    wanted = ["events", "failed", "additions", "deletions", "churn", "lines_unknown"]
    return first.join(totals[wanted]).sort_index().reset_index(drop=True)


def period_start(
    times: "pd.Series[pd.Timestamp]", freq: Freq, tz: str | tzinfo
) -> "pd.Series[pd.Timestamp]":
    """The start of each time's minute, hour, day or month on the clock of `tz`.

    Raises:
        ValueError: `freq` is none of these.
        ZoneInfoNotFoundError: `tz` names no time zone.
    """
    local = times.dt.tz_convert(tz)
    clock = local.dt.tz_localize(None)
    if freq in ("min", "h"):  # taken back in real time: the repeated hour stays two
        return local - (clock - clock.dt.floor(freq))
    start = clock.dt.normalize()
    if freq == "M":
        start = start - pd.to_timedelta(clock.dt.day - 1, unit="D")
    elif freq != "D":
        raise ValueError(f"freq={freq!r} is unknown. Choose 'min', 'h', 'D' or 'M'.")
    # Where the clock changes at midnight, a day starts at the first of two, or after none.
    first = np.ones(len(start), dtype=bool)
    begins = start.dt.tz_localize(tz, ambiguous=first, nonexistent="shift_forward")
    return begins.astype(local.dtype)
