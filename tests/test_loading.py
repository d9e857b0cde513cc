"""Loading what was asked for gives what the frames of everything have, whatever the store."""

import asyncio
import posixpath
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import RECORDINGS, Empty, Recording, open_and_close
from handmade import WRITTEN, said
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from postgres import Server
from sqlalchemy.dialects import sqlite

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames, arrow, load, loading
from opencode_sessions.analytics.columns import FIXED
from opencode_sessions.analytics.paths import plain_paths, posix_path
from opencode_sessions.models import ODDLY_WRITTEN
from opencode_sessions.showing.source import FromFrames
from opencode_sessions.store import (
    NotAtOnce,
    Put,
    queries,
)
from opencode_sessions.store.values import is_oddly_written

NAMES = ("sessions", "messages", "tool_calls", "file_events")


def of_sessions(frames: Frames, wanted: "pd.Series[bool]") -> Frames:
    """What filtering the frames of everything gives."""
    ids = set(frames.sessions.loc[wanted, "session_id"])
    chosen = {name: getattr(frames, name) for name in NAMES}
    return Frames(
        **{name: only(table, table["session_id"].isin(ids)) for name, table in chosen.items()}
    )


def of_file(frames: Frames, path: str) -> Frames:
    events = frames.file_events
    events = only(events, (events["file_path"] == path) | (events["new_file_path"] == path))
    messages = set(events["message_id"])
    return Frames(
        sessions=only(
            frames.sessions, frames.sessions["session_id"].isin(set(events["session_id"]))
        ),
        messages=only(frames.messages, frames.messages["message_id"].isin(messages)),
        tool_calls=only(frames.tool_calls, frames.tool_calls["message_id"].isin(messages)),
        file_events=events,
    )


def only(table: pd.DataFrame, wanted: "pd.Series[bool]") -> pd.DataFrame:
    """These rows, their categories those observed."""
    table = table[wanted].reset_index(drop=True)
    for name in table.select_dtypes("category"):
        if name not in FIXED:
            table[name] = table[name].cat.remove_unused_categories()
    return table


def assert_same(found: Frames, expected: Frames) -> None:
    for name in NAMES:
        pd.testing.assert_frame_equal(
            getattr(found, name), getattr(expected, name), check_exact=True
        )


@dataclass(frozen=True)
class Imported:
    """All recordings in one store, and the frames of everything in it."""

    memory: ocs.OpencodeSessionService
    file: Path
    url: str
    frames: Frames

    def load(self, **wanted: Any) -> list[Frames]:
        """From memory, from a file, and from PostgreSQL."""

        async def from_each() -> list[Frames]:
            found = [await load(self.memory, **wanted)]
            for target in (self.file, self.url):
                async with await ocs.open(target, migrate=False) as svc:
                    found.append(await load(svc, **wanted))
            return found

        return asyncio.run(from_each())


@pytest.fixture(scope="module")
def imported(
    recordings: dict[str, Recording],
    empty: Empty,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Server,
) -> Imported:
    file = Path(shutil.copy(empty.store, tmp_path_factory.mktemp("all") / "sessions.db"))
    url = postgres.database("store", open_and_close)
    memory = ocs.OpencodeSessionService()

    async def import_into(each: ocs.OpencodeSessionService) -> None:
        for name in RECORDINGS:
            await each.import_opencode(recordings[name].database, origin=name, progress=False)

    async def import_all() -> Frames:
        await import_into(memory)
        for target in (file, url):
            async with await ocs.open(target, migrate=False) as svc:
                await import_into(svc)
        return await memory.frames(diffs=True, parts=True)

    return Imported(memory, file, url, asyncio.run(import_all()))


@pytest.mark.parametrize("rows_at_once", [arrow.BATCH, 700])
def test_memory_file_and_postgresql_give_the_same(
    imported: Imported, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(imported.frames.sessions) > 60 and len(imported.frames.tool_calls) > 700
    monkeypatch.setattr(arrow, "BATCH", rows_at_once)
    for found in imported.load(diffs=True, parts=True):
        assert_same(found, imported.frames)


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_loading_some_is_filtering_all(imported: Imported, data: st.DataObject) -> None:
    expected = imported.frames
    sessions, events = expected.sessions, expected.file_events
    wanted: dict[str, Any] = {}
    is_wanted = pd.Series(True, index=sessions.index)
    if data.draw(st.booleans(), "by session"):
        ids = st.sampled_from([*sessions["session_id"], *sessions["opencode_session_id"], "ses_no"])
        wanted["sessions"] = data.draw(st.lists(ids, max_size=9))
        is_wanted &= sessions["session_id"].isin(wanted["sessions"])
    if data.draw(st.booleans(), "by project"):
        project = data.draw(st.sampled_from(sorted(set(sessions["project"]))))
        last, id = posixpath.basename(project), sessions["project_id"].astype(object)
        is_of = (sessions["project"] == project) | (sessions["workdir"] == project)
        is_named = (
            sessions[["project", "workdir"]]
            .astype("str")
            .apply(lambda column: column.str.endswith(f"/{last}"))
        )
        wanted["project"] = data.draw(st.sampled_from([project, f"{project}/", last]))
        is_wanted &= is_of if wanted["project"] != last else is_named.any(axis=1)
        assert id.notna().any()
    if data.draw(st.booleans(), "by time"):
        times = sorted({*sessions["updated_at"], *sessions["created_at"]})
        since = data.draw(st.sampled_from(times)) + pd.Timedelta(
            microseconds=data.draw(st.sampled_from([-1, 0, 1]))
        )
        wanted["since"] = data.draw(st.sampled_from([since, since.isoformat()]))
        spoke = expected.messages.loc[expected.messages["time"] >= since, "session_id"]
        is_touched = (sessions["updated_at"] >= since) | (sessions["created_at"] >= since)
        is_wanted &= is_touched | sessions["session_id"].isin(set(spoke))
    expected = of_sessions(expected, is_wanted)
    if data.draw(st.booleans(), "by file"):
        paths = {*events["file_path"].dropna(), *events["new_file_path"].dropna(), "no.such"}
        wanted["file_path"] = data.draw(st.sampled_from(sorted(paths)))
        expected = of_file(expected, wanted["file_path"])
    for found in imported.load(diffs=True, parts=True, **wanted):
        assert_same(found, expected)


def test_a_file_is_found_by_its_path(imported: Imported) -> None:
    events = imported.frames.file_events.drop(columns="diff")

    async def look(target: Path | str) -> None:
        async with await ocs.open(target, migrate=False) as svc:
            paths = {*events["file_path"].dropna(), *events["new_file_path"].dropna()}
            for path in sorted(paths)[::3]:
                found = await svc.file_events(file_path=path)
                on = (events["file_path"] == path) | (events["new_file_path"] == path)
                pd.testing.assert_frame_equal(found, only(events, on), check_exact=True)

    for target in (imported.file, imported.url):
        asyncio.run(look(target))


async def test_unknown_file_and_session_have_no_rows(service: ocs.OpencodeSessionService) -> None:
    for wanted in ({"file_path": "a.py"}, {"sessions": ["ses_1"]}, {"sessions": []}):
        frames = await service.frames(**wanted)
        assert [len(getattr(frames, name)) for name in NAMES] == [0, 0, 0, 0]


async def test_what_no_database_holds_is_asked_for_as_it_was_stored(
    service: ocs.OpencodeSessionService,
) -> None:
    session = await service.get_or_create_session("ses_\ud800\0")
    await service.persist_message(session, "user", "1")
    assert len((await service.frames(sessions=["ses_\ud800\0"])).messages) == 1
    assert (await service.message("msg_\ud800\0")).empty


async def test_a_file_without_its_folder_is_said_to_be_none(
    service: ocs.OpencodeSessionService, caplog: pytest.LogCaptureFixture
) -> None:
    session = await service.get_or_create_session("ses_1", workdir="/w")
    message = await service.persist_message(session, "assistant", "1")
    await service.persist_file_events(message, [WRITTEN | {"input": {"filePath": "src/cli.py"}}])
    assert len(await service.file_events(file_path="src/cli.py")) == 1
    assert (await service.frames(file_path="src/cli.py", project="w")).sessions.shape[0] == 1
    assert not caplog.messages
    told = (
        "No event is of file 'cli.py'. Paths are from the project's worktree, as frames show them."
    )
    assert (await service.file_events(file_path="cli.py")).empty
    assert (await service.file_events("ses_1", file_path="cli.py")).empty
    assert (await service.frames(file_path="cli.py")).file_events.empty
    assert caplog.messages == [told, told, told]
    caplog.clear()
    await service.frames(file_path="cli.py", project="v")  # no session, so no file: said once
    assert caplog.messages == ["No session is of project 'v'. Projects: /w."]


async def test_a_bar_of_what_is_read_again_does_not_flash_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(*_: object) -> None:
        raise NotAtOnce("as a damaged page would")

    monkeypatch.setattr(loading, "read", refuses)
    async with await ocs.open(tmp_path / "x.db") as svc:
        await said(svc, "1")
        assert len((await svc.frames()).messages) == 1
    assert capsys.readouterr().err == ""


async def test_costs_add_up_in_the_order_of_the_session(
    service: ocs.OpencodeSessionService,
) -> None:
    """Whenever a row was stored: floats add up otherwise in another order."""
    costs = [0.1, 0.2, 0.3]
    for name, order in {"ses_1": [0, 1, 2], "ses_2": [1, 2, 0]}.items():
        session = await service.get_or_create_session(name)
        for seq in order:
            id = f"{name}_{seq}"
            ids = {"id": id, "opencode_id": id, "session_id": session.id, "seq": seq}
            row = ids | {"role": "assistant", "cost_usd": costs[seq]}
            await service.store.apply([Put("messages", [row])])
    at_once = (await service.frames()).sessions["cost_usd"]
    for found in (at_once, (await service.sessions())["cost_usd"]):
        assert found[0] == found[1] == pytest.approx(0.6)


@pytest.mark.parametrize("is_named_as_another", [False, True])
@pytest.mark.parametrize("asked", [{"sessions": ["a", "b"]}, {"file_path": "a.py"}])
async def test_parents_at_any_height_stored_or_not(
    asked: dict[str, Any], is_named_as_another: bool, tmp_path: Path
) -> None:
    """Each is asked for once; one named by opencode's id is that one, not the row of this id."""
    async with await ocs.open(tmp_path / "x.db") as svc:
        for name in "abc":
            session = await svc.get_or_create_session(name, workdir="/w")
            if name != "c":
                message = await svc.persist_message(session, "assistant", "1")
                await svc.persist_file_events(message, [WRITTEN])
        with closing(sqlite3.connect(tmp_path / "x.db")) as other:
            ((third,),) = other.execute(
                "SELECT id FROM opencode_sessions WHERE opencode_id = ?",
                ("a" if is_named_as_another else "c",),
            )
            set_to = "UPDATE opencode_sessions SET {} = ? WHERE opencode_id = ?"
            other.execute(set_to.format("opencode_id"), (third, "c"))
            for name, parent in {"a": "gone", "b": third, third: "gone, too"}.items():
                other.execute(set_to.format("parent_id"), (parent, name))
            other.commit()
        whole = await load(svc)
        assert set(whole.file_events["root_session_id"]) == {"gone", "gone, too"}
        async with asyncio.timeout(60):  # two that are not stored were asked for in turns, for ever
            some = await load(svc, **asked)
        pd.testing.assert_frame_equal(some.file_events, whole.file_events, check_exact=True)
        if "file_path" in asked:
            found = await svc.file_events(**asked)
            pd.testing.assert_frame_equal(found, whole.file_events, check_exact=True)


def test_message_comes_with_the_prompt_it_answers(imported: Imported) -> None:
    messages = imported.frames.messages
    some = messages.groupby(["session_id", "role"], observed=True).tail(2)
    by_hand = {}
    for id, session, seq, role in some[["message_id", "session_id", "seq", "role"]].to_numpy():
        its = messages[messages["session_id"] == session]
        prompts = its[(its["role"] == "user") & (its["seq"] < seq)].tail(role != "user")
        by_hand[id] = [*prompts["message_id"], id]
    assert {len(ids) for ids in by_hand.values()} == {1, 2}

    async def ask(svc: ocs.OpencodeSessionService) -> None:
        for id, expected in by_hand.items():
            found = await svc.message(id)
            assert list(found["message_id"]) == expected
            assert found.iloc[-1]["parts"] == messages.set_index("message_id")["parts"][id]
        assert (await svc.message("no such message")).empty

    async def ask_each() -> None:
        await ask(imported.memory)
        for target in (imported.file, imported.url):
            async with await ocs.open(target, migrate=False) as svc:
                await ask(svc)
        frames = FromFrames(imported.frames)
        for id, expected in by_hand.items():
            assert list((await frames.message(id))["message_id"]) == expected
        assert (await frames.message("no such message")).empty

    asyncio.run(ask_each())


# Paths

LETTERS = ["/", "/", ".", "..", "a", "b", "\\", "C:", "w", "W", "é", "%", "_"]
PATHS = st.lists(st.sampled_from(LETTERS), max_size=7).map("".join)
PLACES = st.none() | st.sampled_from(["", "/", "/w", "/w/a", "w", "C:\\w", "c:/W"]) | PATHS


@given(PATHS, PLACES, PLACES)
@settings(max_examples=3000)
@example("a/b", "/w/a", "/w")
@example("b", "/w//a/../a", "/w")
@example("a", "w", None)
def test_plain_path_is_found_by_what_is_shown(
    path: str, directory: str | None, worktree: str | None
) -> None:
    shown = posix_path(path, directory, worktree)
    plain = plain_paths(shown, [(None, None), (directory, worktree)])
    ending = posixpath.basename(shown).strip(".")
    is_ending = path == "" or path.endswith((ending, "/", "\\", "."))
    if plain is None:
        assert is_ending
    else:
        assert path in plain or (is_oddly_written(path) and is_ending)


@given(st.lists(PATHS, min_size=1))
def test_database_knows_an_odd_path_as_we_do(paths: list[str]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (file_path)")
        connection.executemany("INSERT INTO t VALUES (?)", [(path,) for path in paths])
        odd = connection.execute(f"SELECT file_path FROM t WHERE {ODDLY_WRITTEN}").fetchall()
    assert [path for (path,) in odd] == [path for path in paths if is_oddly_written(path)]


def test_postgresql_knows_an_odd_path_as_we_do(postgres: Server) -> None:
    paths = ["".join(letters) for n in range(5) for letters in product([*set(LETTERS)], repeat=n)]
    rows = ",".join(f"(U&'{path.replace(chr(92), chr(92) * 2)}')" for path in paths)
    odd = postgres.execute(f"SELECT * FROM (VALUES {rows}) AS t (file_path) WHERE {ODDLY_WRITTEN}")
    assert [path for (path,) in odd] == [path for path in paths if is_oddly_written(path)]


async def test_file_and_session_are_found_by_index(tmp_path: Path) -> None:
    """Each part of what finds a file's events reads an index, also in a store of any size."""
    async with await ocs.open(tmp_path / "x.db"):
        pass
    row_by_row = partial(queries.on_paths, "sqlite")
    for asked, first in ((row_by_row, []), (queries.texts_on_paths, ["INTEGER PRIMARY KEY"])):
        statement, values = asked(["id"], {"a.py", "/w/a.py"}, "a.py")
        compiled = statement.params(values).compile(
            dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
        )
        with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {compiled}")]
        used = [step for step in plan if "opencode_file_events" in step]
        indexes = [
            f"ix_opencode_file_events_{name}" for name in ("file_path", "odd_path", "new_path")
        ]
        for step, index in zip(used, [*first, *indexes], strict=True):
            assert index in step
