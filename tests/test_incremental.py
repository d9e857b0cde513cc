"""Importing again: only what changed is read, nothing is lost, nothing is there twice."""

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Empty, Recording, open_and_close
from postgres import Server
from sqlalchemy.ext.asyncio import AsyncSession
from test_recordings import assert_same_frames

import opencode_sessions as ocs
from opencode_sessions import sync
from opencode_sessions.analytics import Frames
from opencode_sessions.records import SessionRecord
from opencode_sessions.sources import Database, Problem, SourceChanged, StorageTree, Untold
from opencode_sessions.sources import database as database_
from opencode_sessions.sources import source as source_
from opencode_sessions.sources import storage as storage_
from opencode_sessions.store import StoreFailed
from opencode_sessions.store.memory import MemoryStore
from opencode_sessions.store.sql import SqlStore

SHOP = "opencode-1.2.1"
TREE = "opencode-1.1.65"
UPGRADED = "opencode-1.1.65-upgraded-to-1.18.33"
CART = "ses_dfbfb5a7bffehr1f5iJf9skrRO"
SHIPPING = "ses_dfbfb45eaffetrJTstN1COHhMn"
TABLES = ("sessions", "messages", "tool_calls", "file_events")
KILLS = 25


@pytest.fixture
def data(recordings: dict[str, Recording], tmp_path: Path) -> Path:
    """A data folder with a database of four sessions, to change."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(recordings[SHOP].database, folder / "opencode.db")
    return folder


@pytest.fixture
def tree(trees: dict[str, Recording], tmp_path: Path) -> Path:
    """A data folder with a JSON tree, to change."""
    return Path(shutil.copytree(trees[TREE].database, tmp_path / "tree"))


@pytest.fixture(params=["memory", "sqlite_store", "postgres_store"])
async def service(
    request: pytest.FixtureRequest, empty: Empty
) -> AsyncIterator[ocs.OpencodeSessionService]:
    """A service in memory, and one on a store of each kind; `empty` is made outside of a loop."""
    if request.param == "memory":
        yield ocs.OpencodeSessionService()
        return
    async with await ocs.open(request.getfixturevalue(request.param), migrate=False) as svc:
        yield svc


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What databases and trees yield from now on: counts, session ids, problems."""
    items: list[Any] = []

    def watched(reader: Any) -> Any:
        def sessions(self: Any, **options: Any) -> Iterator[Any]:
            for item in reader(self, **options):
                if not isinstance(item, Untold):
                    items.append(item.id if isinstance(item, SessionRecord) else item)
                yield item

        return sessions

    for kind in (Database, StorageTree):
        monkeypatch.setattr(kind, "sessions", watched(kind.sessions))
    return items


def execute(data: Path, *statements: str) -> None:
    """Changes opencode's database."""
    with closing(sqlite3.connect(data / "opencode.db")) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            connection.execute(statement)


def touched(where: str, change: str) -> str:
    """A part rewritten in place: the same id, a new time."""
    return (
        f"UPDATE part SET data = {change}, time_updated = "
        f"(SELECT max(time_updated) + 1 FROM part) WHERE {where}"
    )


def aged(file: Path, seconds: float) -> None:
    """Gives a file a time long enough ago, and other than it had."""
    at = file.stat().st_mtime - 100_000 - seconds
    os.utime(file, (at, at))


async def imported(svc: ocs.OpencodeSessionService, path: Path, **options: Any) -> Any:
    return await svc.import_opencode(path, progress=False, **options)


def counts(report: Any) -> dict[str, tuple[int, int, int, int]]:
    """New, changed, unchanged and skipped, by table."""
    found = {name: getattr(report, name) for name in TABLES}
    return {name: (c.new, c.changed, c.unchanged, c.skipped) for name, c in found.items()}


def all_unchanged(frames: Frames) -> dict[str, tuple[int, int, int, int]]:
    return {name: (0, 0, len(getattr(frames, name)), 0) for name in TABLES}


def ids(frames: Frames) -> dict[str, set[str]]:
    keys = ("session_id", "message_id", "tool_call_id", "event_id")
    return {name: {*getattr(frames, name)[key]} for name, key in zip(TABLES, keys, strict=True)}


def deleted(frame: pd.DataFrame) -> list[str]:
    key = "message_id" if "message_id" in frame else "session_id"
    return sorted(frame.loc[frame["deleted_at"].notna(), key])


# Unchanged


async def test_an_unchanged_database_is_not_read_again(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    await imported(service, data)
    before = await service.frames(diffs=True, parts=True)
    read.clear()
    report = await imported(service, data)
    assert read == [0]
    assert counts(report) == all_unchanged(before)
    assert report.problems == []
    assert_same_frames(await service.frames(diffs=True, parts=True), before)


async def test_an_unchanged_tree_is_not_read_again(
    service: ocs.OpencodeSessionService, tree: Path, read: list[Any]
) -> None:
    await imported(service, tree)
    before = await service.frames(diffs=True, parts=True)
    read.clear()
    report = await imported(service, tree)
    assert read == [0]
    assert counts(report) == all_unchanged(before)
    assert_same_frames(await service.frames(diffs=True, parts=True), before)


async def test_a_callers_session_is_imported_into_as_any_store(
    db: AsyncSession, data: Path, read: list[Any]
) -> None:
    svc = ocs.OpencodeSessionService(db)
    await imported(svc, data)
    before = await svc.frames()
    read.clear()
    assert counts(await imported(svc, data)) == all_unchanged(before)
    assert read == [0]
    gone = last_messages(data, CART, 2)
    without_messages(data, gone)
    await imported(svc, data)
    assert deleted((await svc.frames()).messages) == gone
    await imported(svc, data, deleted="drop", origin="ana@laptop")
    execute(data, f"DELETE FROM session WHERE id = '{CART}'")
    await imported(svc, data, deleted="drop", origin="ana@laptop")
    assert CART not in {*(await svc.sessions())["session_id"]}


async def test_two_sources_with_the_same_sessions_take_no_turns(
    service: ocs.OpencodeSessionService,
    recordings: dict[str, Recording],
    tree: Path,
    read: list[Any],
) -> None:
    shutil.copy(recordings[UPGRADED].database, tree / "opencode.db")
    first = await imported(service, tree)
    assert len(first.sources) == 2
    before = await service.frames(diffs=True, parts=True)
    read.clear()
    for _time in range(2):
        report = await imported(service, tree)
        assert counts(report) == all_unchanged(before)
    assert read == [0] * 4
    assert_same_frames(await service.frames(diffs=True, parts=True), before)
    assert not deleted(before.sessions)


async def test_what_an_application_stored_is_unchanged_the_second_time(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    session = await service.get_or_create_session(CART, title="Ours", workdir="/ours")
    await service.persist_message(session, "user", [{"type": "text", "text": "Hello"}])
    await imported(service, data)
    for title in ("One", "Two"):
        before = await service.frames()
        read.clear()
        report = await imported(service, data)
        assert read == [0]
        assert report.sessions.unchanged == 4
        assert_same_frames(await service.frames(), before)
        # Changed by opencode, it is read once more, and then unchanged again.
        execute(
            data,
            f"UPDATE session SET title = '{title}', time_updated = time_updated + 1 "
            f"WHERE id = '{CART}'",
        )
        read.clear()
        await imported(service, data)
        assert read == [1, CART]
    assert (await service.get_session(CART)).title == "Ours"


# Changed


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("json_extract(data, '$.type') = 'text'", "json_set(data, '$.text', 'Other words')"),
        ("json_extract(data, '$.type') = 'tool'", "json_set(data, '$.state.status', 'error')"),
    ],
)
async def test_a_part_rewritten_in_place_is_noticed(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any], where: str, change: str
) -> None:
    await imported(service, data)
    read.clear()
    chosen = f"id = (SELECT min(id) FROM part WHERE session_id = '{CART}' AND {where})"
    execute(data, touched(chosen, change))
    report = await imported(service, data)
    assert read == [1, CART]
    assert sum(getattr(report, name).changed for name in TABLES) > 0
    assert sum(getattr(report, name).new for name in TABLES) == 0
    fresh = ocs.read_opencode(data, diffs=True, parts=True)
    assert_same_frames(await service.frames(diffs=True, parts=True), fresh)


async def test_new_parts_messages_and_sessions_are_added(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    whole = ocs.read_opencode(data, diffs=True, parts=True)
    complete = shutil.copy(data / "opencode.db", data.parent / "complete.db")
    last = f"(SELECT max(id) FROM message WHERE session_id = '{CART}')"
    some = f"(SELECT min(id) FROM part WHERE session_id = '{CART}' AND data LIKE '%\"tool\"%')"
    execute(
        data,
        f"DELETE FROM session WHERE id = '{SHIPPING}'",
        f"DELETE FROM message WHERE id = {last}",
        f"DELETE FROM part WHERE id = {some}",
    )
    first = await imported(service, data)
    shutil.copy(complete, data / "opencode.db")
    read.clear()
    second = await imported(service, data)
    assert set(read) == {2, CART, SHIPPING}
    assert first.sessions.new == 3
    assert (second.sessions.new, second.tool_calls.skipped) == (1, 0)
    found = await service.frames(diffs=True, parts=True)
    for name in TABLES:
        assert getattr(first, name).new + getattr(second, name).new == len(getattr(whole, name))
    assert_same_frames(found, whole)


async def test_what_is_written_in_the_millisecond_of_the_last_import_is_not_missed(
    service: ocs.OpencodeSessionService,
    data: Path,
    read: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = data / "opencode.db"
    with closing(sqlite3.connect(file)) as connection:
        latest = connection.execute(
            "SELECT max(time_updated) FROM part WHERE session_id = ?", (CART,)
        ).fetchone()[0]
    monkeypatch.setattr(source_.time, "time", lambda: latest / 1000)
    await imported(service, data)
    execute(
        data,
        f"UPDATE part SET data = json_set(data, '$.text', 'Same time') WHERE id = (SELECT max(id) "
        f"FROM part WHERE session_id = '{CART}' AND json_extract(data, '$.type') = 'text')",
    )
    report = await imported(service, data)
    assert report.messages.changed == 1
    monkeypatch.undo()
    await imported(service, data)
    assert_same_frames(await service.frames(), ocs.read_opencode(data))


@pytest.mark.parametrize("options", [{"origin": "ana@laptop"}, {"shell": False}])
async def test_another_origin_or_reading_of_commands_reads_everything_again(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any], options: dict[str, Any]
) -> None:
    await imported(service, data)
    read.clear()
    await imported(service, data, **options)
    assert read[0] == 4
    found = await service.frames(diffs=True, parts=True)
    async with ocs.OpencodeSessionService() as fresh:
        await imported(fresh, data, **options)
        assert_same_frames(found, await fresh.frames(diffs=True, parts=True))
    read.clear()
    await imported(service, data, **options)
    assert read == [0]


# Gone


def last_messages(data: Path, session: str, count: int) -> list[str]:
    with closing(sqlite3.connect(data / "opencode.db")) as connection:
        rows = connection.execute(
            "SELECT id FROM message WHERE session_id = ? ORDER BY time_created DESC, id DESC "
            "LIMIT ?",
            (session, count),
        ).fetchall()
    return sorted(id for (id,) in rows)


def without_messages(data: Path, gone: list[str]) -> None:
    listed = ", ".join(f"'{id}'" for id in gone)
    execute(data, f"DELETE FROM message WHERE id IN ({listed})")


async def test_messages_that_are_gone_are_kept_and_marked(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    await imported(service, data)
    before = await service.frames()
    gone = last_messages(data, CART, 12)
    complete = shutil.copy(data / "opencode.db", data.parent / "complete.db")
    without_messages(data, gone)
    for _time in range(2):
        report = await imported(service, data)
        after = await service.frames()
        assert ids(after) == ids(before)
        assert deleted(after.messages) == gone
        for name in ("messages", "tool_calls", "file_events"):
            frame = getattr(after, name)
            is_gone = frame["message_id"].isin(gone)
            assert is_gone.any()
            assert (frame["is_undone"] == is_gone).all()
        if _time == 0:
            assert any("12 messages are gone from opencode: kept" in n for n in report.notes)
    # They come back: the mark goes.
    shutil.copy(complete, data / "opencode.db")
    await imported(service, data)
    assert_same_frames(await service.frames(), before)


def assert_in_one_order(frames: Frames) -> None:
    """`seq` numbers each session's rows without a gap, in the order of the messages."""
    places = frames.messages.set_index("message_id")
    for name in ("messages", "tool_calls", "file_events"):
        for _session, rows in getattr(frames, name).groupby("session_id", observed=True):
            assert rows["seq"].tolist() == [*range(len(rows))]
            assert places.loc[rows["message_id"], "seq"].is_monotonic_increasing
            assert (places.loc[rows["message_id"], "turn"].array == rows["turn"].array).all()
    for _session, rows in frames.messages.groupby("session_id", observed=True):
        assert rows["turn"].tolist() == rows["role"].eq("user").cumsum().tolist()


async def test_what_is_kept_stays_between_what_was_before_and_after_it(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    """A turn is reverted and another prompt replaces it: both are there, in their order."""
    await imported(service, data)
    before = await service.frames()
    own = before.messages[before.messages["session_id"] == CART]
    cost = before.sessions.set_index("session_id").loc[CART, "cost_usd"]
    first, last = own[own["turn"] == 1], own[own["turn"] == own["turn"].max()]
    gone = sorted(first["message_id"])
    without_messages(data, gone)
    prompt = json.dumps({"role": "user", "time": {"created": 1}})
    execute(
        data,
        "INSERT INTO message SELECT 'msg_between', session_id, time_created + 1, time_updated, "
        f"json_set('{prompt}', '$.time.created', time_created + 1) FROM message "
        f"WHERE id = '{last['message_id'].iloc[-1]}'",
    )
    for _time in range(2):
        read.clear()
        report = await imported(service, data)
        after = await service.frames()
        assert_in_one_order(after)
        now = after.messages[after.messages["session_id"] == CART]
        assert now["message_id"].tolist() == [*own["message_id"], "msg_between"]
        assert now["turn"].max() == own["turn"].max() + 1
        # the money was spent, and the prompts were given
        session = after.sessions.set_index("session_id").loc[CART]
        assert session["cost_usd"] == cost
        assert (session["turns"], session["messages"]) == (now["turn"].max(), len(now))
        counted = ocs.analytics.counting.counted(after.file_events)
        assert not counted["message_id"].isin(gone).any()
    assert (read, report.sessions.changed) == ([0], 0)
    # and a session that is read once more changes nothing either
    await imported(service, data, origin="once more")
    assert_in_one_order(await service.frames())
    # what goes later than that joins it
    without_messages(data, ["msg_between"])
    await imported(service, data, origin="once more")
    after = await service.frames()
    assert deleted(after.messages) == [*gone, "msg_between"]
    assert_in_one_order(after)


async def test_messages_that_are_gone_are_dropped_by_choice(
    service: ocs.OpencodeSessionService, data: Path
) -> None:
    await imported(service, data)
    without_messages(data, last_messages(data, CART, 12))
    report = await imported(service, data, deleted="drop")
    assert any("12 messages are gone from opencode: dropped" in note for note in report.notes)
    fresh = ocs.read_opencode(data, diffs=True, parts=True)
    assert_same_frames(await service.frames(diffs=True, parts=True), fresh)


async def test_a_call_whose_part_is_gone_counts_as_undone_and_its_message_stays(
    service: ocs.OpencodeSessionService, data: Path
) -> None:
    await imported(service, data)
    before = await service.frames()
    call = before.file_events["event_id"].iloc[0].rpartition(".")[0]
    execute(data, f"DELETE FROM part WHERE id = '{call}'")
    await imported(service, data)
    after = await service.frames()
    assert ids(after) == ids(before)
    undone = after.tool_calls.loc[after.tool_calls["is_undone"], "tool_call_id"]
    assert [*undone] == [call]
    assert not deleted(after.messages)
    assert_in_one_order(after)


async def test_sessions_that_are_gone_are_kept_and_marked_until_they_come_back(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    await imported(service, data)
    before = await service.frames()
    complete = shutil.copy(data / "opencode.db", data.parent / "complete.db")
    execute(data, f"DELETE FROM session WHERE id = '{CART}'")
    first, second = await imported(service, data), await imported(service, data)
    assert any("1 sessions are gone from opencode: kept" in note for note in first.notes)
    assert not any("gone" in note for note in second.notes if "snapshots" not in note)
    after = await service.frames()
    assert ids(after) == ids(before)
    assert deleted(after.sessions) == [CART]
    assert first.sessions.unchanged == 3
    shutil.copy(complete, data / "opencode.db")
    read.clear()
    await imported(service, data)
    assert read == [1, CART]
    assert_same_frames(await service.frames(), before)


@pytest.mark.parametrize("is_marked", [False, True])
async def test_sessions_that_are_gone_are_dropped_by_choice(
    service: ocs.OpencodeSessionService, data: Path, is_marked: bool
) -> None:
    await imported(service, data)
    execute(data, f"DELETE FROM session WHERE id = '{CART}'")
    if is_marked:
        await imported(service, data)
    report = await imported(service, data, deleted="drop")
    assert any("1 sessions are gone from opencode: dropped" in note for note in report.notes)
    assert_same_frames(await service.frames(), ocs.read_opencode(data))


async def test_what_an_application_stored_is_never_dropped(
    service: ocs.OpencodeSessionService, data: Path
) -> None:
    session = await service.get_or_create_session(CART, title="Ours")
    message = await service.persist_message(session, "user", [{"type": "text", "text": "Mine"}])
    await imported(service, data)
    execute(data, f"DELETE FROM session WHERE id = '{CART}'")
    await imported(service, data, deleted="drop")
    assert message.id in {m.id for m in await service.list_messages(CART)}
    assert deleted(await service.sessions()) == [session.id]


async def test_nothing_is_buried_by_an_import_that_does_not_see_everything(
    service: ocs.OpencodeSessionService,
    data: Path,
    given_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await imported(service, data)
    other = shutil.copytree(data, tmp_path / "other")
    for folder in (data, other):
        execute(folder, f"DELETE FROM session WHERE id = '{CART}'")
    for path, options in (
        (other, {}),
        (data, {"since": "2020-01-01"}),
        (data, {"project": "shop"}),
        (data, {"origin": "another machine's"}),
        (given_out / "export", {}),
    ):
        await imported(service, path, deleted="drop", **options)
        assert (await service.get_session(CART)).deleted_at is None


async def test_exports_bury_nothing(service: ocs.OpencodeSessionService, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    for id in ("ses_1", "ses_2"):
        info = {"id": f"msg_{id}", "sessionID": id, "role": "user", "time": {"created": 1}}
        export = {"info": {"id": id}, "messages": [{"info": info, "parts": []}]}
        file.write_text(json.dumps(export))
        await imported(service, file)
    file.write_text(json.dumps({"info": {"id": "ses_2"}, "messages": []}))
    await imported(service, file, deleted="drop")
    assert not deleted(await service.sessions())
    assert {*(await service.messages())["message_id"]} == {"msg_ses_1", "msg_ses_2"}
    assert not deleted(await service.messages())


async def test_a_place_is_the_same_however_it_is_written(
    service: ocs.OpencodeSessionService, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    await imported(service, Path("opencode.db"))
    elsewhere = data.parent / "elsewhere"
    shutil.copytree(data, elsewhere)
    execute(elsewhere, f"DELETE FROM session WHERE id = '{CART}'")
    monkeypatch.chdir(elsewhere)  # the same words, another database
    await imported(service, Path("opencode.db"))
    assert not deleted(await service.sessions())
    execute(data, f"DELETE FROM session WHERE id = '{CART}'")
    await imported(service, data)
    assert deleted(await service.sessions()) == [CART]


# Trees


def tree_session(tree: Path) -> tuple[str, list[Path]]:
    """A session of the tree with tool calls, and its parts' files."""
    for folder in sorted((tree / "storage" / "message").iterdir()):
        parts = [
            part
            for message in sorted(folder.glob("*.json"))
            for part in sorted((tree / "storage" / "part" / message.stem).glob("*.json"))
        ]
        if any('"tool"' in part.read_text() for part in parts):
            return folder.name, parts
    raise AssertionError("no session with tool calls")


async def test_a_file_touched_rewritten_added_or_removed_is_noticed(
    service: ocs.OpencodeSessionService, tree: Path, read: list[Any]
) -> None:
    session, parts = tree_session(tree)
    text = next(part for part in parts if json.loads(part.read_text())["type"] == "text")
    await imported(service, tree)

    async def reread(**options: Any) -> Any:
        read.clear()
        report = await imported(service, tree, **options)
        assert read == [1, session]
        return report

    aged(text, 1)
    before = await service.frames()
    assert counts(await reread()) == all_unchanged(before)

    whole = text.read_text()
    text.write_text(json.dumps(json.loads(whole) | {"text": "Other words"}))
    aged(text, 2)
    assert (await reread()).messages.changed == 1

    text.unlink()
    assert (await reread()).messages.changed == 1

    text.write_text(whole)
    aged(text, 3)
    assert (await reread()).messages.changed == 1
    assert_same_frames(await service.frames(), before)

    (info,) = (tree / "storage" / "session").glob(f"*/{session}.json")
    for file in [info, *(tree / "storage" / "message" / session).iterdir()]:
        shutil.rmtree(tree / "storage" / "part" / file.stem, ignore_errors=True)
        file.unlink()
    await imported(service, tree)
    assert deleted(await service.sessions()) == [session]


async def test_a_folder_that_cannot_be_listed_buries_nothing(
    service: ocs.OpencodeSessionService, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, parts = tree_session(tree)
    await imported(service, tree)
    before = await service.frames()
    (info,) = (tree / "storage" / "session").glob(f"*/{session}.json")
    listdir = os.listdir
    for folder in (info.parent, tree / "storage" / "message" / session, parts[0].parent):

        def refusing(path: Any, folder: Path = folder) -> list[str]:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied")
            return listdir(path)

        for _time in range(2):
            monkeypatch.setattr(storage_.os, "listdir", refusing)
            report = await imported(service, tree, deleted="drop")
            assert str(folder) in " ".join(problem.place for problem in report.problems)
            monkeypatch.undo()
        assert ids(await service.frames()) == ids(before)
        await imported(service, tree)
        assert_same_frames(await service.frames(), before)


# Problems


async def test_problems_are_told_again_each_time_and_bury_nothing(
    service: ocs.OpencodeSessionService, data: Path, read: list[Any]
) -> None:
    await imported(service, data)
    before = await service.frames()
    call = before.tool_calls["tool_call_id"].iloc[0]
    execute(data, touched(f"id = '{call}'", "'{\"type\":'"))
    reports = []
    for _time in range(3):
        read.clear()
        reports.append(await imported(service, data, deleted="drop"))
        assert read[0] == 1
    assert len({str(report.problems) for report in reports}) == 1
    assert [problem.reason for problem in reports[0].problems] == ["its JSON is broken"]
    assert counts(reports[1]) == counts(reports[2])
    assert ids(await service.frames()) == ids(before)


async def test_broken_files_are_told_again_each_time(
    service: ocs.OpencodeSessionService, tree: Path
) -> None:
    session, parts = tree_session(tree)
    parts[0].write_text("{")
    aged(parts[0], 1)
    first, second = await imported(service, tree), await imported(service, tree)
    (problem,) = first.problems
    assert session in problem.place
    assert second.problems == [problem]


# Interrupted

# Each job is a store and when to die: in the middle of a statement, after how many times 100 of
# SQLite's steps or of what is sent to PostgreSQL; or, below 1, at some moment of the time that the
# first job took, be it in the middle of a commit. A fork saves importing it all again.
IMPORTS = """
import asyncio, json, os, signal, sys, threading, time
from asyncio.selector_events import _SelectorSocketTransport as Transport
import aiosqlite
import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.util import await_only
import opencode_sessions as ocs
from opencode_sessions import service, sync

sync.ROWS_TOGETHER = 60  # some sessions at a time, and some times
write = Transport.write

def counted(self, data):
    step()
    write(self, data)

@event.listens_for(Engine, "connect")
def count(connection, record):
    if sys.argv[3] == "sqlite":
        await_only(connection.driver_connection.set_progress_handler(step, 100))
    else:
        Transport.write = counted

def step():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

async def main(store):
    async with await ocs.open(store, migrate=False) as svc:
        await svc.import_opencode(sys.argv[1], progress=False)

codes, took = [], None
for store, left in json.loads(sys.argv[2]):
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        if left < 1:
            moment = threading.Timer(left * took, os.kill, (os.getpid(), signal.SIGKILL))
            moment.daemon = True
            moment.start()
        asyncio.run(main(store))
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    took = took or time.monotonic() - started
print(json.dumps(codes))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(("kind", "longest"), [("sqlite", 100), ("postgresql", 30)])
async def test_killed_at_any_point_the_next_import_completes(
    kind: str,
    longest: int,
    recordings: dict[str, Recording],
    request: pytest.FixtureRequest,
    empty: Empty,
    tmp_path: Path,
) -> None:
    database = recordings["opencode-1.18.33"].database
    expected = ocs.read_opencode(database, diffs=True, parts=True)
    chance = random.Random(18)
    if kind == "sqlite":
        stores = [shutil.copy(empty.store, tmp_path / f"{number}.db") for number in range(10)]
    else:
        server: Server = request.getfixturevalue("postgres")
        stores = [server.database("store", open_and_close) for _ in range(10)]
    whole, *stores = map(str, stores)
    steps = [(store, chance.randrange(1, longest)) for store in stores[:5] for _kill in range(6)]
    times = [(store, chance.random()) for store in stores[5:] for _kill in range(4)]
    jobs = [(whole, 10**9), *steps, *times]
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", IMPORTS, database, json.dumps(jobs), kind],
        check=True,
        stdout=subprocess.PIPE,
    )
    codes = json.loads(ran.stdout)
    assert {*codes} <= {0, -9} and len(codes) == len(jobs)
    assert codes[1 : 1 + len(steps)].count(-9) >= KILLS
    assert -9 in codes[1 + len(steps) :]
    new = 0
    for store in stores:
        async with await ocs.open(store) as svc:
            report = await imported(svc, database)
            assert_same_frames(await svc.frames(diffs=True, parts=True), expected)
            assert report.sessions.total == len(expected.sessions)
            assert counts(await imported(svc, database)) == all_unchanged(expected)
            new += report.sessions.new
    assert 0 < new < len(stores) * len(expected.sessions)  # they were killed on the way


async def test_a_cancelled_import_is_completed_by_the_next(
    service: ocs.OpencodeSessionService, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "ROWS_TOGETHER", 1)
    expected = ocs.read_opencode(data, diffs=True, parts=True)
    kind: Any = type(service.store)
    apply = kind.apply
    for stop_at in (1, 2):
        done = 0

        async def cancelling(self: Any, steps: Any, stop_at: int = stop_at) -> Any:
            nonlocal done
            done += 1
            if done == stop_at:
                task = asyncio.current_task()
                assert task
                task.cancel()
            return await apply(self, steps)

        monkeypatch.setattr(kind, "apply", cancelling)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(imported(service, data))
        monkeypatch.setattr(kind, "apply", apply)
        for name, left in ids(await service.frames()).items():
            assert left <= ids(expected)[name]
    report = await imported(service, data)
    assert_same_frames(await service.frames(diffs=True, parts=True), expected)
    assert report.sessions.total == len(expected.sessions)


async def test_a_session_that_could_not_be_stored_comes_with_the_next_import(
    service: ocs.OpencodeSessionService, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: type[MemoryStore | SqlStore] = type(service.store)  # type: ignore[assignment]
    apply: Any = kind.apply

    async def failing(self: Any, steps: Any) -> Any:
        if any(row.get("opencode_id") == CART for step in steps for row in step.rows):
            raise StoreFailed("the disk is full", is_passing=True)
        return await apply(self, steps)

    monkeypatch.setattr(kind, "apply", failing)
    report = await imported(service, data)
    assert (report.sessions.new, report.sessions.skipped) == (3, 1)
    assert report.problems == [Problem(f"session {CART}", "could not be stored: the disk is full")]
    monkeypatch.undo()
    report = await imported(service, data)
    assert (report.sessions.new, report.sessions.unchanged) == (1, 3)
    assert_same_frames(await service.frames(), ocs.read_opencode(data))


async def test_a_source_that_changes_while_it_is_read_is_read_again(
    service: ocs.OpencodeSessionService, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Database.sessions
    tries = 0

    def changing(self: Database, **options: Any) -> Iterator[Any]:
        nonlocal tries
        tries += 1
        for number, item in enumerate(sessions(self, **options)):
            yield item
            if number == tries and tries < 3:
                raise SourceChanged("opencode wrote meanwhile")

    monkeypatch.setattr(Database, "sessions", changing)
    report = await imported(service, data)
    assert tries == 3
    expected = ocs.read_opencode(data)
    for name in TABLES:
        rows = len(getattr(expected, name))
        assert counts(report)[name] == (rows, 0, 0, 0)
    assert_same_frames(await service.frames(), expected)


def test_the_state_of_a_session_says_nothing_of_rows_that_hang_on_none(data: Path) -> None:
    with closing(sqlite3.connect(data / "opencode.db")) as connection, connection:
        connection.execute("DELETE FROM session WHERE id = ?", (CART,))
    states = database_.Database(data / "opencode.db").states()
    assert CART not in states
    assert len(states) == 3


# The same ids twice


def copied(tree: Path, session: str, copy: str, *, parts: bool = True) -> None:
    """A session copied by hand: another session with the same messages, and the same parts."""
    storage = tree / "storage"
    (file,) = storage.glob(f"session/*/{session}.json")
    info = json.loads(file.read_text()) | {"id": copy, "title": "A copy"}
    file.with_name(f"{copy}.json").write_text(json.dumps(info))
    shutil.copytree(storage / "message" / session, storage / "message" / copy)
    if not parts:  # other messages, but parts with the ids of those of others
        for message in sorted((storage / "message" / copy).iterdir()):
            new = message.rename(message.with_name(f"{message.stem}X.json"))
            if (folder := storage / "part" / message.stem).exists():
                shutil.copytree(folder, storage / "part" / new.stem)

    for written in storage.rglob("*.json"):
        aged(written, 0)


def content(frames: Frames, session: str) -> list[Any]:
    """What a session's frames say, without the ids of rows."""
    said: list[Any] = []
    for name in ("messages", "tool_calls", "file_events"):
        frame = getattr(frames, name)
        own = frame[frame["session_id"] == session].astype(object)
        ids = [column for column in own if column.endswith(("_id", "project"))]
        said.append(own.drop(columns=[*ids, "is_fork_copy"]).fillna("NA").to_numpy().tolist())
    return said


@pytest.mark.parametrize("parts", [True, False])
async def test_sessions_that_share_ids_are_both_whole(
    service: ocs.OpencodeSessionService, tree: Path, read: list[Any], parts: bool
) -> None:
    before = ocs.read_opencode(tree)
    session = str(before.file_events["session_id"].value_counts().idxmax())
    copied(tree, session, "ses_zzz", parts=parts)
    report = await imported(service, tree)
    after = await service.frames()
    for kept in before.sessions["session_id"]:
        assert content(after, kept) == content(before, kept)
    # of two that are as old the one that sorts first keeps its ids: the other has its own
    assert content(after, "ses_zzz") == content(before, session)
    for name, key in (("tool_calls", "tool_call_id"), ("file_events", "event_id")):
        rows = getattr(after, name)
        assert rows[key].is_unique
        assert rows[key].str.len().max() <= 36
        own = rows[rows["session_id"] == "ses_zzz"]
        messages = after.messages[after.messages["session_id"] == "ses_zzz"]
        assert own["message_id"].isin(messages["message_id"]).all()
    notes = [note for note in report.notes if "of another session" in note]
    assert len(notes) == (1 if parts else 0)
    # Again: nothing has changed, also if all of it is read.
    read.clear()
    again = await imported(service, tree)
    assert (read, counts(again)) == ([0], all_unchanged(after))
    await imported(service, tree, origin="x")
    assert ids(await service.frames()) == ids(after)


async def test_a_copy_that_comes_later_takes_nothing_away(
    service: ocs.OpencodeSessionService, tree: Path, tmp_path: Path
) -> None:
    await imported(service, tree)
    before = await service.frames()
    session = str(before.file_events["session_id"].value_counts().idxmax())
    other = Path(shutil.copytree(tree, tmp_path / "other"))
    copied(other, session, "ses_aaa")
    (file,) = (other / "storage").glob(f"session/*/{session}.json")
    file.unlink()
    shutil.rmtree(other / "storage" / "message" / session)
    for _time in range(2):
        report = await imported(service, other)
        after = await service.frames()
        assert content(after, session) == content(before, session)
        assert content(after, "ses_aaa") == content(before, session)
    assert report.messages.new == report.messages.changed == 0
    # what is gone from the copy is gone there alone
    gone = sorted((other / "storage" / "message" / "ses_aaa").iterdir())[-1]
    gone.unlink()
    await imported(service, other)
    now = (await service.frames()).messages
    assert now.loc[now["deleted_at"].notna(), "session_id"].tolist() == ["ses_aaa"]
    assert now.loc[now["deleted_at"].notna(), "opencode_message_id"].tolist() == [gone.stem]


def with_part_ids(tree: Path, database: Path, recording: Recording) -> None:
    """What later versions made of a tree of 0.1: a database, with the parts as rows with ids."""
    shutil.copy(recording.database, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in ("part", "message", "session", "project"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute(
            "INSERT INTO project (id, worktree, time_created, time_updated, sandboxes) "
            "VALUES ('p', '/home/dev/shop', 1, 1, '[]')"
        )
        _, *records = StorageTree(tree).sessions(shell=False)
        for record in records:
            at = record.info["time"]
            assert isinstance(record, SessionRecord)
            connection.execute(
                "INSERT INTO session (id, project_id, slug, directory, title, version, "
                "time_created, time_updated) VALUES (?, 'p', 's', '/home/dev/shop', ?, ?, ?, ?)",
                (record.id, record.title, record.version, at["created"], at["updated"]),
            )
            for message in record.messages:
                connection.execute(
                    "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
                    (message.id, record.id, 1, 1, json.dumps(message.info)),
                )
                for n, part in enumerate(message.parts):
                    if invocation := part.get("toolInvocation"):
                        done = {"status": "completed", "input": invocation["args"]}
                        done |= {"output": invocation.get("result")}
                        part = {"type": "tool", "tool": invocation["toolName"], "state": done}
                        part["callID"] = invocation["toolCallId"]
                    connection.execute(
                        "INSERT INTO part VALUES (?, ?, ?, 1, 1, ?)",
                        (f"prt_{message.id[4:]}_{n:02}", message.id, record.id, json.dumps(part)),
                    )


@pytest.mark.parametrize("first", ["tree", "database", "both"])
async def test_calls_without_ids_of_their_own_are_the_same_when_they_have_one(
    service: ocs.OpencodeSessionService,
    trees: dict[str, Recording],
    recordings: dict[str, Recording],
    tmp_path: Path,
    first: str,
) -> None:
    """0.1 has calls without an id of their part; what it became has one."""
    data = trees["opencode-0.1.174"].database
    database = tmp_path / "opencode.db"
    with_part_ids(data, database, recordings["opencode-1.18.33"])
    whole = ocs.read_opencode(database, shell=False)
    sources: dict[str, Any] = {"tree": data, "database": database, "both": [data, database]}
    for place in (sources[first], *sources.values(), sources["both"]):
        await imported(service, place, shell=False)
        found = await service.frames()
        for name in TABLES:
            assert len(getattr(found, name)) == len(getattr(whole, name)), (place, name)
        assert not found.tool_calls["is_undone"].any()
    assert len(whole.tool_calls) > 20


# Older, and only some


async def test_a_backup_does_not_replace_what_is_newer(
    service: ocs.OpencodeSessionService, data: Path, tmp_path: Path
) -> None:
    backup = Path(shutil.copytree(data, tmp_path / "backup"))
    execute(
        backup,
        f"UPDATE session SET title = 'As it was', time_updated = time_updated - 60000 "
        f"WHERE id = '{CART}'",
        f"DELETE FROM message WHERE id IN ('{last_messages(data, CART, 1)[0]}')",
        f"UPDATE session SET title = 'Just as new' WHERE id = '{SHIPPING}'",
        f"UPDATE message SET time_updated = time_updated + 1 WHERE session_id = '{SHIPPING}'",
    )
    await imported(service, data)
    before = await service.frames(diffs=True, parts=True)
    report = await imported(service, backup)
    assert "1 sessions are older here than what is stored: that was kept" in report.notes
    after = await service.frames(diffs=True, parts=True)
    titles = after.sessions.set_index("session_id")["title"]
    assert titles[CART] == before.sessions.set_index("session_id")["title"][CART]
    assert titles[SHIPPING] == "Just as new"  # as new as what is stored: what comes last
    for name in TABLES[1:]:
        pd.testing.assert_frame_equal(getattr(after, name), getattr(before, name))
    # The other way round, what is newer is taken.
    async with ocs.OpencodeSessionService() as other:
        await imported(other, backup)
        report = await imported(other, data)
        assert not any("older" in note for note in report.notes)
        assert_same_frames(await other.frames(diffs=True, parts=True), before)


async def test_only_what_is_wanted_counts_as_unchanged(
    service: ocs.OpencodeSessionService, data: Path
) -> None:
    execute(
        data,
        "INSERT INTO project (id, worktree, time_created, time_updated, sandboxes) "
        "VALUES ('else', '/home/dev/elsewhere', 1, 1, '[]')",
        f"UPDATE session SET project_id = 'else' WHERE id = '{CART}'",
    )
    await imported(service, data)
    frames = await service.frames()
    by_session = frames.messages["session_id"].value_counts()
    touched = frames.sessions.sort_values("updated_at")
    latest = touched["session_id"].tolist()[2:]
    for options, wanted in (
        ({"project": "elsewhere"}, [CART]),
        ({"since": touched["updated_at"].iloc[2].isoformat()}, latest),
        ({"project": "nowhere"}, []),
        ({}, frames.sessions["session_id"].tolist()),
    ):
        report = await imported(service, data, **options)
        assert (report.sessions.unchanged, report.sessions.total) == (len(wanted), len(wanted))
        assert report.messages.unchanged == by_session.reindex(wanted).sum()
