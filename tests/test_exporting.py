"""Exports: what was written is what is read, whoever else writes and whatever breaks on the way."""

import asyncio
import csv
import getpass
import hashlib
import json
import multiprocessing
import platform
import random
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any, cast
from uuid import uuid4

import pandas as pd
import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import RECORDINGS, TRAILMAP, TREES, Recording, unpacked_tar
from handmade import example
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.analytics.arrow import REPEATED
from opencode_sessions.analytics.columns import COLUMNS, Column
from opencode_sessions.cli import app
from opencode_sessions.exporting import folders, formats
from opencode_sessions.exporting.formats import Format
from opencode_sessions.exporting.tables import frame_of, table_of
from opencode_sessions.opening import default_database

NAMES = ("sessions", "messages", "tool_calls", "file_events")
FORMATS: tuple[Format, ...] = ("parquet", "jsonl", "csv")


def assert_equal(left: Frames, right: Frames) -> None:
    for name in NAMES:
        assert_frame_equal(getattr(left, name), getattr(right, name), obj=name)


def without_texts(frames: Frames) -> Frames:
    return Frames(
        frames.sessions,
        frames.messages.drop(columns="parts"),
        frames.tool_calls.drop(columns="input"),
        frames.file_events.drop(columns="diff"),
    )


def of_sessions(frames: Frames, ids: Any) -> Frames:
    """The rows of some sessions, with only their categories."""
    chosen = {}
    for name in NAMES:
        frame = getattr(frames, name)
        frame = frame[frame["session_id"].isin(list(ids))].reset_index(drop=True)
        fixed = ("event_type", "status", "evidence", "actor")
        for column in frame.select_dtypes("category"):
            if column not in fixed:
                frame[column] = frame[column].cat.remove_unused_categories()
        chosen[name] = frame
    return Frames(**chosen)


@pytest.fixture(scope="session")
def small(recordings: dict[str, Recording]) -> Frames:
    """A few sessions with texts, quick to write."""
    return ocs.read_opencode(recordings["opencode-1.18.33"].database, diffs=True, parts=True)


# Back as it was


@pytest.mark.parametrize("name", [*RECORDINGS, *TREES])
def test_what_was_written_is_what_is_read(
    name: str,
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
    tmp_path: Path,
) -> None:
    database = {**recordings, **trees}[name].database
    with_texts = ocs.read_opencode(database, diffs=True, parts=True)
    for number, frames in enumerate((with_texts, without_texts(with_texts))):
        assert len(frames.messages)
        for format in FORMATS:
            target = tmp_path / f"{format}-{number}"
            report = ocs.export(frames, target, format)
            assert report.rows == {name: len(getattr(frames, name)) for name in NAMES}
            assert_equal(ocs.read_export(target), frames)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("with_texts", [False, True])
async def test_nothing_is_read_as_nothing(format: Format, with_texts: bool, tmp_path: Path) -> None:
    async with ocs.OpencodeSessionService() as svc:
        frames = await svc.frames(diffs=with_texts, parts=with_texts)
        await ocs.export(svc, tmp_path / "svc", format, diffs=with_texts, parts=with_texts)
    ocs.export(frames, tmp_path / "frames", format)
    assert_equal(ocs.read_export(tmp_path / "frames"), frames)
    assert_equal(ocs.read_export(tmp_path / "svc"), frames)


@pytest.mark.parametrize("format", FORMATS)
async def test_service_is_written_as_its_frames_are(
    format: Format, in_memory: ocs.OpencodeSessionService, on_file: Path, tmp_path: Path
) -> None:
    frames = await in_memory.frames(diffs=True)
    async with ocs.open(on_file) as svc:
        await ocs.export(svc, tmp_path, format, diffs=True)
    assert_equal(ocs.read_export(tmp_path), frames)
    assert set(frames.file_events["origin"]) == {"ana"}


async def test_store_is_read_piece_by_piece(
    in_memory: ocs.OpencodeSessionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencode_sessions.exporting.ROWS", 400)
    monkeypatch.setattr("opencode_sessions.exporting.writing.ROWS", 100)
    report = await ocs.export(in_memory, tmp_path)
    assert report.files >= 4 * 6
    assert_equal(ocs.read_export(tmp_path), await in_memory.frames())


async def test_one_project_alone(recordings: dict[str, Recording], tmp_path: Path) -> None:
    async with ocs.OpencodeSessionService() as svc:
        for name in (TRAILMAP, "opencode-1.18.33"):
            await svc.import_opencode(recordings[name].database, progress=False)
        frames = await svc.frames(project="trailmap")
        for format in FORMATS:
            await ocs.export(svc, tmp_path / format, format, project="trailmap")
            assert_equal(ocs.read_export(tmp_path / format), frames)
    assert 0 < len(frames.sessions) < 40


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": ANY_TEXT | ANY_TEXT.map(lambda text: f"={text}"),
    "category": ANY_TEXT,
    "Int32": st.integers(-(2**31), 2**31 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "datetime64[us, UTC]": st.datetimes(
        pd.Timestamp("1900-01-01").to_pydatetime(), pd.Timestamp("2200-01-01").to_pydatetime()
    ).map(lambda at: pd.Timestamp(at, tz="UTC")),
    "object": JSON.filter(lambda value: value is not None),
}


@given(st.fixed_dictionaries({dtype: st.none() | values for dtype, values in VALUES.items()}))
@settings(max_examples=50)
def test_any_value_comes_back(values: dict[str, Any]) -> None:
    """Sessions, and messages with texts, of which each column holds any value of its dtype."""
    for name in ("sessions", "messages"):
        frame = pd.DataFrame(
            {column.name: _holding(column, values) for column in COLUMNS[cast("Any", name)]}
        )
        table = table_of(cast("Any", name), frame)
        json_columns = {"parts"} & {*frame}
        types = {column: table.schema.field(column).type for column in table.column_names}
        types |= {n: REPEATED for n, t in types.items() if pa.types.is_dictionary(t)}
        lines = b"".join(formats.to_jsonl(table, json_columns))
        for back in (
            formats.from_parquet(formats.to_parquet(table).to_pybytes(), []),
            formats.from_jsonl(lines, types, json_columns),
            formats.from_csv(formats.to_csv(table).to_pybytes(), types),
        ):
            assert_frame_equal(frame_of(cast("Any", name), back), frame)


def _holding(column: Column, values: dict[str, Any]) -> Any:
    value = values.get(column.dtype, True)
    if column.dtype == "category":
        categories = pd.Index([] if value is None else [value], dtype="str")
        return pd.Categorical([value], dtype=pd.CategoricalDtype(categories))
    return pd.array([value], dtype=cast("Any", column.dtype))


# CSV and JSON lines as others see them


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=1", "＝1", "'quoted", "''", "a=1", ""]  # noqa: RUF001


def test_no_text_is_a_formula(small: Frames, tmp_path: Path) -> None:
    events = small.file_events.head(len(FORMULAS)).copy()
    events["command"] = pd.array(FORMULAS, dtype="str")
    events["error"] = pd.array([None, *FORMULAS[1:]], dtype="str")
    frames = Frames(small.sessions, small.messages, small.tool_calls, events)
    ocs.export(frames, tmp_path, "csv")
    with (tmp_path / "file_events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [c.name for c in COLUMNS["file_events"] if c.dtype in ("str", "category")]
    for row in rows:
        assert not [t for t in texts if row[t].startswith(tuple("=+-@\t\r\n＝"))]  # noqa: RUF001
    assert [row["command"] for row in rows][:3] == ["'=1+1", "'+1", "'-1"]
    back = ocs.read_export(tmp_path).file_events
    assert back["command"].tolist() == FORMULAS
    assert back["error"].isna().tolist() == [True, *[False] * (len(FORMULAS) - 1)]


def test_json_lines_are_objects_with_times_and_parts(small: Frames, tmp_path: Path) -> None:
    ocs.export(small, tmp_path, "jsonl")
    lines = (tmp_path / "messages.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert len(lines) == len(small.messages)
    assert list(first) == [column.name for column in COLUMNS["messages"]]
    assert first["parts"] == small.messages["parts"][0]
    assert pd.Timestamp(first["time"]) == small.messages["time"][0]
    assert first["time"].endswith("Z")


# Parquet: what has changed, and nothing twice


def test_file_says_its_schema_and_lies_under_its_day(small: Frames, tmp_path: Path) -> None:
    report = ocs.export(small, tmp_path)
    days = set(small.sessions["created_at"].dt.strftime("%Y-%m-%d"))
    for name in NAMES:
        files = sorted(tmp_path.glob(f"frame={name}/day=*/*.parquet"))
        assert {file.parent.name.removeprefix("day=") for file in files} == days
        for file in files:
            schema = pq.read_schema(file)
            assert schema.metadata[b"opencode_sessions.schema"] == b"1"
            assert schema.metadata[b"opencode_sessions.version"] == ocs.__version__.encode()
            assert file.name.startswith(report.exported)


async def test_second_export_writes_what_has_changed(tmp_path: Path) -> None:
    async with ocs.OpencodeSessionService() as svc:
        one = await svc.get_or_create_session("ses_1", "build", "/app", None, "One")
        await svc.get_or_create_session("ses_2", "build", "/app", None, "Two")
        parts = [{"type": "tool_use", "name": "edit", "input": {"path": "a.py"}}]
        message = await svc.persist_message(one, "assistant", parts)
        first = await ocs.export(svc, tmp_path)
        again = await ocs.export(svc, tmp_path)
        await svc.persist_file_events(message, parts)
        changed = await ocs.export(svc, tmp_path)
        assert (first.sessions, first.unchanged) == (2, 0)
        assert (again.sessions, again.unchanged, again.files) == (0, 2, 0)
        assert (changed.sessions, changed.unchanged) == (1, 1)
        assert changed.rows == {"sessions": 1, "messages": 1, "tool_calls": 1, "file_events": 1}
        assert_equal(ocs.read_export(tmp_path), await svc.frames())
        assert (await ocs.export(svc, tmp_path, full=True)).sessions == 2
        with_texts = await ocs.export(svc, tmp_path, diffs=True)
        assert with_texts.sessions == 2
        assert_equal(ocs.read_export(tmp_path), await svc.frames(diffs=True))


async def test_what_is_gone_from_a_session_is_gone_from_its_export(tmp_path: Path) -> None:
    async with ocs.OpencodeSessionService() as svc:
        session = await svc.get_or_create_session("ses_1", "build", "/app", None, "One")
        for text in ("first", "second"):
            await svc.persist_message(session, "user", [{"type": "text", "text": text}])
        frames = await svc.frames()
        await ocs.export(svc, tmp_path)
    shorter = Frames(
        frames.sessions.assign(messages=pd.array([1], dtype="Int32")),
        frames.messages.head(1),
        frames.tool_calls,
        frames.file_events,
    )
    ocs.export(shorter, tmp_path, exporter="other")
    # Another exporter's older state of a session replaces nothing newer;
    assert_equal(ocs.read_export(tmp_path), frames)
    # an exporter's own does: it knows that there was more.
    ocs.export(frames, tmp_path, exporter="other")
    ocs.export(shorter, tmp_path, exporter="other")
    assert ocs.read_export(tmp_path).messages["content"].tolist() == ["first"]


async def test_same_session_of_two_stores_counts_once(
    recordings: dict[str, Recording], tmp_path: Path
) -> None:
    for origin in ("ana@laptop", "ben@desk"):
        async with ocs.OpencodeSessionService() as svc:
            await svc.import_opencode(
                recordings["opencode-1.18.33"].database, origin=origin, progress=False
            )
            report = await ocs.export(svc, tmp_path, exporter=origin.partition("@")[0])
            assert report.sessions > 0
            frames = await svc.frames()
    back = ocs.read_export(tmp_path)
    assert set(back.file_events["origin"]) == {"ben@desk"}
    assert_equal(back, frames)


def test_note_that_is_damaged_costs_a_second_copy_and_no_more(
    small: Frames, tmp_path: Path
) -> None:
    ocs.export(small, tmp_path)
    (note,) = tmp_path.glob("_exporters/*")
    note.write_bytes(b"half")
    assert ocs.export(small, tmp_path).sessions == len(small.sessions)
    assert_equal(ocs.read_export(tmp_path), small)


def test_file_has_no_value_that_only_other_sessions_have(small: Frames, tmp_path: Path) -> None:
    """A chosen frame still has the categories of the whole one."""
    ids = small.file_events["session_id"].head(1)
    some = Frames(*(f[f["session_id"].isin(ids)] for f in (getattr(small, n) for n in NAMES)))
    ocs.export(some, tmp_path)
    others = 0
    for file in tmp_path.glob("frame=*/*/*.parquet"):
        table = pq.read_table(file, partitioning=None)
        name = file.parent.parent.name.removeprefix("frame=")
        for column in table.column_names:
            if pa.types.is_dictionary(table[column].type):
                (values,) = {tuple(c.dictionary.to_pylist()) for c in table[column].chunks}
                assert {*values} == {*table[column].to_pylist()} - {None}
                if column in getattr(some, name):
                    others += len(getattr(some, name)[column].cat.categories) > len(values)
    assert others > 5
    assert_equal(ocs.read_export(tmp_path), of_sessions(small, ids))


# Shared


def test_what_is_shared_has_no_names(small: Frames, tmp_path: Path) -> None:
    assert small.sessions["workdir"].astype("str").str.contains("shop").any()
    for format in FORMATS:
        report = ocs.export(small, tmp_path / format, format, share=True, names=["shop"])
        assert report.sessions == len(small.sessions)
        back = ocs.read_export(tmp_path / format)
        assert back.sessions["session_id"].tolist() == small.sessions["session_id"].tolist()
        assert back.file_events["additions"].equals(small.file_events["additions"])
        assert not [
            column
            for name in NAMES
            for column in getattr(back, name)
            if getattr(back, name)[column].astype(str).str.contains("shop", case=False).any()
        ]
    again = ocs.export(small, tmp_path / "parquet", share=True, names=["shop"])
    assert (again.sessions, again.unchanged) == (0, len(small.sessions))


@pytest.mark.parametrize("exporter", [None, "ci"])
def test_no_file_of_what_is_shared_has_a_name_or_a_secret(
    exporter: str | None, tmp_path: Path
) -> None:
    """Also not the exporter's note, and in none a hash that guesses could be tried on."""
    frames = example()
    lines = [one.line for one in planted.ALL]
    events = frames.file_events.assign(command=" | ".join(lines))
    ids = frames.sessions["opencode_session_id"].astype("str")
    sessions = frames.sessions.assign(
        opencode_session_id=pd.Categorical(ids + " Project Falcon"), title=lines[0]
    )
    given_out = Frames(sessions, frames.messages, frames.tool_calls, events)

    def export() -> ocs.ExportReport:
        names = [*planted.NAMES, "Ana Nowak"]
        return ocs.export(given_out, tmp_path, share=True, names=names, exporter=exporter)

    assert (export().sessions, export().sessions) == (len(sessions), 0)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    texts = [str(pq.read_table(file, partitioning=None).to_pylist()) for file in files]
    texts += [file.read_bytes().decode("latin-1") for file in files]
    assert planted.left(texts) == []
    assert not [text for text in texts if "nowak" in text.casefold()]


async def test_what_is_shared_later_has_the_marks_of_what_was_shared_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def marks(folder: str) -> set[str]:
        projects = ocs.read_export(tmp_path / folder).sessions["project"]
        return {re.findall(r"\[name-\w+\]", project)[0] for project in projects.astype("str")}

    async with ocs.OpencodeSessionService() as svc:

        async def share(folder: str, sessions: int, names: Sequence[str] = ("falcon",)) -> None:
            done = await ocs.export(svc, tmp_path / folder, share=True, names=names)
            assert done.sessions == sessions

        await svc.get_or_create_session("ses_1", "build", "/home/dev/falcon", None, "One")
        await share("out", 1)
        before = marks("out")
        await svc.get_or_create_session("ses_2", "build", "/home/dev/falcon", None, "Two")
        await share("out", 1)
        assert marks("out") == before
        assert len(before) == 1
        await share("out", 2, ["falcon", "two"])
        assert marks("out") == before
        # What somebody else was given tells nothing of it,
        await share("elsewhere", 2)
        assert not marks("elsewhere") & before
        # and where a note or the secret is lost all is written again, under one mark.
        for lost in (*(tmp_path / "out").glob("_exporters/*"), key_file()):
            lost.unlink()
            await share("out", 2)
            assert len(marks("out")) == 1
            assert not marks("out") & before
            await share("out", 0)
            before = marks("out")
        key_file().unlink()
        key_file().parent.rmdir()
        key_file().parent.touch()  # nothing can be kept there
        await share("out", 2)
        assert "under other marks" in caplog.text
        assert len(marks("out")) == 1


def key_file() -> Path:
    return default_database().parent / "marks.key"


def test_secret_that_marks_are_made_with_is_in_no_export(small: Frames, tmp_path: Path) -> None:
    for exporter in (None, "ci"):
        ocs.export(small, tmp_path, share=True, names=["shop"], exporter=exporter)
    secret = key_file().read_bytes()
    assert len(secret) == 32
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert [file.name for file in key_file().parent.iterdir()] == ["marks.key"]
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    for file in written:
        assert secret not in file.read_bytes()
        assert secret.hex().encode() not in file.read_bytes()
    # Nor can one guess who it was: what is known of a note does not lead to its name.
    who = "\0".join((platform.node(), getpass.getuser(), "frames"))
    guesses = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in (who, "ci")]
    notes = {file.stem for file in tmp_path.glob("_exporters/*")}
    assert len(notes) == 2
    assert not notes & {*guesses, "ci"}
    key_file().write_bytes(b"")
    with pytest.raises(ocs.ExportError, match=r"marks\.key is damaged"):
        ocs.export(small, tmp_path, share=True)


@pytest.mark.parametrize("exporter", [None, "ci"])
def test_note_of_an_older_version_costs_a_second_copy_and_leaves_nothing_behind(
    exporter: str | None, small: Frames, tmp_path: Path
) -> None:
    """It had ids and names in clear, and no salt."""

    def export() -> ocs.ExportReport:
        return ocs.export(small, tmp_path, exporter=exporter)

    export()
    (note,) = tmp_path.glob("_exporters/*")
    ids = small.sessions["session_id"].astype("str").tolist()
    nothing = pa.nulls(len(ids), pa.timestamp("us", "UTC"))
    old = {"key": ids, "digest": ["0f 1 shared Ana Nowak"] * len(ids), "as_of": nothing}
    pq.write_table(pa.table(old), note)
    assert (export().sessions, export().sessions) == (len(ids), 0)
    assert [*tmp_path.glob("_exporters/*")] == [note]
    texts = str(pq.read_table(note).to_pylist())
    assert "Nowak" not in texts
    assert not [id for id in ids if id in texts]
    assert_equal(ocs.read_export(tmp_path), small)


# From the shell


def test_command_writes_what_is_stored(on_file: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "team")

    def run(*args: str) -> str:
        result = CliRunner().invoke(app, ["export", "--db", str(on_file), *args])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "901 file events" in run("--to", target, "--project", "trailmap")
    assert "20 sessions" in run("--to", target).splitlines()[-1]
    assert "\x1b" not in run("--to", f"{tmp_path}/csv\x1b[2J", "--format", "csv", "--diffs")
    assert "diff" in ocs.read_export(f"{tmp_path}/csv\x1b[2J").file_events


def test_command_says_where_it_cannot_write(on_file: Path) -> None:
    """To memory it could, but what is there ends with the command."""
    for target, reason in {str(on_file): "is a file", "memory://x": "would be gone"}.items():
        refused = CliRunner().invoke(app, ["export", "--db", str(on_file), "--to", target])
        assert refused.exit_code == 1
        assert reason in refused.stderr


# Others at the same time, and an end in the middle


def _export_half(target: str, database: str, start: int, barrier: Any) -> None:
    frames = ocs.read_opencode(database)
    barrier.wait(60)
    for number in range(start, len(frames.sessions), 2):
        ids = frames.sessions["session_id"][[number]]
        ocs.export(of_sessions(frames, ids), target)


def test_two_processes_lose_nothing(trailmap: Recording, tmp_path: Path) -> None:
    """Both under one name, session by session, into the same partition."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    arguments = (str(tmp_path), str(trailmap.database))
    two = [context.Process(target=_export_half, args=(*arguments, n, barrier)) for n in (0, 1)]
    for process in two:
        process.start()
    for process in two:
        process.join(120)
        assert process.exitcode == 0
    assert_equal(ocs.read_export(tmp_path), ocs.read_opencode(trailmap.database))


class Stop(BaseException):
    """The power fails."""


def test_session_is_there_whole_or_not_at_all(
    small: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export over an older one that ends at any of its writes, and at last one that does not."""
    ids = small.sessions.nlargest(3, "file_events")["session_id"]
    small = of_sessions(small, ids)
    older = Frames(
        small.sessions.assign(title="older"),
        small.messages.assign(content="older"),
        small.tool_calls.assign(title="older"),
        small.file_events.assign(error="older"),
    )
    monkeypatch.setattr("opencode_sessions.exporting.writing.ROWS", 1)
    write = folders._Local.write
    seen = set()
    for stop_at in count():
        target = tmp_path / str(stop_at)
        ocs.export(older, target)
        writes = count()

        def failing(
            folder: Any, name: str, data: Any, stop_at: int = stop_at, writes: Any = writes
        ) -> None:
            if next(writes) == stop_at:
                raise Stop
            write(folder, name, data)

        monkeypatch.setattr(folders._Local, "write", failing)
        try:
            ocs.export(small, target)
            assert_equal(ocs.read_export(target), small)
            break
        except Stop:
            monkeypatch.setattr(folders._Local, "write", write)
        back = ocs.read_export(target)
        is_old = back.sessions["title"] == "older"
        seen |= {is_old.all(), is_old.any()}
        old = of_sessions(older, back.sessions["session_id"][is_old])
        new = of_sessions(small, back.sessions["session_id"][~is_old])
        for one, ids in ((old, is_old), (new, ~is_old)):
            assert_equal(of_sessions(back, back.sessions["session_id"][ids]), one)
    assert stop_at == 3 * 4 + 1  # each file, and the note of what was written
    assert seen == {True, False}


def test_half_a_file_has_a_name_that_readers_pass_over(
    small: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ocs.export(small, tmp_path)

    def killed(*_: object) -> None:
        under_way.extend(tmp_path.rglob(".2*"))
        raise Stop

    under_way: list[Path] = []
    monkeypatch.setattr("os.replace", killed)
    monkeypatch.setattr(Path, "unlink", lambda *_a, **_k: None)  # as a kill leaves it
    with pytest.raises(Stop):
        ocs.export(small, tmp_path, full=True)
    assert under_way[0].exists()
    assert_equal(ocs.read_export(tmp_path), small)


# What is wrong is said


def spoil(change: Callable[[Path], None], folder: Path) -> Path:
    file = sorted(folder.glob("frame=file_events/*/*"))[0]
    change(file)
    return file


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _newer(file: Path) -> None:
    metadata = {b"opencode_sessions.schema": b"2"}
    table = pq.read_table(file, partitioning=None).replace_schema_metadata(metadata)
    pq.write_table(table, file)


def _foreign(file: Path) -> None:
    pq.write_table(pa.table({"session_id": ["ses_1"]}), file)


@pytest.mark.parametrize("change", [_truncate, _newer, _foreign])
def test_file_that_cannot_be_read_is_named(
    change: Callable[[Path], None],
    small: Frames,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ocs.export(small, tmp_path)
    file = spoil(change, tmp_path)
    with pytest.raises(ocs.ExportError, match=file.name):
        ocs.read_export(tmp_path)
    with pytest.raises(ocs.ExportError, match="'raise' or 'log', not 'skip'"):
        ocs.read_export(tmp_path, on_damage="skip")  # type: ignore[arg-type]
    rest = ocs.read_export(tmp_path, on_damage="log")
    assert file.name in caplog.text
    assert_frame_equal(rest.messages, small.messages)
    assert len(rest.file_events) < len(small.file_events)


def test_rest_of_an_export_may_be_nothing(small: Frames, tmp_path: Path) -> None:
    ocs.export(small, tmp_path)
    for file in tmp_path.glob("frame=sessions/*/*.parquet"):
        _truncate(file)
    rest = ocs.read_export(tmp_path, on_damage="log")
    assert_equal(rest, of_sessions(small, []))


def test_files_that_spark_is_still_writing_are_passed_over(small: Frames, tmp_path: Path) -> None:
    ocs.export(small, tmp_path)
    (file,) = tmp_path.glob("frame=messages/*/*.parquet")
    under_way = file.parent / "_temporary" / "0" / file.name
    under_way.parent.mkdir(parents=True)
    under_way.write_bytes(file.read_bytes()[:1000])
    assert_equal(ocs.read_export(tmp_path), small)


def test_no_bit_that_flips_changes_a_value(small: Frames, tmp_path: Path) -> None:
    """A file that a disk or a network has changed is named, or nothing of it was lost."""
    one = of_sessions(small, small.file_events["session_id"].head(1))
    ocs.export(one, tmp_path)
    (file,) = tmp_path.glob("frame=file_events/*/*")
    data, events, named = file.read_bytes(), ocs.read_export(tmp_path).file_events, 0
    footer = int.from_bytes(data[-8:-4], "little") + 8
    dice = random.Random(1)
    places = [dice.randrange(len(data) - footer) for _ in range(60)]
    places += [dice.randrange(len(data) - footer, len(data)) for _ in range(60)]
    for place in places:
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << dice.randrange(8)
        file.write_bytes(spoilt)
        try:
            assert_frame_equal(ocs.read_export(tmp_path).file_events, events)
        except ocs.ExportError as error:
            assert file.name in str(error)
            named += 1
    assert named > 60


def test_column_that_somebody_added_or_took_away_is_no_damage(
    small: Frames, tmp_path: Path
) -> None:
    ocs.export(small, tmp_path)
    file = next(tmp_path.glob("frame=messages/*/*"))
    table = pq.read_table(file, partitioning=None)
    for other in (table.drop_columns(["error"]), table.append_column("team", table["role"])):
        pq.write_table(other, file)
        assert len(ocs.read_export(tmp_path).messages) == len(small.messages)
    renamed = table.rename_columns({"error": "errpr"})
    pq.write_table(renamed.replace_schema_metadata(table.schema.metadata), file)
    with pytest.raises(ocs.ExportError, match=f"{file.name} cannot be read: it has errpr for err"):
        ocs.read_export(tmp_path)


def test_older_file_lacks_columns_and_is_read(small: Frames, tmp_path: Path) -> None:
    ocs.export(small, tmp_path)
    for file in tmp_path.glob("frame=file_events/*/*"):
        table = pq.read_table(file, partitioning=None)
        pq.write_table(table.drop_columns(["errors_left", "tool", "is_undone", "diff"]), file)
    events = ocs.read_export(tmp_path).file_events
    assert events["errors_left"].isna().all()
    assert events["tool"].isna().all()
    assert not events["is_undone"].any()
    assert "diff" not in events
    same = ["event_id", "file_path", "time", "exit_code"]
    assert_frame_equal(events[same], small.file_events[same])


def test_export_of_the_first_schema_is_read(
    recordings: dict[str, Recording], tmp_path: Path
) -> None:
    """As this package wrote it first: what it has is what a recording has, whatever came since."""
    export = unpacked_tar("export-schema-1", tmp_path) / "export"
    frames = ocs.read_opencode(recordings["opencode-1.2.27"].database, diffs=True, parts=True)
    back = ocs.read_export(export)
    same = {
        "sessions": ["session_id", "title", "created_at", "project"],
        "messages": ["message_id", "role", "time", "content", "parts"],
        "tool_calls": ["tool_call_id", "tool", "time", "input"],
        "file_events": ["event_id", "event_type", "file_path", "time", "diff"],
    }
    for name, columns in same.items():
        assert_frame_equal(getattr(back, name)[columns], getattr(frames, name)[columns])
        dtypes = getattr(back, name).dtypes.astype(str)
        assert dtypes.to_dict() == getattr(frames, name).dtypes.astype(str).to_dict()


def test_other_formats_say_what_is_wrong(small: Frames, tmp_path: Path) -> None:
    for format in ("jsonl", "csv"):
        folder = tmp_path / format
        ocs.export(small, folder, cast("Format", format))
        file = folder / f"messages.{format}"
        whole = file.read_bytes()
        file.write_bytes(whole[:-30])
        with pytest.raises(ocs.ExportError, match=file.name):
            ocs.read_export(folder)
        file.unlink()
        with pytest.raises(ocs.ExportError, match=f"lacks {file.name}"):
            ocs.read_export(folder)
        file.write_bytes(whole)
        (folder / "export.json").write_text('{"format": "csv", "schema": 2, "frames": {}}')
        with pytest.raises(ocs.ExportError, match="schema 2"):
            ocs.read_export(folder)


def test_what_is_no_export_is_said(small: Frames, tmp_path: Path) -> None:
    with pytest.raises(ocs.ExportError, match="no export in"):
        ocs.read_export(tmp_path / "nothing")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ocs.ExportError, match="is a file"):
        ocs.export(small, file)
    with pytest.raises(ocs.ExportError, match="no format"):
        ocs.export(small, tmp_path / "x", cast("Format", "xlsx"))
    with pytest.raises(ocs.ExportError, match="cannot be reached"):
        ocs.export(small, "nowhere://bucket")
    ocs.export(small, tmp_path / "csv", "csv")
    ocs.export(small, tmp_path / "parquet")
    for folder, format in (("csv", "parquet"), ("parquet", "csv"), ("parquet", "jsonl")):
        with pytest.raises(ocs.ExportError, match="new folder"):
            ocs.export(small, tmp_path / folder, cast("Format", format))


def test_part_of_a_session_does_not_replace_the_whole(small: Frames, tmp_path: Path) -> None:
    part = Frames(small.sessions, small.messages, small.tool_calls, small.file_events.iloc[1:])
    with pytest.raises(ocs.ExportError, match="1 sessions have fewer file events"):
        ocs.export(part, tmp_path)
    ocs.export(part, tmp_path, "csv")  # which replaces nothing
    assert len(ocs.read_export(tmp_path).file_events) == len(part.file_events)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda events: events.drop(columns="turn"), "lacks turn"),
        (lambda events: events.assign(mine=1), "mine"),
    ],
)
def test_columns_nobody_knows_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], said: str, small: Frames, tmp_path: Path
) -> None:
    other = Frames(small.sessions, small.messages, small.tool_calls, change(small.file_events))
    with pytest.raises(ocs.ExportError, match=said):
        ocs.export(other, tmp_path)


# Elsewhere than on a disk


def test_folder_behind_fsspec(small: Frames) -> None:
    target = f"memory://{uuid4()}/team"
    ocs.export(small, target)
    assert ocs.export(small, target).unchanged == len(small.sessions)
    assert_equal(ocs.read_export(target), small)


def test_file_url_is_a_folder_on_the_disk(small: Frames, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    ocs.export(small, folder.as_uri())
    assert (folder / "frame=sessions").is_dir()
    assert_equal(ocs.read_export(folder), small)


def test_store_that_cannot_put_at_once_gets_a_move(small: Frames, tmp_path: Path) -> None:
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.registry import register_implementation

    moved = []

    class Shared(LocalFileSystem):  # type: ignore[misc]
        protocol = "shared"

        def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
            moved.append(path2)
            super().mv(path1, path2, **kwargs)

    register_implementation("shared", Shared, clobber=True)
    ocs.export(small, f"shared://{tmp_path}")
    assert len(moved) == len([f for f in tmp_path.rglob("*.parquet")])
    assert not [f for f in tmp_path.rglob(".*")]
    assert_equal(ocs.read_export(tmp_path), small)


def _broken(file: Any, path: str) -> bytes:
    raise RuntimeError("Unable to locate credentials")


def _silent(file: Any, path: str) -> bytes:
    Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("answer", "says"),
    [(_broken, "Unable to locate credentials"), (_silent, "no answer within 0.2 s")],
)
def test_store_that_does_not_answer_is_named(
    answer: Any, says: str, small: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers raise anything, and some try for many minutes where there is no network."""
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.registry import register_implementation

    class Away(MemoryFileSystem):  # type: ignore[misc]
        protocol = "away"
        cat_file = answer

    register_implementation("away", Away, clobber=True)
    monkeypatch.setattr(folders, "FIRST_ANSWER", 0.2)
    for ask in (ocs.read_export, partial(ocs.export, small)):
        with pytest.raises(ocs.ExportError, match=f"away://team/x cannot be reached: {says}"):
            ask("away://team/x")


def test_store_that_goes_away_is_not_taken_for_damage(
    small: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    target = f"memory://{uuid4()}/team"
    ocs.export(small, target)
    read = MemoryFileSystem.cat_file

    def gone(self: Any, path: str, *args: Any, **options: Any) -> Any:
        if "/frame=messages/" in path:
            raise RuntimeError("connection lost")
        return read(self, path, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", gone)
    with pytest.raises(ocs.ExportError, match=f"{target} cannot be reached: connection lost"):
        ocs.read_export(target, on_damage="log")


@pytest.mark.parametrize("target", ["", "s3:/team/sessions", "gs:/team"])
def test_target_that_is_no_folder_and_no_url(
    target: str, small: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for ask in (ocs.read_export, partial(ocs.export, small)):
        with pytest.raises(ocs.ExportError, match="neither a folder nor a URL"):
            ask(target)
    assert not [*tmp_path.iterdir()]


def test_without_fsspec_it_says_what_to_install(
    small: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ocs.ExportError, match=r"pip install 'opencode-sessions\[remote\]'"):
        ocs.export(small, "s3://bucket/team")


def test_loop_turns_while_a_service_is_written(
    in_memory: ocs.OpencodeSessionService, tmp_path: Path
) -> None:
    """Files are written by other threads than the loop's."""
    import threading

    names = set()
    write = folders._Local.write

    def noting(folder: Any, name: str, data: Any) -> None:
        names.add(threading.current_thread() is threading.main_thread())
        write(folder, name, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders._Local, "write", noting)
        asyncio.run(ocs.export(in_memory, tmp_path))  # type: ignore[arg-type]
    assert names == {False}
    shutil.rmtree(tmp_path)
