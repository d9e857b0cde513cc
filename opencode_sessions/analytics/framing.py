"""Columns as those of a frame: under their names and dtypes, in its order."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.internals import create_dataframe_from_blocks

from .arrow import TEXT, Coded, Masked, Numbers, coded, numbered
from .columns import FIXED, TIME, Column

MANY = 50_000  # rows, whose columns are worth making at the same time
COLUMNS_AT_ONCE = 2
FEW = 20  # names of categories that are worth keeping for the next frame

Named = Callable[[tuple[str, ...]], pd.CategoricalDtype]


def to_frame(
    columns: list[Column], found: dict[str, Any], rows: int, order: Numbers | None
) -> pd.DataFrame:
    """A frame of these columns, as far as they were found, under their names and dtypes.

    What is made of a column takes the place of it: memory asked for anew is what takes longest.

    Args:
        columns: the frame's columns.
        found: by column, an Arrow array, `Coded`, `Masked`, an array of objects, or what makes one
            of them; nothing of it is left.
        rows: how many there are in each.
        order: which row comes where; None leaves them as they are.
    """
    wanted = [column for column in columns if column.name in found]
    named = cache(_named)  # the root of a session mostly is the session

    def values(column: Column) -> Any:
        array = found.pop(column.name)
        return _values(array() if callable(array) else array, column, order, named)

    if rows < MANY:
        made = [values(column) for column in wanted]
    else:
        # First what is yet to be made: it takes the longest.
        works = sorted(wanted, key=lambda column: not callable(found[column.name]))
        with ThreadPoolExecutor(COLUMNS_AT_ONCE) as threads:
            of = dict(zip(works, threads.map(values, works), strict=True))
        made = [of[column] for column in wanted]
    # Not from a dict: pandas would take as long to look at few rows' columns as they took to make.
    blocks = [
        (values.reshape(1, -1) if isinstance(values, np.ndarray) else values, np.array([place]))
        for place, values in enumerate(made)
    ]
    header = _header(tuple(column.name for column in wanted)).view()
    frame: pd.DataFrame = create_dataframe_from_blocks(blocks, pd.RangeIndex(rows), header)
    return frame


@cache
def _header(names: tuple[str, ...]) -> "pd.Index[str]":
    return pd.Index(names)


def _values(array: Any, column: Column, order: Numbers | None, named: Named) -> Any:
    if column.dtype == "category":
        codes, values = array if isinstance(array, Coded) else coded(array)
        return _categorical(codes if order is None else codes[order], values, column, named)
    if isinstance(array, np.ndarray):
        return array if order is None else array[order]
    if isinstance(array, Masked):
        given = array if order is None else Masked(*(of[order] for of in array))
        return _numbers(given, column)
    if column.dtype == "bool":  # rows from before the column was there have none
        array = pc.fill_null(array, False)
    if pa.types.is_dictionary(array.type):
        codes, texts = numbered(array)
        codes = codes if order is None else codes[order]
        array = texts.cast(TEXT).take(pa.array(codes, mask=codes < 0))
    elif order is not None and array.null_count < len(array):
        array = array.take(pa.array(order))
    if column.dtype in ("bool", "float64"):
        return np.require(array.to_numpy(zero_copy_only=False), requirements="W")
    dtype = _dtype(column.dtype)
    values = dtype.__from_arrow__(array)
    return values.copy() if column.dtype == TIME else values  # Arrow's are to be read only


def _numbers(given: Masked, column: Column) -> Any:
    values, is_none = given
    if column.dtype == "bool":  # rows from before the column was there have none
        return values.astype(bool)
    if column.dtype == "boolean":
        return pd.arrays.BooleanArray(values.astype(bool), is_none.copy())
    return pd.arrays.IntegerArray(values.astype(column.dtype.lower()), is_none.copy())


@cache
def _dtype(name: str) -> Any:
    return pd.api.types.pandas_dtype(name)


def _categorical(
    codes: Numbers, values: Sequence[str | None], column: Column, named: Named
) -> pd.Categorical:
    """The fixed categories, or those observed, sorted."""
    names: Sequence[str] | None = FIXED.get(column.name)
    if names is None:
        is_seen = np.zeros(len(values) + 1, dtype=bool)  # the last for -1
        is_seen[codes] = True
        known = zip(values, is_seen[:-1].tolist(), strict=True)
        names = sorted(value for value, is_there in known if is_there and value is not None)
    place: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    places = np.array([*(place.get(value, -1) for value in values), -1], dtype=np.int32)
    dtype = (_few_names if len(names) <= FEW else named)(tuple(names))
    return pd.Categorical.from_codes(places[codes], dtype=dtype, validate=False)


def _named(names: tuple[str, ...]) -> pd.CategoricalDtype:
    texts = _dtype("str").__from_arrow__(pa.array(names, TEXT))
    return pd.CategoricalDtype(pd.Index(texts, copy=False))


@lru_cache
def _few_names(names: tuple[str, ...]) -> pd.CategoricalDtype:
    """Made once: for one file's events this takes longer than all the rest."""
    return _named(names)
