"""Every string of a value, a column, a frame: each is gone to, or what holds it is replaced."""

import datetime
import decimal
import numbers
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..analytics.columns import COLUMNS
from ..store import TableName
from .finding import Found
from .named import IS_NAME, kind_of
from .structure import KEPT

DEPTH = 60  # of JSON in JSON; deeper than any tool's input
LONGEST = 4_000_000  # letters of one text that are looked through
PLAIN = (bool, numbers.Number, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta,
         np.number, np.bool_, np.datetime64, np.timedelta64,
         type(None), type(pd.NA), type(pd.NaT))  # fmt: skip
PLAIN_ARRAYS = "biufcmM"  # kinds of numpy's dtypes: numbers and times
PAIRS = (("name", "value"), ("key", "value"))  # of an object that is one entry of another

Do = Callable[[str, str, Sequence[Found]], str]  # with a text, its place, what its name gives away
Unread = Callable[[object, str], str]


class Walk:
    """Does something with each string, and something else with what has none to see."""

    def __init__(self, do: Do, unread: Unread) -> None:
        self._do, self._replace = do, unread
        self._where = ""
        self._is_changed = False

    def frame(self, frame: pd.DataFrame, name: TableName) -> pd.DataFrame:
        """The same columns and dtypes; names and an index of one's own are walked as well.

        What we call a column, and the words of opencode's own in it, are nobody's secret.
        """
        self._where = f"{name}.columns"
        names = self._index(frame.columns, {column.name for column in COLUMNS[name]})
        columns = {}
        for place, column in enumerate(frame):
            self._where = f"{name}.{names[place]}"
            kept = KEPT.get(column, ()) if isinstance(column, str) else ()
            columns[place] = self._column(frame.iloc[:, place], kept)
        walked = pd.DataFrame(columns, index=frame.index)
        walked.columns = names
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
            return self._unread(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if _is_named_tuple(value):
            return value._make(self._mapping(value._asdict(), depth).values())
        if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
            return self._sequence(value, name, depth)
        if isinstance(value, (bytes, bytearray)):
            try:
                return self._text(value.decode("utf-8"), name).encode("utf-8")
            except UnicodeDecodeError:
                return self._unread(value).encode()
        if isinstance(value, uuid.UUID):
            return value
        return self._unread(value)

    def _unread(self, value: object) -> str:
        self._is_changed = True
        return self._replace(value, self._where)

    def _text(self, text: str, name: str) -> str:
        if len(text) > LONGEST:
            return self._unread(text)
        named: Sequence[Found] = ()
        if (
            name
            and (found := IS_NAME.search(name.lower())) is not None
            and (kind := kind_of(found["name"], text))
        ):
            named = [Found(0, len(text), kind, text)]
        done = self._do(text, self._where, named)
        self._is_changed |= done != text
        return done

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
        is_array = isinstance(value, np.ndarray)
        if is_array and value.dtype.kind in PLAIN_ARRAYS:
            return value
        walked, before = [], ""
        for inner in np.asarray(value).ravel() if is_array else value:
            is_flag = isinstance(before, str) and before.startswith("-")
            walked.append(self.value(inner, before if is_flag else name, depth + 1))
            before = inner
        if is_array:
            array = _objects(walked).reshape(value.shape)
            return array.astype(value.dtype.kind) if value.dtype.kind in "SU" else array
        plain = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
        return plain(walked)

    def _values(self, values: Sequence[Any], kept: Collection[str]) -> list[Any] | None:
        """Each walked, but for the words that are kept; None if that changes nothing."""
        self._is_changed = False
        walked = [v if isinstance(v, str) and v in kept else self.value(v) for v in values]
        return walked if self._is_changed else None

    def _column(self, column: "pd.Series[Any]", kept: Collection[str] = ()) -> "pd.Series[Any]":
        dtype = column.dtype
        if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
            return column
        if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
            return column
        if isinstance(dtype, pd.CategoricalDtype):
            return self._categorical(column, kept)
        codes, different = _different(column)
        walked = self._values(different, kept)
        if walked is None:
            return column
        values = _objects([*walked, None])
        is_text = isinstance(dtype, pd.StringDtype)
        return pd.Series(values[codes], column.index, dtype if is_text else object)

    def _categorical(self, column: "pd.Series[Any]", kept: Collection[str]) -> "pd.Series[Any]":
        """Two categories may become one; those that change are sorted again."""
        old = column.cat.categories
        new = self._values([*old], kept)
        if new is None:
            return column
        values = sorted(set(new), key=str)
        place = np.array([*(values.index(value) for value in new), -1])
        of_text = old.dtype if isinstance(old.dtype, pd.StringDtype) else object
        dtype = pd.CategoricalDtype(pd.Index(values, dtype=of_text), column.cat.ordered)
        return pd.Series(
            pd.Categorical.from_codes(place[column.cat.codes], dtype=dtype), column.index
        )

    def _index(self, index: "pd.Index[Any]", kept: Collection[str] = ()) -> "pd.Index[Any]":
        if isinstance(index, pd.RangeIndex) and index.name is None:
            return index
        names = [self.value(name) for name in index.names]
        if isinstance(index, pd.MultiIndex):
            tuples = [tuple(self.value(part) for part in entry) for entry in index]
            return pd.MultiIndex.from_tuples(tuples, names=names)
        walked: pd.Index[Any] = pd.Index(self._column(index.to_series(), kept), name=names[0])
        return walked


def _is_named_tuple(value: object) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _objects(values: Sequence[Any]) -> "np.ndarray[Any, Any]":
    """An array of these, also where they are lists of one length."""
    return np.fromiter(values, object, len(values))


def _different(column: "pd.Series[Any]") -> tuple[Any, list[Any]]:
    """Each row's place among the different values, and those; lists and objects stay apart."""
    if isinstance(column.dtype, pd.StringDtype):
        codes, different = pd.factorize(column)
        return codes, [*different]
    values = [*column]
    return np.arange(len(values)), values
