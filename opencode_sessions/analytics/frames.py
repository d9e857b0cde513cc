"""`Frames`: the four pandas DataFrames of a store, the same columns and dtypes whatever it is."""

import html
from dataclasses import dataclass

import pandas as pd

from .columns import COLUMNS, Column


@dataclass(frozen=True, slots=True, repr=False)
class Frames:
    """The four frames of a store; `schema` says each column's dtype, unit and meaning."""

    sessions: pd.DataFrame
    messages: pd.DataFrame
    tool_calls: pd.DataFrame
    file_events: pd.DataFrame

    @property
    def schema(self) -> pd.DataFrame:
        """One row a column: frame, name, dtype, unit, meaning, is_optional."""
        rows = [column for columns in COLUMNS.values() for column in columns]
        return pd.DataFrame(rows, columns=list(Column._fields)).drop(columns="stored")

    def __repr__(self) -> str:
        lines = [
            f"{name:<12} {len(frame):>9,} rows   {period}" for name, frame, period in self._parts()
        ]
        return "\n".join(["<Frames", *("  " + line.rstrip() for line in lines), ">"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>.{name}</th><td>{len(frame):,}</td>"
            f"<td>{html.escape(period)}</td></tr>"
            for name, frame, period in self._parts()
        )
        return f"<table><thead><tr><th></th><th>rows</th><th>period</th></tr></thead>{rows}</table>"

    def _parts(self) -> list[tuple[str, pd.DataFrame, str]]:
        frames = [(name, getattr(self, name)) for name in COLUMNS]
        return [(name, frame, _period(frame)) for name, frame in frames]


def _period(frame: pd.DataFrame) -> str:
    times = frame["time" if "time" in frame else "created_at"].dropna()
    if times.empty:
        return ""
    return f"{times.min():%Y-%m-%d %H:%M} to {times.max():%Y-%m-%d %H:%M} UTC"
