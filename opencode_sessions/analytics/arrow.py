"""Stored rows as Arrow columns, and Arrow columns as those of a frame.

What repeats is kept once and no value is an object: a million rows take a tenth of what they take
as Python objects, and no step holds the interpreter for long. JSON columns alone stay objects.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ..store import Copied, NotAtOnce, TableName, Texts
from ..store.values import loads
from .columns import COLUMNS, TIME
from .copying import copied

TEXT, REPEATED = pa.large_string(), pa.dictionary(pa.int32(), pa.string())
TYPES = {
    "category": REPEATED,
    "str": TEXT,
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "float64": pa.float64(),
    "boolean": pa.bool_(),
    "bool": pa.bool_(),
    TIME: pa.timestamp("us", "UTC"),
}
# Stored columns that others are computed from.
OTHERS = {"worktree": REPEATED, "completed_at": TYPES[TIME]}
SHARED = {"message_id": REPEATED}  # no category, but many rows have the same
BATCH = 4_000  # rows converted at once: they hold the event loop for 10 ms

Numbers = np.ndarray[Any, np.dtype[Any]]


class Coded(NamedTuple):
    """A column of text that repeats: each row's place among the values, -1 where it has none."""

    codes: Numbers
    values: Sequence[str | None]


class Masked(NamedTuple):
    """A column of whole numbers, or of truth as 0 and 1: each row's, and whether there is none."""

    values: Numbers
    is_none: Numbers


def types(name: TableName, columns: Sequence[str]) -> dict[str, Any]:
    """The Arrow types of stored columns; None for JSON."""
    stored = {column.stored: TYPES.get(column.dtype) for column in COLUMNS[name]} | SHARED
    return {column: stored.get(column, OTHERS.get(column, TEXT)) for column in columns}


class Rows:
    """Rows of a table, gathered as columns."""

    def __init__(self, name: TableName, columns: Sequence[str]) -> None:
        self._types = types(name, columns)
        self._columns: dict[str, list[Any]] = {column: [] for column in columns}
        self._waiting: list[tuple[Any, ...]] = []

    def take(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds rows: tuples in the order of the columns."""
        self._waiting.extend(rows)
        if len(self._waiting) >= BATCH:
            self._convert()

    def take_texts(self, texts: Texts) -> int:
        """Adds rows that come as texts.

        Returns:
            How many they are.

        Raises:
            NotAtOnce: a value is not of its column's type; none of them was added.
        """
        found = _columns(texts, self._types, {})
        for column, values in found.items():
            is_json = self._types[column] is None
            self._columns[column].extend(values if is_json else values.chunks)
        return len(found["id"])

    def arrays(self) -> dict[str, Any]:
        """The columns as Arrow arrays; JSON columns as arrays of objects.

        Raises:
            ValueError: a value is not of its column's type.
        """
        self._convert()
        return {
            column: _objects(chunks) if type_ is None else pa.chunked_array(chunks, type_)
            for (column, type_), chunks in zip(
                self._types.items(), self._columns.values(), strict=True
            )
        }

    def _convert(self) -> None:
        columns = zip(*self._waiting, strict=True)  # none of them where there is no row
        for (column, type_), values in zip(self._types.items(), columns, strict=False):
            chunks = self._columns[column]
            chunks.extend(values if type_ is None else stored_array(column, values, type_).chunks)
        self._waiting = []


def tabled(
    batch: Texts | Copied, types: Mapping[str, Any], before: dict[str, tuple[bytes, Any]]
) -> Any:
    """Many rows as the store hands them over at once, as a table of these columns.

    Args:
        batch: the rows.
        types: the columns.
        before: by column, the text of the batch before and what it said; most columns hold the same
            value all through. It is kept up.

    Raises:
        NotAtOnce: a value is not of its column's type.
    """
    if isinstance(batch, Texts):
        return pa.table(_columns(batch, types, before))
    try:
        return copied(batch, types)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise NotAtOnce(str(error)) from error


def _columns(
    texts: Texts, types: Mapping[str, Any], before: dict[str, tuple[bytes, Any]]
) -> dict[str, Any]:
    found = {}
    try:
        for name, text in texts.columns.items():
            if name in texts.exact:
                found[name] = array(texts.exact[name], types[name])
                continue
            said = before.get(name)
            if said is None or said[0] != text:
                said = before[name] = text, _parsed(text, types[name])
            found[name] = said[1]
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise NotAtOnce(str(error)) from error
    return found


def _parsed(text: bytes, type_: Any) -> Any:
    """The values of a JSON array, as `Texts` has them."""
    if type_ is None:
        return [None if value is None else loads(value) for value in orjson.loads(text)]
    if (only := alike(text)) is None:
        return typed(orjson.loads(text), type_)
    value, count = only
    same = pa.nulls(count, type_) if value is None else pa.repeat(typed([value], type_)[0], count)
    return pa.chunked_array([same])


def alike(text: bytes) -> tuple[Any, int] | None:
    """The value of a JSON array that holds no other, and how many times; None if there is none."""
    first = text[1 : text.find(b",")]  # of one value, that is all but the bracket
    count, rest = divmod(len(text) - 1, len(first) + 1)
    if rest or not text.endswith(first + b"]") or text.count(b"," + first) != count - 1:
        return None
    if first in (b"", b'"'):  # no value; half of a text that begins with a comma
        return None
    return orjson.loads(first), count


def typed(values: list[Any], type_: Any) -> Any:
    """Values of a JSON array, as `Texts` has them, as a chunked array of an Arrow type."""
    if pa.types.is_floating(type_):
        return pc.divide(array(values, pa.int64()).cast(type_), 1e6)
    if pa.types.is_timestamp(type_):
        times = pa.array(values, pa.string()).cast(pa.timestamp("us"))
        return pa.chunked_array([times.view(type_)])
    if pa.types.is_boolean(type_):
        return array(values, pa.int8()).cast(type_)
    return array(values, type_)


def array(values: Sequence[Any], type_: Any) -> Any:
    """Values as a chunked array of an Arrow type; text that repeats is encoded."""
    if type_ is REPEATED:  # in two steps: the second does not hold the interpreter
        return pa.chunked_array([pa.array(values, pa.string()).dictionary_encode()])
    return pa.chunked_array([pa.array(values, type_)])


def stored_array(column: str, values: Sequence[Any], type_: Any) -> Any:
    """Stored values as a chunked array of an Arrow type.

    Raises:
        ValueError: this column's values are not of its type.
    """
    try:
        return array(values, type_)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{column}: {error}") from error


def coded(column: Any) -> Coded:
    """The codes and values of a dictionary-encoded column."""
    if isinstance(column, Coded):
        return column
    codes, values = numbered(column)
    return Coded(codes, listed(values))


def numbered(column: Any) -> tuple[Numbers, Any]:
    """The codes of a dictionary-encoded column, -1 for none, and its values as an Arrow array.

    Slices of a table share a dictionary: Arrow would go through it again for each of them.
    """
    chunks = column.chunks or [pa.array([], column.type)]
    if not chunks[1:]:
        return _codes(chunks[0]), chunks[0].dictionary
    codes, starts, dictionaries, count = [], {}, [], 0
    for chunk in chunks:
        values, found = chunk.dictionary, _codes(chunk)
        memory = [buffer.address for buffer in values.buffers() if buffer is not None]
        where = *memory, values.offset, len(values)
        if where not in starts:
            starts[where] = count
            dictionaries.append(values)
            count += len(values)
        start = starts[where]
        codes.append(np.where(found < 0, found, found + start) if start else found)
    if not dictionaries[1:]:
        return np.concatenate(codes), dictionaries[0]
    every = pa.chunked_array(dictionaries).dictionary_encode().combine_chunks()
    place = np.append(_codes(every), np.int32(-1))
    return place[np.concatenate(codes)], every.dictionary


def in_one(column: Any) -> Any:
    """A dictionary-encoded column as one array."""
    codes, values = numbered(column)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), values)


def _codes(array: Any) -> Numbers:
    codes = array.indices
    if codes.null_count:
        codes = pc.fill_null(codes, -1)
    return codes.to_numpy()  # type: ignore[no-any-return]


def listed(column: Any) -> list[Any]:
    """The values as objects, None where there is none.

    A fraction of the time of `to_pylist`, which holds the interpreter for all of it.

    Raises:
        ValueError: one of them is no object's.
    """
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return listed(column.cast(type_.value_type))
    if pa.types.is_timestamp(type_):
        times = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).tolist()
        try:
            return [time and time.replace(tzinfo=UTC) for time in times]
        except AttributeError as error:  # of what is beyond all datetimes numpy gives the number
            raise ValueError("a time is before the year 1 or after 9999") from error
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return column.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
    filled = pc.fill_null(column, pa.scalar(0).cast(type_)).to_numpy(zero_copy_only=False).tolist()
    is_given = column.is_valid().to_numpy(zero_copy_only=False).tolist()
    return [value if given else None for value, given in zip(filled, is_given, strict=True)]


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows as dicts."""
    names, columns = table.column_names, [listed(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def places(texts: Any, among: Any) -> Numbers:
    """Where each text of a dictionary-encoded column is among others, -1 where it is not."""
    codes, values = numbered(texts)
    found = pc.index_in(values.cast(among.type), value_set=among.combine_chunks())
    at: Numbers = np.append(pc.fill_null(found, -1).to_numpy(), np.int32(-1))
    return at[codes]


def looked_up(values: Sequence[str | None], at: Numbers) -> Coded:
    """The values at these places; none at -1."""
    different = list(dict.fromkeys(value for value in values if value is not None))
    code = {value: place for place, value in enumerate(different)}
    codes = np.array([*(-1 if v is None else code[v] for v in values), -1], dtype=np.int32)
    return Coded(codes[at], different)  # the last for -1


def filled(column: Coded, other: Coded) -> Coded:
    """A column, with another's values where it has none."""
    if (column.codes >= 0).all():
        return column
    shift = len(column.values)
    other_codes = np.where(other.codes < 0, -1, other.codes + shift)
    codes = np.where(column.codes < 0, other_codes, column.codes).astype(np.int32)
    return merged(Coded(codes, [*column.values, *other.values]))


def merged(column: Coded) -> Coded:
    """The column with each value once."""
    return looked_up(column.values, column.codes)


def _objects(values: list[Any]) -> Numbers:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
