"""Measures over a company's sessions: pandas in one process, Spark in local mode, as they grow.

    python -m benchmarks.fleet [millions of events ...] [--gigabytes 16] [--minutes 30]

An export of a million made-up events is written and multiplied, each copy other projects of other
people. Each contender reads it and runs two measures, one of the events alone and one of all four
frames, in a process of its own: seconds, and the most memory it had resident, Spark's with its JVM
and its workers. One that takes more than it may is stopped, and its row says at what.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.measures import frames as made
from benchmarks.measuring import in_child, show
from opencode_sessions import analytics, fleet
from opencode_sessions.exporting import export, read_export

MILLIONS = (1, 2, 5, 10, 20)
MEASURES = ("overwrites", "blind_edits")
STEPS = ("read", *MEASURES)
OWN = (  # what differs from one copy to the next
    *("session_id", "opencode_session_id", "root_session_id", "parent_session_id", "project"),
    *("message_id", "opencode_message_id", "event_id", "tool_call_id", "origin"),
)
DRIVER_MEMORY = "6g"
SAMPLE_S = 0.5


Work = Callable[[Path], Iterator[str]]


class Took(NamedTuple):
    """What a contender took: seconds of each step it came to, and gigabytes at the peak."""

    steps: dict[str, float]
    cpu_s: float
    """Of all its processes: what others on the machine do adds to seconds, and hardly to these."""
    peak_gb: float
    stopped: str
    """At what it was stopped, if it was."""


def multiply(folder: Path, have: int, want: int) -> None:
    """Adds copies of an export of one million until it holds this many."""
    originals = [
        file for file in folder.glob("frame=*/day=*/*.parquet") if "-copy" not in file.stem
    ]
    for copy in range(have, want):
        for file in originals:
            table = pq.read_table(file, partitioning=None)
            for column in set(OWN) & set(table.column_names):
                named = _named(table[column].combine_chunks(), copy)
                table = table.set_column(table.column_names.index(column), column, named)
            pq.write_table(table, file.with_stem(f"{file.stem}-copy{copy:03}"), compression="zstd")


def _named(texts: Any, copy: int) -> Any:
    if pa.types.is_dictionary(texts.type):
        return pa.DictionaryArray.from_arrays(texts.indices, _named(texts.dictionary, copy))
    end, between = (pa.scalar(text, texts.type) for text in (f"+{copy}", ""))
    return pc.binary_join_element_wise(texts, end, between)


def with_pandas(folder: Path) -> Iterator[str]:
    """Reads everything, then measures, all in one process; says when each step is done."""
    frames = read_export(folder)
    yield "read"
    for name in MEASURES:
        measure: Callable[..., Any] = getattr(analytics, name)
        measure(frames.file_events if name == "overwrites" else frames)
        yield name


def with_spark(folder: Path) -> Iterator[str]:
    """Starts, then measures, each reading what it needs."""
    from pyspark.sql import SparkSession

    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master("local[2]")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
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
    yield "read"
    for name in MEASURES:
        table = fleet.run(getattr(analytics, name), frames)
        table.write.format("noop").mode("overwrite").save()
        yield name
    spark.stop()


CONTENDERS: dict[str, Work] = {"pandas": with_pandas, "Spark local[2]": with_spark}


def measured(work: Work, folder: Path, most_gb: float, most_minutes: float) -> Took:
    """What it took in a process of its own, with those that it started."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_tell, args=(work, folder, theirs))
    child.start()
    theirs.close()
    steps: dict[str, float] = {}
    used: dict[int, float] = {}
    peak, stopped, began = 0.0, "", time.perf_counter()
    while not stopped and len(steps) < len(STEPS):
        if ours.poll(SAMPLE_S):
            try:
                steps |= ours.recv()
            except EOFError:
                stopped = "an error"
        resident = 0
        for process in _family(child.pid):
            try:
                resident += process.memory_info().rss
                used[process.pid] = sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:  # a worker that has just ended
                continue
        peak = max(peak, resident / 1e9)
        if peak > most_gb:
            stopped = f"{most_gb:g} GB"
        elif time.perf_counter() - began > most_minutes * 60:
            stopped = f"{most_minutes:g} min"
    if stopped:
        for process in _family(child.pid):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
    child.join()
    return Took(steps, sum(used.values()), peak, stopped)


def _tell(work: Work, folder: Path, where: Any) -> None:
    started = time.perf_counter()
    for step in work(folder):
        where.send({step: time.perf_counter() - started})
        started = time.perf_counter()


def _family(pid: int | None) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def row(millions: int, title: str, took: Took, first: dict[str, float]) -> list[str]:
    """A line of the table; `first` has each contender's CPU seconds a million at the first size."""
    seconds = [f"{took.steps[step]:.1f}" if step in took.steps else "" for step in STEPS]
    line = [f"{millions} M, {title}", *seconds]
    if took.stopped:
        return [*line, f"stopped at {took.stopped}", f"{took.cpu_s:.0f}", "", f"{took.peak_gb:.1f}"]
    total, a_million = sum(took.steps.values()), took.cpu_s / millions
    growth = a_million / first.setdefault(title, a_million)
    return [*line, f"{total:.1f}", f"{took.cpu_s:.0f}", f"{growth:.2f}", f"{took.peak_gb:.1f}"]


def main() -> None:
    """Runs it at each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("millions", nargs="*", type=int, default=list(MILLIONS))
    parser.add_argument("--gigabytes", type=float, default=16, help="at which one is stopped")
    parser.add_argument("--minutes", type=float, default=30, help="after which one is stopped")
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="fleet"))
    try:
        folder = home / "sessions"
        in_child(_export, folder)
        rows, have = [], 1
        first: dict[str, float] = {}
        for millions in sorted(asked.millions):
            multiply(folder, have, millions)
            have = max(have, millions)
            for title, work in CONTENDERS.items():
                took = measured(work, folder, asked.gigabytes, asked.minutes)
                rows.append(row(millions, title, took, first))
                print(*rows[-1], sep="  ", flush=True)
        head = ["events", *STEPS, "total s", "CPU s", "a million's x", "peak GB"]
        show("Measures over a company's sessions", head, rows)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _export(folder: Path) -> None:
    export(made(1_000_000), folder, exporter="made")


if __name__ == "__main__":
    main()
