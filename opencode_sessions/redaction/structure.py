"""The structure alone: counts, types and times stay, every word becomes a hash."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pandas as pd

from ..analytics.columns import COLUMNS, FIXED, ROLES, Column
from ..loose import as_dict
from ..store import TableName
from .finding import MARK
from .formats import words

SOURCES = ("service", "database", "storage", "export", "server")
TOOLS = words(
    "apply_patch bash batch codesearch edit glob grep invalid list ls lsp lsp_diagnostics lsp_hover"
    " multiedit patch plan_enter plan_exit question read shell skill task todoread todowrite"
    " webfetch websearch write"
)
PARTS = words(
    "agent compaction file patch reasoning retry snapshot source-url step-finish step-start subtask"
    " text tool tool-invocation tool_use"
)
FINISHES = words("stop length tool-calls content-filter error other unknown")
# Words of opencode's own, by column: they say what kind of thing happened, and nothing else.
KEPT: Mapping[str, frozenset[str]] = {
    **{name: frozenset(values) for name, values in FIXED.items()},
    "role": frozenset(ROLES),
    "source": frozenset(SOURCES),
    "tool": TOOLS,
    "finish": FINISHES,
}

Hash = Callable[[str], str]


def bare_frame(name: TableName, frame: pd.DataFrame, hashed: Hash) -> pd.DataFrame:
    """A frame's numbers, times and types, with a hash for each other value.

    A column that no frame of ours has is left out, and so is an index.
    """
    columns = {
        column.name: _bare(frame[column.name], column, hashed)
        for column in COLUMNS[name]
        if column.name in frame
    }
    return pd.DataFrame(columns).reset_index(drop=True)


def _bare(column: "pd.Series[Any]", of: Column, hashed: Hash) -> "pd.Series[Any]":
    if of.name in FIXED:
        return column.astype(pd.CategoricalDtype(pd.Index(FIXED[of.name], dtype="str")))
    if of.dtype == "object":
        bare = _bare_parts if of.name == "parts" else _bare_value
        return pd.Series([bare(value, hashed) for value in column], column.index, dtype=object)
    if of.dtype not in ("str", "category"):
        return column.astype(of.dtype)  # type: ignore[call-overload, no-any-return]
    kept = KEPT.get(of.name, frozenset())
    new = {v: v if v in kept else hashed(str(v)) for v in column.dropna().unique()}
    values = [None if pd.isna(value) else new[value] for value in column]
    if of.dtype == "str":
        return pd.Series(values, column.index, dtype="str")
    names = pd.Index(sorted(set(new.values())), dtype="str")
    return pd.Series(pd.Categorical(values, names), column.index)


def _bare_parts(parts: Any, hashed: Hash) -> Any:
    """What kinds of parts there were, in order."""
    if not isinstance(parts, list):
        return None if parts is None else _bare_value(parts, hashed)
    return [_bare_value(part, hashed) for part in parts]


def _bare_value(value: Any, hashed: Hash) -> dict[str, str] | None:
    if value is None or value is pd.NA:
        return None
    said = as_dict(value)
    is_bare = {*said} <= {"type", "tool", "hash"} and MARK.fullmatch(str(said.get("hash")))
    whole = said["hash"] if is_bare else hashed(_as_json(value))
    words = {"type": PARTS, "tool": TOOLS}
    kept = {name: word for name, among in words.items() if (word := said.get(name)) in among}
    return {**kept, "hash": whole}


def _as_json(value: Any) -> str:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=repr, option=options).decode()
    except TypeError:  # a text of surrogates, a key that is no key
        return repr(value)
