"""Measures over a company's sessions: pandas in one process, Spark in local mode, as they grow.

    python -m benchmarks.fleet [millions of events ...]

An export of a million made-up events is written and multiplied, each copy other projects of other
people. Each contender reads it and runs three measures in a process of its own: seconds, and the
most memory it had resident, Spark's with its JVM and its workers.
"""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.measures import frames as made
from benchmarks.measuring import in_child, show
from opencode_sessions import analytics, fleet
from opencode_sessions.exporting import export, read_export

MILLIONS = (1, 5, 10, 20)
MEASURES = ("overwrites", "blind_edits", "session_costs")
OWN = (  # what differs from one copy to the next
    *("session_id", "opencode_session_id", "root_session_id", "parent_session_id", "project"),
    *("message_id", "opencode_message_id", "event_id", "tool_call_id", "origin"),
)
DRIVER_MEMORY = "6g"
SAMPLE_S = 0.2


def multiply(folder: Path, have: int, want: int) -> None:
    """Adds copies of an export of one million until it holds this many."""
    originals = [
        file for file in folder.glob("frame=*/day=*/*.parquet") if "-copy" not in file.stem
    ]
    for copy in range(have, want):
        for file in originals:
            table = pq.read_table(file, partitioning=None)
            for column in set(OWN) & set(table.column_names):
                texts = table[column].cast(pa.large_string())
                end, between = (pa.scalar(text, texts.type) for text in (f"+{copy}", ""))
                named = pc.binary_join_element_wise(texts, end, between)
                table = table.set_column(table.column_names.index(column), column, named)
            pq.write_table(table, file.with_stem(f"{file.stem}-copy{copy:03}"), compression="zstd")


def with_pandas(folder: Path) -> dict[str, float]:
    """Seconds for reading everything and for each measure, in one process."""
    took = {}
    started = time.perf_counter()
    frames = read_export(folder)
    took["read"] = time.perf_counter() - started
    for name in MEASURES:
        started = time.perf_counter()
        measure: Callable[..., Any] = getattr(analytics, name)
        measure(frames.file_events if name == "overwrites" else frames)
        took[name] = time.perf_counter() - started
    return took


def with_spark(folder: Path) -> dict[str, float]:
    """Seconds for starting and for each measure, each reading what it needs."""
    from pyspark.sql import SparkSession

    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    took = {}
    started = time.perf_counter()
    builder = SparkSession.builder.master("local[2]")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",  # else a task a file
        "spark.log.level": "ERROR",
        "spark.local.dir": str(folder.parent / "spark"),
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    frames = fleet.read(spark, folder)
    took["read"] = time.perf_counter() - started
    for name in MEASURES:
        started = time.perf_counter()
        table = fleet.run(getattr(analytics, name), frames)
        table.write.format("noop").mode("overwrite").save()
        took[name] = time.perf_counter() - started
    spark.stop()
    return took


def measured(work: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    """What it took, with the peak of the memory of this process and those it started."""
    peak, is_over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(SAMPLE_S):
            peak = max(peak, _resident_gb())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    took = work(folder)
    is_over.set()
    watching.join()
    return took | {"total": sum(took.values()), "peak GB": peak}


def _resident_gb() -> float:
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # a worker that has just ended
            continue
    return total / 1e9


def main() -> None:
    """Runs it at each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("millions", nargs="*", type=int, default=list(MILLIONS))
    sizes = sorted(parser.parse_args().millions)
    home = Path(tempfile.mkdtemp(prefix="fleet"))
    try:
        folder = home / "sessions"
        in_child(_export, folder)
        rows, have = [], 1
        for millions in sizes:
            multiply(folder, have, millions)
            have = max(have, millions)
            for title, work in (("pandas", with_pandas), ("Spark local[2]", with_spark)):
                took = in_child(measured, work, folder)
                rows.append([f"{millions} M, {title}", *(f"{v:.1f}" for v in took.values())])
                print(*rows[-1], flush=True)
        head = ["events", "read", *MEASURES, "total s", "peak GB"]
        show("Measures over a company's sessions", head, rows)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _export(folder: Path) -> None:
    export(made(1_000_000), folder, exporter="made")


if __name__ == "__main__":
    main()
