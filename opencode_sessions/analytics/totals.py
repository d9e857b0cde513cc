"""What sessions hold, counted and summed over tables that are in memory anyway."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ..store import MONEY, TOTALS, TableName, Totals
from ..store.values import whole as whole_number
from .arrow import Numbers, coded


def totals_of(tables: Mapping[TableName, Any]) -> dict[str, Totals]:
    """By session, what it holds, in the order of `TOTALS`; as the store's `totals` gives it."""
    found = {**_of_messages(tables["messages"])}
    for name in ("tool_calls", "file_events"):
        codes, ids = _sessions_of(tables[name])
        found[name] = dict(zip(ids, np.bincount(codes, minlength=len(ids)).tolist(), strict=True))
    sessions = set().union(*found.values()) - {None}
    nothing = dict.fromkeys(TOTALS, 0) | dict.fromkeys(MONEY)
    return {
        str(id): tuple(found[name].get(id, nothing[name]) for name in TOTALS) for id in sessions
    }


def _sessions_of(table: Any) -> tuple[Numbers, list[str | None]]:
    """The place of each row's session among these; the first is none."""
    codes, ids = coded(table["session_id"])
    return codes + 1, [None, *ids]


def _of_messages(messages: Any) -> dict[str, dict[str | None, float | int | None]]:
    codes, ids = _sessions_of(messages)

    def by_session(values: Numbers) -> dict[str | None, Any]:
        return dict(zip(ids, values.tolist(), strict=True))

    prompts = pc.fill_null(pc.equal(pc.cast(messages["role"], "string"), "user"), False).to_numpy()
    found = {
        "messages": by_session(np.bincount(codes, minlength=len(ids))),
        "turns": by_session(np.bincount(codes[prompts], minlength=len(ids))),
    }
    is_own = ~pc.fill_null(messages["is_fork_copy"], False).to_numpy()
    for name in MONEY:
        is_summed = is_own & messages[name].is_valid().to_numpy()
        of = codes[is_summed]
        values = pc.fill_null(messages[name].cast("float64", safe=False), 0).to_numpy()[is_summed]
        sums = by_session(np.bincount(of, weights=values, minlength=len(ids)))
        known = np.bincount(of, minlength=len(ids)) > 0
        found[name] = {
            id: None if not is_known else total if name == "cost_usd" else whole_number(total)
            for (id, total), is_known in zip(sums.items(), known, strict=True)
        }
    return found
