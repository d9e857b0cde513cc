"""When the work happened: counts and churn per hour, day or month on the reader's own clock."""

from collections.abc import Collection, Sequence
from datetime import tzinfo
from typing import Literal, get_args

import numpy as np
import pandas as pd

from .columns import TIME
from .counting import Extra, check_known, columns_of, counted
from .files import event_totals
from .results import COUNT, gives, tidy

Freq = Literal["min", "h", "D", "M"]


@gives(
    "by",
    period=TIME,  # on the clock of `tz`
    event_type="category",
    events=COUNT,
    failed=COUNT,
    additions=COUNT,
    deletions=COUNT,
    churn=COUNT,
    lines_unknown=COUNT,
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
    Source: plain counts; lines are added and removed as git's `--numstat` has them.

    Returns:
        the columns of `by`;
        period (datetime64[us, tz]): when the period starts; NaT for events without a time;
        event_type (category);
        events, failed (Int64): all, and those that ended in an error, were denied or aborted;
        additions, deletions, churn (Int64, lines): of the changes whose lines are known, NA where
            there were changes and none's are;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's.

    Raises:
        ValueError: `freq` is none of these, or `by` names no column.
        TypeError: `tz` is neither a name nor a tzinfo.
        ZoneInfoNotFoundError: `tz` names no time zone.

    >>> hours = activity(events, "h", tz="Europe/Berlin")
    >>> hours[["period", "event_type", "events", "failed", "churn"]].tail(6)
                          period event_type  events  failed  churn
    5  2026-11-22 19:00:00+01:00       read     223       1      0
    6  2026-11-22 19:00:00+01:00      write      35       0    318
    7  2026-11-22 19:00:00+01:00       edit     265       6    733
    8  2026-11-22 19:00:00+01:00     delete       4       0     10
    9  2026-11-22 19:00:00+01:00       move       8       0      4
    10 2026-11-22 19:00:00+01:00       bash     116       3      0
    """
    columns = [name for name in columns_of(by, events.columns, least=0) if name != "event_type"]
    rows = counted(events, include)
    keys = rows[[*columns, "event_type"]].copy()
    keys.insert(0, "period", period_start(rows["time"], freq, tz))
    group = keys.groupby(list(keys), observed=True, dropna=False).ngroup()
    totals = event_totals(rows, group)
    first = keys.assign(group=group).drop_duplicates("group").set_index("group")
    table = tidy(first.join(totals).sort_index(), activity, columns)
    return table.assign(period=table["period"].dt.tz_convert(tz))


def period_start(
    times: "pd.Series[pd.Timestamp]", freq: Freq, tz: str | tzinfo
) -> "pd.Series[pd.Timestamp]":
    """The start of each time's minute, hour, day or month on the clock of `tz`.

    Raises:
        ValueError: `freq` is none of these.
        TypeError: `tz` is neither a name nor a tzinfo.
        ZoneInfoNotFoundError: `tz` names no time zone.
    """
    check_known("freq", freq, get_args(Freq))
    if not isinstance(tz, str | tzinfo):
        raise TypeError(f"tz={tz!r} is no time zone, as 'Europe/Berlin' or a tzinfo.")
    local = times.dt.tz_convert(tz)
    clock = local.dt.tz_localize(None)
    if freq in ("min", "h"):  # taken back in real time: the repeated hour stays two
        return local - (clock - clock.dt.floor(freq))
    start = clock.dt.normalize()
    if freq == "M":
        start = start - pd.to_timedelta(clock.dt.day - 1, unit="D")
    # Where the clock changes at midnight, a day starts at the first of two, or after none.
    first = np.ones(len(start), dtype=bool)
    begins = start.dt.tz_localize(tz, ambiguous=first, nonexistent="shift_forward")
    return begins.astype(local.dtype)
