"""Rows as PostgreSQL's COPY writes them, as Arrow columns."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ..store import Copied

# What COPY writes in a text, and what it means: first what are backslashes themselves, which in the
# meantime are what no text of PostgreSQL's has.
ESCAPES = [
    (r"\\", "\0"),
    *((rf"\{letter}", meant) for letter, meant in zip("nrtbfv", "\n\r\t\b\f\v", strict=True)),
    ("\0", "\\"),
]


def copied(batch: Copied, types: Mapping[str, Any]) -> Any:
    """Rows as a table of these columns.

    Raises:
        pa.ArrowException: a value is not of its column's type.
    """
    table = csv.read_csv(
        pa.BufferReader(batch.rows),
        csv.ReadOptions(
            column_names=batch.columns,
            block_size=len(batch.rows),  # however long a row is
            use_threads=False,
        ),
        csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=types,
            null_values=[r"\N"],
            strings_can_be_null=True,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    columns = [[_unescaped(chunk) for chunk in column.chunks] for column in table.columns]
    return pa.table(list(map(pa.chunked_array, columns)), table.schema)


def _unescaped(values: Any) -> Any:
    """What COPY has written, with texts as they were."""
    if pa.types.is_dictionary(values.type):
        return pa.DictionaryArray.from_arrays(values.indices, _unescaped(values.dictionary))
    if (
        values.type not in (pa.large_string(), pa.string())
        or b"\\" not in values.buffers()[2].to_pybytes()
    ):
        return values
    is_written = pc.match_substring(values, "\\")
    texts = values.filter(is_written)
    for written, meant in ESCAPES:
        texts = pc.replace_substring(texts, written, meant)
    return pc.replace_with_mask(values, is_written, texts)
