"""Few rows as columns, such as one file's events.

Arrow takes longer to be asked for a column of some hundred values than to make it. Here text that
repeats is numbered in Python, and whole numbers of all columns are made at once.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from ..store import NotAtOnce, Texts
from .arrow import (
    REPEATED,
    SHARED,
    TEXT,
    TYPES,
    Coded,
    Masked,
    Numbers,
    alike,
    array,
    listed,
    typed,
)

SMALL = TYPES["Int32"]
WHOLE = (SMALL, TYPES["Int64"])


def from_texts(texts: Texts, types: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of texts, where those say all.

    Raises:
        NotAtOnce: a value is not of its column's type.
    """
    try:
        columns = ((name, _values(text)) for name, text in texts.columns.items())
        return _columns(columns, types, (*WHOLE, TYPES["bool"]), typed)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise NotAtOnce(str(error)) from error


def from_rows(rows: Sequence[tuple[Any, ...]], types: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of rows: tuples in the order of these types."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(types)
    return _columns(zip(types, columns, strict=True), types, WHOLE, array)


def dicts(texts: Texts, types: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of texts as dicts.

    Raises:
        NotAtOnce: a value is not of its column's type.
    """
    columns: list[Sequence[Any]] = []
    try:
        for name, text in texts.columns.items():
            if name in texts.exact:
                columns.append(texts.exact[name])
                continue
            values = _values(text)
            is_text = types[name] is TEXT or types[name] is REPEATED
            columns.append(values if is_text else listed(typed(values, types[name])))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise NotAtOnce(str(error)) from error
    return [dict(zip(texts.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def taken(columns: Mapping[str, Any], rows: Numbers) -> dict[str, Any]:
    """These rows."""
    found: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(column, Coded):
            found[name] = Coded(column.codes[rows], column.values)
        elif isinstance(column, Masked):
            found[name] = Masked(column.values[rows], column.is_none[rows])
        else:
            found[name] = column.take(pa.array(rows))
    return found


def _columns(
    columns: Iterable[tuple[str, Sequence[Any]]],
    types: Mapping[str, Any],
    whole: Collection[Any],
    make: Callable[[Any, Any], Any],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    numbers: dict[str, Sequence[Any]] = {}
    for name, values in columns:
        type_ = TEXT if name in SHARED else types[name]  # of few rows hardly two have the same
        if type_ is REPEATED:
            found[name] = _coded(values)
        elif type_ in whole:
            numbers[name] = values
        elif not values or (values[0] is None and values.count(None) == len(values)):
            found[name] = pa.nulls(len(values), type_)
        else:
            found[name] = make(values, type_)
    return found | _masked(numbers, types)


def _values(text: bytes) -> list[Any]:
    only = alike(text)
    return [only[0]] * only[1] if only else orjson.loads(text)


def _coded(values: Sequence[str | None]) -> Coded:
    if values and values.count(values[0]) == len(values):
        different = [value for value in values[:1] if value is not None]
        codes = np.full(len(values), len(different) - 1, np.int32)
    else:
        code: dict[str | None, int] = defaultdict(count().__next__, {None: -1})
        codes = np.fromiter(map(code.__getitem__, values), np.int32, len(values))
        different = [value for value in code if value is not None]
    if not all(isinstance(value, str) for value in different):
        raise ValueError("a value is no text")
    return Coded(codes, different)


def _masked(columns: Mapping[str, Sequence[Any]], types: Mapping[str, Any]) -> dict[str, Masked]:
    found = pa.array([*chain.from_iterable(columns.values())], pa.int64())
    shape = len(columns), len(found) // len(columns)
    values = found.fill_null(0).to_numpy().reshape(shape)
    is_none = found.is_null().to_numpy(zero_copy_only=False).reshape(shape)
    small = values[[types[name] is SMALL for name in columns]]
    if (small != small.astype(np.int32)).any():
        raise ValueError("a number is beyond its column")
    return {name: Masked(*of) for name, *of in zip(columns, values, is_none, strict=True)}
