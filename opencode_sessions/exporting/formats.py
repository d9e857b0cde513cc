"""A table as the bytes of a file, and back: Parquet, JSON lines and CSV, nothing lost in any.

In CSV an empty text is "" and a missing one is nothing. A spreadsheet takes a cell that begins with
=, +, -, @ or white space for a formula, and an agent may have written it: such a text gets an
apostrophe in front, and so does one that begins with an apostrophe, so that reading takes away
exactly what was added. Numbers stay as they are.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ..analytics.arrow import REPEATED, TEXT, TYPES
from ..analytics.columns import TIME
from .layout import COLUMNS_KEY, METADATA, encoded

Format = Literal["parquet", "jsonl", "csv"]
MAY_BE_A_FORMULA = "^[=+\\-@\\t\\r\\n'＝＋－＠]"  # noqa: RUF001 (a Japanese Excel obeys these)
APOSTROPHE, NOTHING = pa.scalar("'", TEXT), pa.scalar("", TEXT)
BATCH = 10_000  # rows as Python objects at once
LARGEST_BLOCK = 2**30  # bytes of CSV that Arrow reads at once: a cell must fit

Types = dict[str, Any]


def to_parquet(table: pa.Table, more: Mapping[bytes, bytes] | None = None) -> pa.Buffer:
    """Parquet, with the versions of the schema and of this package in its metadata, and `more`.

    What repeats is written with the values that these rows have, and with none that only others
    had. Its pages have checksums, and as they leave out what the file says of itself, the names of
    its columns are said twice: a column of another name would be taken for one that is missing.
    """
    sink = pa.BufferOutputStream()
    said = {**METADATA, COLUMNS_KEY: ",".join(table.column_names).encode(), **(more or {})}
    columns = {name: _with_own_values(table[name]) for name in table.column_names}
    table = pa.table(columns).replace_schema_metadata(said)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def from_parquet(data: bytes, repeated: list[str]) -> pa.Table:
    """The table of a Parquet file, with its metadata; `repeated` are read as dictionaries.

    Raises:
        pyarrow.ArrowException: it is none, or damaged.
        ValueError: it is damaged.
    """
    reader = pa.BufferReader(data)
    said = pq.read_metadata(reader)
    check_columns(said.schema.to_arrow_schema())
    names = {*said.schema.names}
    there = [name for name in repeated if name in names]
    with pq.ParquetFile(
        reader, metadata=said, read_dictionary=there, page_checksum_verification=True
    ) as file:
        table = file.read(use_threads=False)  # files are read at once, not columns
    table.validate(full=True)
    return table


def _with_own_values(values: Any) -> Any:
    """A column whose dictionary, if it has one, has the values of these rows alone."""
    if not pa.types.is_dictionary(values.type):
        return values
    whole = values.unify_dictionaries().combine_chunks()
    own = whole.indices.unique().drop_null()
    codes = pc.index_in(whole.indices, value_set=own)
    return pa.DictionaryArray.from_arrays(codes, whole.dictionary.take(own))


def check_columns(schema: pa.Schema) -> None:
    """Whether a Parquet file's columns have the names they were written with, if it says so.

    Raises:
        ValueError: one is missing and there is another instead.
    """
    said = (schema.metadata or {}).get(COLUMNS_KEY)
    if said is not None:
        names, written = {*schema.names}, {*said.decode(errors="replace").split(",")}
        if (new := names - written) and (missing := written - names):
            raise ValueError(f"it has {', '.join(sorted(new))} for {', '.join(sorted(missing))}")


def to_jsonl(table: pa.Table, json: set[str]) -> Iterator[bytes]:
    """One object a line; times in ISO 8601, UTC; the columns in `json` as what they say."""
    table = pa.table({name: _plain(table[name]) for name in table.column_names})
    for batch in table.to_batches(BATCH):
        rows = batch.to_pylist()
        for row in rows:
            for name in json & row.keys():
                row[name] = None if row[name] is None else orjson.Fragment(row[name])
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def from_jsonl(data: bytes, types: Types, json: set[str]) -> pa.Table:
    """The table of JSON lines.

    Raises:
        ValueError: a line is no object of these columns; the message has its number.
    """
    chunks: dict[str, list[Any]] = {name: [] for name in types}
    lines = data.split(b"\n")[:-1]
    for start in range(0, len(lines), BATCH):
        rows = [
            _row(line, number)
            for number, line in enumerate(lines[start : start + BATCH], start + 1)
        ]
        for name, type_ in types.items():
            values = [row.get(name) for row in rows]
            if name in json:
                values = [
                    None if value is None else orjson.dumps(value).decode() for value in values
                ]
            chunks[name].extend(_typed(values, type_, start + 1))
    if data and not data.endswith(b"\n"):
        raise ValueError(f"line {len(lines) + 1} has no end")
    return pa.table({name: pa.chunked_array(chunks[name], type_) for name, type_ in types.items()})


def to_csv(table: pa.Table) -> pa.Buffer:
    """CSV with a line of names, in which no text is a formula."""
    columns = {
        name: _defused(values) if pa.types.is_large_string(values.type) else values
        for name in table.column_names
        for values in [_plain(table[name], keep_times=True)]
    }
    sink = pa.BufferOutputStream()
    pacsv.write_csv(pa.table(columns), sink)
    return sink.getvalue()


def from_csv(data: bytes, types: Types) -> pa.Table:
    """The table of a CSV file that `to_csv` has made.

    Raises:
        pyarrow.ArrowException: it is none, or damaged.
    """
    plain = {name: TEXT if type_ == REPEATED else type_ for name, type_ in types.items()}
    table = pacsv.read_csv(
        io.BytesIO(data),
        read_options=pacsv.ReadOptions(block_size=min(max(2**20, len(data) + 1), LARGEST_BLOCK)),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=plain,
            include_columns=list(types),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return pa.table(
        {
            name: _as(_exact(table[name]), type_) if plain[name] == TEXT else table[name]
            for name, type_ in types.items()
        }
    )


def _plain(values: Any, *, keep_times: bool = False) -> Any:
    """Text as text, however it is kept; times as ISO 8601."""
    if pa.types.is_dictionary(values.type):
        return values.cast(TEXT)
    if pa.types.is_timestamp(values.type) and not keep_times:
        return pc.replace_substring(values.cast(TEXT), " ", "T")
    return values


def _defused(texts: Any) -> Any:
    is_formula = pc.match_substring_regex(texts, MAY_BE_A_FORMULA)
    return pc.if_else(is_formula, pc.binary_join_element_wise(APOSTROPHE, texts, NOTHING), texts)


def _exact(texts: Any) -> Any:
    return pc.if_else(pc.starts_with(texts, "'"), pc.utf8_slice_codeunits(texts, 1), texts)


def _as(texts: Any, type_: Any) -> Any:
    return encoded(texts) if type_ == REPEATED else texts


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"line {number} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no object")
    return row


def _typed(values: list[Any], type_: Any, first: int) -> list[Any]:
    try:
        if type_ == REPEATED:
            return [encoded(pa.array(values, TEXT))]
        if type_ == TYPES[TIME]:
            return [pa.array(values, TEXT).cast(type_)]
        return [pa.array(values, type_)]
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise ValueError(f"after line {first}: {error}") from error


WRITERS: dict[str, Callable[[pa.Table, set[str]], Any]] = {
    "jsonl": lambda table, json: b"".join(to_jsonl(table, json)),
    "csv": lambda table, _json: to_csv(table),
}
READERS: dict[str, Callable[[bytes, Types, set[str]], pa.Table]] = {
    "jsonl": from_jsonl,
    "csv": lambda data, types, _json: from_csv(data, types),
}
