"""Measures on Spark give what they give in pandas: recordings and generated sessions, exported."""

import asyncio
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import TRAILMAP, Recording, unpacked_tar
from test_results import measured

import opencode_sessions as ocs
from benchmarks.generated import generate
from opencode_sessions import analytics, fleet
from opencode_sessions.analytics import RESULTS, Frames
from opencode_sessions.errors import ExportError
from opencode_sessions.exporting import export, read_export

pyspark = pytest.importorskip("pyspark", reason="pip install 'opencode-sessions[spark]'")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)

NAMES = ("sessions", "messages", "tool_calls", "file_events")
# Groups of these span projects: what one project gives is a part.
SPANNING = {
    "overwrites": ["model"],
    "edit_failures": ["model"],
    "scope": ["agent_name"],
    "activity": ["model", "period", "event_type"],
}
PLAIN = {"category": "str", "bool": "boolean", "datetime64[us, Etc/UTC]": "datetime64[us, UTC]"}
PANDAS_3 = "ignore:PySpark does not yet fully support pandas:FutureWarning"
pytestmark = pytest.mark.filterwarnings(PANDAS_3)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = pyspark.sql.SparkSession.builder.master("local[2]")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",  # else a task a file
        "spark.sql.adaptive.enabled": "false",  # it would make one of two so small partitions
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "Asia/Tokyo",  # whatever it is, moments are moments
    }.items():
        builder = builder.config(key, value)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", PANDAS_3.split(":")[1], FutureWarning)
        session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def made(recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """A generated store in which every measure finds something.

    Some of its sessions are of a recording's project, and some of none. They share ten files a
    project, are told of errors as by a language server, and ask for the same again.
    """
    file = tmp_path_factory.mktemp("made") / "made.db"
    generate(file, events=4000, sessions=50)

    async def read() -> Frames:
        async with ocs.open(file) as svc:
            return await svc.frames(progress=False)

    generated = asyncio.run(read())
    trailmap = ocs.read_opencode(recordings[TRAILMAP].database)
    projects = {"0": "/home/dev/a", "1": str(trailmap.sessions["project"].iloc[0]), "2": None}
    for name in NAMES:
        frame = getattr(generated, name)
        tens = frame["project"].astype("str").str.extract(r"project(\d)")[0]
        frame["project"] = tens.map(projects | {"3": "/home/dev/b"}).astype("category")
        frame["origin"] = pd.Categorical(["ben@laptop"] * len(frame))
    events, calls = generated.file_events, generated.tool_calls
    paths = events["file_path"].astype("str")
    events["file_path"] = paths.str.replace(r"part\d+/module\d*(?=\d)", "", regex=True)
    events["file_path"] = events["file_path"].astype("category")
    events["errors_left"] = pd.array([row % 3 for row in range(len(events))], "Int32")
    calls["input_hash"] = pd.array([row % 3 for row in range(len(calls))], "Int64")
    return generated


@pytest.fixture(scope="module")
def company(
    recordings: dict[str, Recording], made: Frames, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Frames]:
    """Every recording and a generated store, exported by two people into one folder, and again.

    The folder's name is one that Spark would take for a pattern.
    """
    recorded = ocs.read_opencode([recording.database for recording in recordings.values()])
    folder = tmp_path_factory.mktemp("company") / "[ses]sions {of}*?"
    export(recorded, folder, exporter="ana")
    export(made, folder, exporter="ben")
    export(ocs.read_opencode(recordings[TRAILMAP].database), folder, exporter="cem")
    return folder, read_export(folder)


@pytest.fixture(scope="module")
def frames(spark: Any, company: tuple[Path, Frames]) -> fleet.Fleet:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", PANDAS_3.split(":")[1], FutureWarning)
        return fleet.read(spark, company[0]).cache()


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order of their own: texts for categories, moments in UTC."""
    plain = table.astype(
        {name: PLAIN.get(str(table[name].dtype), table[name].dtype) for name in table}
    )
    keys = [name for name in plain if plain[name].dtype != "float64"]
    return plain.sort_values(keys, ignore_index=True, kind="stable")


def one_by_one(name: str, frames: Frames, by: list[str]) -> pd.DataFrame:
    """What the measure gives for each group's rows alone, one under the other."""
    groups = frames.sessions[by].astype("str").drop_duplicates()
    texts = {n: getattr(frames, n)[by].astype("str").fillna("") for n in NAMES}
    tables = []
    for group in groups.itertuples(index=False):
        wanted = ["" if pd.isna(value) else value for value in group]
        some = {n: getattr(frames, n)[texts[n].eq(wanted).all(axis=1)] for n in NAMES}
        table = measured(name, Frames(**some))
        for place, (column, value) in enumerate(zip(by, group, strict=True)):
            if column not in table:
                table.insert(place, column, pd.array([value] * len(table), "str"))
        tables.append(rows(table))
    return pd.concat(tables, ignore_index=True)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(rows(found), rows(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_frames_are_those_of_pandas(
    name: str, frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    expected = getattr(company[1], name)
    assert len(expected) > 60
    same(fleet.to_pandas(getattr(frames, name)), expected)


@pytest.mark.parametrize("name", RESULTS)
def test_a_measure_gives_what_it_gives_in_pandas(
    name: str, frames: fleet.Fleet, made: Frames, company: tuple[Path, Frames]
) -> None:
    found = fleet.to_pandas(fleet.run(getattr(analytics, name), frames))
    expected = one_by_one(name, company[1], ["project"])
    assert len(measured(name, made)) > 0
    same(found, expected)


@pytest.mark.parametrize(("name", "by"), SPANNING.items())
def test_parts_add_up_to_the_measure_of_everything(
    name: str, by: list[str], frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    measure: Callable[..., pd.DataFrame] = getattr(analytics, name)
    parts = fleet.run(partial(measure, by=by[0]), frames)
    found = fleet.combine(parts, partial(measure, by=by[0]), by=by)
    expected = measure(company[1].file_events, by=by[0])
    assert len(expected) > 2
    assert set(expected) - set(found) <= {"median_attempts_to_success"}
    same(found, expected[list(found)])


def test_costs_of_sessions_add_up_by_model(
    frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    costs = fleet.run(analytics.session_costs, frames)
    found = fleet.combine(costs, analytics.session_costs, by="model")
    own = fleet.to_pandas(costs).groupby("model", dropna=False)["own_cost_usd"].sum()
    assert found["own_cost_usd"].tolist() == pytest.approx(own.tolist(), abs=1e-9)
    assert "inclusive_cost_usd" not in found  # a subagent's is in its parent's as well


def test_rates_of_cases_over_projects(frames: fleet.Fleet, company: tuple[Path, Frames]) -> None:
    cases = analytics.blind_edits(company[1])
    found = fleet.run(analytics.blind_edits, frames).cache()
    ways: list[str | list[str] | None] = [None, "model", ["project", "tool"]]
    for by in ways:
        same(fleet.rates(found, "is_blind", by), analytics.rates(cases, "is_blind", by))


def test_two_peoples_projects_of_one_name_are_two(
    frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    people = company[1].sessions.groupby("project", observed=True)["origin"].nunique(dropna=False)
    assert people.max() == 2
    by = ["origin", "project"]
    table = fleet.to_pandas(fleet.run(analytics.file_summary, frames, by=by))
    assert next(iter(table)) == "origin"
    same(table, one_by_one("file_summary", company[1], by))


def test_a_group_need_not_be_a_text(frames: fleet.Fleet, company: tuple[Path, Frames]) -> None:
    def many(events: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"many": [len(events)]})

    table = fleet.to_pandas(fleet.run(many, frames, by="is_fork_copy"))
    counted = company[1].file_events["is_fork_copy"].value_counts()
    assert table.set_index("is_fork_copy")["many"].to_dict() == counted.to_dict()


def test_a_measure_of_ones_own_gets_rows_in_their_order(frames: fleet.Fleet) -> None:
    def of_events(events: pd.DataFrame) -> pd.DataFrame:
        is_sorted = events.groupby("session_id", observed=True)["seq"].is_monotonic_increasing
        return pd.DataFrame({"is_sorted": [bool(is_sorted.all())], "rows": [len(events)]})

    def of_frames(frames: Frames) -> pd.DataFrame:
        return of_events(frames.file_events)

    for measure in (of_events, of_frames):
        table = fleet.to_pandas(fleet.run(measure, frames))
        assert table["is_sorted"].all()
        assert table["rows"].sum() == frames.file_events.count()


def test_diffs_and_parts_on_request(
    spark: Any, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    read = ocs.read_opencode(recordings[TRAILMAP].database, diffs=True, parts=True)
    export(read, tmp_path)
    assert "diff" not in fleet.read(spark, tmp_path).file_events.columns
    found = fleet.read(spark, tmp_path, diffs=True, parts=True)
    same(fleet.to_pandas(found.file_events), read.file_events)
    changed = fleet.to_pandas(fleet.run(analytics.file_timeline, found))
    assert changed["diff"].notna().sum() > 100
    assert found.tool_calls.where("input like '{%'").count() == len(read.tool_calls)


def test_what_an_older_version_did_not_write_is_na(
    spark: Any, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    export(ocs.read_opencode(recordings[TRAILMAP].database), tmp_path)
    (file,) = tmp_path.glob("frame=tool_calls/*/*.parquet")
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.drop_columns(["input_hash", "exit_code"]), file)
    calls = fleet.to_pandas(fleet.read(spark, tmp_path).tool_calls)
    assert len(calls) == table.num_rows
    assert calls[["input_hash", "exit_code"]].isna().all(axis=None)


def test_an_export_of_the_first_schema(spark: Any, tmp_path: Path) -> None:
    export = unpacked_tar("export-schema-1", tmp_path) / "export"
    expected = read_export(export)
    for name, frame in fleet.read(spark, export, diffs=True).by_name():
        found = fleet.to_pandas(frame)
        assert len(found) > 0
        same(found, getattr(expected, name)[list(found)])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "cannot be read"),
        (lambda file: file.write_bytes(b""), "cannot be read"),
        (
            lambda file: pq.write_table(
                pq.read_table(file, partitioning=None).replace_schema_metadata(
                    {"opencode_sessions.schema": "2"}
                ),
                file,
            ),
            "is of schema 2",
        ),
    ],
    ids=["cut off", "empty", "newer"],
)
def test_a_file_that_is_damaged_or_newer_is_named(
    damage: Callable[[Path], None],
    says: str,
    spark: Any,
    recordings: dict[str, Recording],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    read = ocs.read_opencode(recordings[TRAILMAP].database)
    export(read, tmp_path)
    (file,) = tmp_path.glob("frame=tool_calls/*/*.parquet")
    damage(file)
    with pytest.raises(ExportError, match=says) as error:
        fleet.read(spark, tmp_path)
    assert str(file) in str(error.value)
    with pytest.raises(ocs.ExportError, match="'raise' or 'log', not 'skip'"):
        fleet.read(spark, tmp_path, on_damage="skip")  # type: ignore[arg-type]
    rest = fleet.read(spark, tmp_path, on_damage="log")
    assert str(file) in caplog.text
    assert rest.tool_calls.count() == 0
    assert rest.file_events.count() == len(read.file_events)
    (file,) = tmp_path.glob("frame=sessions/*/*.parquet")
    damage(file)
    assert fleet.read(spark, tmp_path, on_damage="log").sessions.count() == 0


def test_a_page_that_is_damaged_is_named_when_it_is_read(
    spark: Any, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    export(ocs.read_opencode(recordings[TRAILMAP].database), tmp_path)
    (file,) = tmp_path.glob("frame=tool_calls/*/*.parquet")
    page = pq.read_metadata(file).row_group(0).column(0)
    data = bytearray(file.read_bytes())
    data[page.data_page_offset + page.total_compressed_size // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(Exception, match=file.name):
        fleet.to_pandas(fleet.read(spark, tmp_path).tool_calls)


def test_no_export(spark: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no Parquet export"):
        fleet.read(spark, tmp_path)
    with pytest.raises(ExportError, match="no Parquet export"):
        fleet.read(spark, tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file"):
        fleet.read(spark, tmp_path / "file")


def test_what_cannot_be_grouped_or_added_says_what_can(frames: fleet.Fleet) -> None:
    with pytest.raises(ValueError, match=r"sessions has no 'turn'.*origin"):
        fleet.run(analytics.blind_edits, frames, by="turn")
    with pytest.raises(ValueError, match=r"timedelta64\[us\] goes to Spark"):
        fleet.run(lambda events: pd.DataFrame({"took": events["time"].diff()}), frames)
    with pytest.raises(ValueError, match="gave a Series, and no DataFrame"):
        fleet.run(lambda events: events["time"], frames)
    with pytest.raises(ValueError, match="takes neither `events` nor `frames`"):
        fleet.run(pd.DataFrame, frames)
    table = fleet.run(analytics.blind_edits, frames)
    with pytest.raises(ValueError, match=r"These do: activity, .*overwrites.*`fleet\.rates`"):
        fleet.combine(table, analytics.blind_edits, by="model")
    with pytest.raises(ValueError, match="no 'nothing'"):
        fleet.rates(table, "nothing")
