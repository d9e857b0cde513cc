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
from conftest import TRAILMAP, Recording
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
SPANNING = {"overwrites": "model", "edit_failures": "model", "scope": "agent_name"}
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
def company(
    recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Frames]:
    """Every recording and a generated store, exported by two people into one folder, and again."""
    home = tmp_path_factory.mktemp("company")
    databases = [recording.database for recording in recordings.values()]
    recorded = ocs.read_opencode(databases)
    generate(home / "made.db", events=4000, sessions=50)

    async def made() -> Frames:
        async with ocs.open(home / "made.db") as svc:
            return await svc.frames(progress=False)

    generated = asyncio.run(made())
    folder = home / "sessions"
    export(recorded, folder, exporter="ana")
    export(generated, folder, exporter="ben")
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


def of_each_project(name: str, frames: Frames) -> pd.DataFrame:
    """What the measure gives for each project's rows alone, one under the other."""
    tables = []
    for project in frames.sessions["project"].unique():
        some = Frames(
            **{n: one[one["project"] == project] for n in NAMES for one in [getattr(frames, n)]}
        )
        table = measured(name, some)
        if "project" not in table:
            table.insert(0, "project", project)
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
    name: str, frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    found = fleet.to_pandas(fleet.run(getattr(analytics, name), frames))
    expected = of_each_project(name, company[1])
    assert len(expected) > 0 or name == "diagnostics"
    same(found, expected)


@pytest.mark.parametrize(("name", "by"), SPANNING.items())
def test_parts_add_up_to_the_measure_of_everything(
    name: str, by: str, frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    measure: Callable[..., pd.DataFrame] = getattr(analytics, name)
    parts = fleet.run(partial(measure, by=by), frames)
    found = fleet.combine(parts, measure, by=by)
    expected = measure(company[1].file_events, by=by)
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


@pytest.mark.parametrize("by", [None, "model", ["project", "tool"]])
def test_rates_of_cases_over_projects(
    by: str | list[str] | None, frames: fleet.Fleet, company: tuple[Path, Frames]
) -> None:
    cases = analytics.blind_edits(company[1])
    found = fleet.rates(fleet.run(analytics.blind_edits, frames), "is_blind", by)
    same(found, analytics.rates(cases, "is_blind", by))


def test_two_peoples_projects_of_one_name_are_two(frames: fleet.Fleet) -> None:
    by = ["origin", "project"]
    table = fleet.run(analytics.session_summary, frames, by=by)
    assert table.columns[0] == "origin"
    assert table.count() == frames.sessions.count()


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
    rest = fleet.read(spark, tmp_path, on_damage="log")
    assert str(file) in caplog.text
    assert rest.tool_calls.count() == 0
    assert rest.file_events.count() == len(read.file_events)


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
    table = fleet.run(analytics.blind_edits, frames)
    with pytest.raises(ValueError, match=r"These do: activity, .*overwrites.*`fleet\.rates`"):
        fleet.combine(table, analytics.blind_edits, by="model")
    with pytest.raises(ValueError, match="no 'nothing'"):
        fleet.rates(table, "nothing")
