"""An export as Spark frames: every session once, whatever version of the package wrote it."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..analytics.columns import COLUMNS
from ..errors import ExportError
from ..exporting.folders import Folder, each, folder_at
from ..exporting.layout import AS_OF, EXPORTED
from ..exporting.reading_back import OnDamage, check_file, check_on_damage, parquet_files
from ..store import TableName
from .types import spark_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("opencode_sessions")
PATTERN = re.compile(r"[][{}*?\\]")  # what Spark takes for more than itself in a path
EXPORT = {EXPORTED: "string", AS_OF: "timestamp"}


@dataclass(frozen=True, slots=True)
class Fleet:
    """The four frames of many people's sessions as Spark DataFrames, their columns as in `Frames`.

    Like any Spark DataFrame they are read when something asks for their rows, each time anew;
    `cache()` keeps them.
    """

    sessions: "DataFrame"
    messages: "DataFrame"
    tool_calls: "DataFrame"
    file_events: "DataFrame"

    def cache(self) -> "Fleet":
        """The same, kept by Spark once read."""
        return Fleet(**{name: frame.cache() for name, frame in self.by_name()})

    def by_name(self) -> Iterator[tuple[TableName, "DataFrame"]]:
        """The four frames with their names."""
        return ((name, getattr(self, name)) for name in COLUMNS)


def read(
    spark: "SparkSession",
    place: str | os.PathLike[str],
    *,
    diffs: bool = False,
    parts: bool = False,
    on_damage: OnDamage = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> Fleet:
    """What exporters have written to a folder, of all of them, each session once.

    Of a session that several exports have, the one that knows most of it counts, as `read_export`
    has it. Columns that an older version did not write are NA in its rows.

    Args:
        spark: the Spark session to read with.
        place: the folder, or its URL as Spark and fsspec both know it (s3a://, gs://, ...).
        diffs: with `file_events.diff`, where it was exported; else NA.
        parts: with `messages.parts` and `tool_calls.input`, as JSON text.
        on_damage: what to do with a file that is cut off, or of a newer schema: "raise", or "log"
            it and give the rest.
        storage_options: what fsspec is to be told for looking into the files' ends.

    Raises:
        ExportError: there is no Parquet export, or a file of it cannot be read; it names the file.
    """
    check_on_damage(on_damage)
    folder = folder_at(place, storage_options)
    optional = {"diff"} if diffs else set()
    optional |= {"parts", "input"} if parts else set()
    # Sessions are listed first: an exporter writes theirs last, so that theirs tell what is whole.
    found = {name: _frame(spark, folder, name, optional, on_damage) for name in COLUMNS}
    latest = _latest(found["sessions"])
    key = ["session_id", EXPORTED]
    chosen = latest.select(key)

    def whole(name: TableName) -> "DataFrame":
        """The rows that count of a frame, its columns in their own order."""
        frame = latest if name == "sessions" else found[name].join(chosen, key, "left_semi")
        return frame.select([column for column in found[name].columns if column not in EXPORT])

    return Fleet(**{name: whole(name) for name in COLUMNS})


def _frame(
    spark: "SparkSession",
    folder: Folder,
    name: TableName,
    optional: set[str],
    on_damage: OnDamage,
) -> "DataFrame":
    there = parquet_files(folder, name)
    if name == "sessions" and not there:
        raise ExportError(
            f"There is no Parquet export in {folder.place}: it has no frame=sessions. "
            "`opencode-sessions export --to FOLDER` makes one."
        )
    files = _sound(folder, there, on_damage)
    columns = {
        column.name: spark_type(column.dtype)
        for column in COLUMNS[name]
        if not column.is_optional or column.name in optional
    }
    columns |= {EXPORTED: EXPORT[EXPORTED]} if name != "sessions" else EXPORT
    schema = ", ".join(f"`{column}` {type_}" for column, type_ in columns.items())
    places = [PATTERN.sub(r"\\\g<0>", folder.url(file)) for file in files]
    reader = spark.read.schema(schema).option("parquet.page.verify-checksum.enabled", True)
    frame = reader.parquet(*places) if places else spark.createDataFrame([], schema)
    return frame.select(*columns)


def _sound(folder: Folder, files: list[str], on_damage: OnDamage) -> list[str]:
    """The files that are whole and of a schema we know, by what their ends say."""

    def problem(file: str) -> ExportError | None:
        try:
            check_file(folder, file)
        except ExportError as error:
            return error
        return None

    problems = list(each(folder, files, problem))
    for error in filter(None, problems):
        if on_damage == "raise":
            raise error
        log.warning("passed over: %s", error)
    return [file for file, error in zip(files, problems, strict=True) if error is None]


def _latest(sessions: "DataFrame") -> "DataFrame":
    """Each session as the export has it that knows most of it."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    session = sql.coalesce("opencode_session_id", "session_id")
    latest_first = sql.col(AS_OF).desc_nulls_last(), sql.col(EXPORTED).desc()
    place = sql.row_number().over(Window.partitionBy(session).orderBy(*latest_first))
    return sessions.withColumn("place", place).where("place = 1").drop("place")
