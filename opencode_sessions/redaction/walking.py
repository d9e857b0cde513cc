"""Every string of a value, a column, a frame: each is gone to, or what holds it is replaced."""

import datetime
import decimal
import numbers
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .finding import Found
from .named import IS_NAME, kind_of

DEPTH = 60  # of JSON in JSON; deeper than any tool's input
LONGEST = 4_000_000  # letters of one text that are looked through
PLAIN = (bool, numbers.Number, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta,
         np.generic, type(None), type(pd.NA), type(pd.NaT))  # fmt: skip
PAIRS = (("name", "value"), ("key", "value"))  # of an object that is one entry of another

Do = Callable[[str, str, Sequence[Found]], str]  # with a text, its place, what its name gives away
Unread = Callable[[object, str], str]


class Walk:
    """Does something with each string, and something else with what has none to see."""

    def __init__(self, do: Do, unread: Unread) -> None:
        self._do, self._unread = do, unread
        self._where = ""

    def frame(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """The same columns and dtypes; names and an index of one's own are walked as well."""
        columns = {}
        for place, column in enumerate(frame):
            self._where = f"{name}.{column}"
            columns[place] = self._column(frame.iloc[:, place])
        walked = pd.DataFrame(columns, index=frame.index)
        self._where = f"{name}.columns"
        walked.columns = self._index(frame.columns)
        self._where = f"{name}.index"
        walked.index = self._index(frame.index)
        return walked

    def value(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """A value, whatever is in it."""
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, PLAIN):
            return value
        if depth >= DEPTH:
            return self._unread(value, self._where)
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
            return self._sequence(value, name, depth)
        if isinstance(value, (bytes, bytearray)):
            try:
                return self._text(value.decode("utf-8"), name).encode("utf-8")
            except UnicodeDecodeError:
                return self._unread(value, self._where).encode()
        if isinstance(value, uuid.UUID):
            return value
        return self._unread(value, self._where)

    def _text(self, text: str, name: str) -> str:
        if len(text) > LONGEST:
            return self._unread(text, self._where)
        if (
            name
            and (named := IS_NAME.search(name.lower())) is not None
            and (kind := kind_of(named["name"], text))
        ):
            return self._do(text, self._where, [Found(0, len(text), kind, text)])
        return self._do(text, self._where, ())

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        names = {held: str(value[named]) for named, held in PAIRS if {named, held} <= value.keys()}
        walked: dict[Any, Any] = {}
        for key, inner in value.items():
            name = names.get(key) or (key if isinstance(key, str) else "")
            new = self.value(key, "", depth + 1)
            while new in walked:  # two keys that held the same secret
                new = f"{new}'"
            walked[new] = self.value(inner, name, depth + 1)
        return walked

    def _sequence(self, value: Any, name: str, depth: int) -> Any:
        """A list; in one of arguments, what comes before a value is its name."""
        walked, before = [], ""
        for inner in value:
            is_flag = isinstance(before, str) and before.startswith("-")
            walked.append(self.value(inner, before if is_flag else name, depth + 1))
            before = inner
        if isinstance(value, np.ndarray):
            array = np.empty(len(walked), dtype=object)
            array[:] = walked
            return array if value.dtype == object else np.array(walked)
        return walked if isinstance(value, list) else type(value)(walked)

    def _column(self, column: "pd.Series[Any]") -> "pd.Series[Any]":
        dtype = column.dtype
        if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
            return column
        if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
            return column
        if isinstance(dtype, pd.CategoricalDtype):
            return self._categorical(column)
        codes, different = _different(column)
        walked = [self.value(value) for value in different]
        if walked == different:
            return column
        values = np.empty(len(walked) + 1, dtype=object)
        values[:-1] = walked
        values[-1] = None
        is_text = isinstance(dtype, pd.StringDtype)
        return pd.Series(values[codes], column.index, dtype if is_text else object)

    def _categorical(self, column: "pd.Series[Any]") -> "pd.Series[Any]":
        """Two categories may become one; those that change are sorted again."""
        old = column.cat.categories
        new = [self.value(value) for value in old]
        if new == [*old]:
            return column
        values = sorted(set(new), key=str)
        place = np.array([*(values.index(value) for value in new), -1])
        dtype = pd.CategoricalDtype(pd.Index(values, dtype=old.dtype), column.cat.ordered)
        return pd.Series(
            pd.Categorical.from_codes(place[column.cat.codes], dtype=dtype), column.index
        )

    def _index(self, index: "pd.Index[Any]") -> "pd.Index[Any]":
        if isinstance(index, pd.RangeIndex) and index.name is None:
            return index
        names = [self.value(name) for name in index.names]
        if isinstance(index, pd.MultiIndex):
            tuples = [tuple(self.value(part) for part in entry) for entry in index]
            return pd.MultiIndex.from_tuples(tuples, names=names)
        walked: pd.Index[Any] = pd.Index(self._column(index.to_series()), name=names[0])
        return walked


def _different(column: "pd.Series[Any]") -> tuple[Any, list[Any]]:
    """Each row's place among the different values, and those; lists and objects stay apart."""
    if isinstance(column.dtype, pd.StringDtype):
        codes, different = pd.factorize(column)
        return codes, [*different]
    values = [*column]
    return np.arange(len(values)), values
