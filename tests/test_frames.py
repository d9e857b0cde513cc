"""The four frames: the columns and dtypes they promise, whatever the store and what is in it."""

import re
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from conftest import RECORDINGS, Recording

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.analytics.columns import COLUMNS
from opencode_sessions.analytics.columns import page as columns_page
from opencode_sessions.analytics.paths import posix_path

NAMES = ("sessions", "messages", "tool_calls", "file_events")
PLACE = "session_id opencode_session_id root_session_id parent_session_id project"
MONEY = "cost_usd tokens_input tokens_output tokens_reasoning tokens_cache_read tokens_cache_write"
REPORTED = "reported_files reported_additions reported_deletions"
REPORTED_MONEY = " ".join(f"reported_{name}" for name in MONEY.split())
PROMISED = {
    "file_events": f"""event_id {PLACE} turn message_id call_id seq time duration_s actor
        agent_name provider model tool event_type file_path new_file_path is_new_file command status
        error additions deletions start_line end_line evidence output_bytes exit_code pruned_at
        errors_left is_fork_copy is_undone source origin diff""",
    "sessions": f"""{PLACE} project_id workdir title agent_name provider model opencode_version
        created_at updated_at archived_at deleted_at abi_thread_id turns messages tool_calls
        file_events {MONEY} {REPORTED} {REPORTED_MONEY} source origin""",
    "messages": f"""message_id {PLACE} opencode_message_id parent_message_id turn seq time
        duration_s deleted_at role agent_name provider model finish error is_compaction content
        {MONEY} {REPORTED} is_fork_copy is_undone source origin parts""",
    "tool_calls": f"""tool_call_id {PLACE} turn message_id call_id seq time duration_s actor
        agent_name provider model tool status error title exit_code output_bytes input_hash
        child_session_id is_fork_copy is_undone source origin input""",
}
OPTIONAL = {"diff", "parts", "input"}
FLAT = [
    {"type": "text", "text": "done"},
    {"type": "tool_use", "name": "edit", "input": {"path": "a.py", "new_string": "x"}},
    {"type": "tool_use", "name": "bash", "input": {"command": "ls"}},
]


def dtypes(frames: Frames) -> dict[str, dict[str, str]]:
    return {name: getattr(frames, name).dtypes.astype(str).to_dict() for name in NAMES}


def promised(optional: bool) -> dict[str, dict[str, str]]:
    return {
        name: {c.name: c.dtype for c in COLUMNS[name] if optional or not c.is_optional}
        for name in NAMES
    }


@pytest.fixture
def edited(recordings: dict[str, Recording], tmp_path: Path) -> Path:
    """A recording to change, as opencode would have left it otherwise."""
    return Path(shutil.copy(recordings["opencode-1.2.1"].database, tmp_path / "opencode.db"))


def execute(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_promised_column_is_there_in_this_order(name: str) -> None:
    assert [column.name for column in COLUMNS[name]] == PROMISED[name].split()  # type: ignore[index]
    assert {c.name for c in COLUMNS[name] if c.is_optional} <= OPTIONAL  # type: ignore[index]


def test_schema_tells_each_column(trailmap: Recording) -> None:
    frames = ocs.read_opencode(trailmap.database, diffs=True, parts=True)
    schema = frames.schema
    assert list(schema) == ["frame", "name", "dtype", "meaning", "unit", "is_optional"]
    for name in NAMES:
        told = schema[schema["frame"] == name].set_index("name")["dtype"]
        assert told.to_dict() == getattr(frames, name).dtypes.astype(str).to_dict()
    assert schema["meaning"].str.len().min() > 3
    assert not schema.duplicated(["frame", "name"]).any()


def test_the_page_of_columns_is_what_the_code_says() -> None:
    """Where this fails: `make columns`."""
    page = (Path(__file__).parents[1] / "docs" / "columns.md").read_text(encoding="utf-8")
    assert page == f"{columns_page()}\n"
    schema = ocs.analytics.Frames(*[pd.DataFrame()] * 4).schema
    assert len(re.findall(r"^\| `", page, re.M)) == len(schema)


def test_another_frames_values_come_as_the_page_says(trailmap: Recording) -> None:
    frames = ocs.read_opencode(trailmap.database)
    lines = re.findall(r"^    (.*)$", columns_page(), re.M)
    events = frames.file_events.copy()
    exec("\n".join(lines), {"frames": frames, "events": events})
    merged = frames.file_events.merge(frames.sessions[["session_id", "model"]], on="session_id")
    by_hand = dict(zip(frames.sessions["session_id"], frames.sessions["model"], strict=True))
    expected = [by_hand[id] for id in events["session_id"]]
    assert list(events["session_model"]) == list(merged["model_y"]) == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", RECORDINGS)
def test_dtypes_are_those_promised(name: str, recordings: dict[str, Recording]) -> None:
    database = recordings[name].database
    assert dtypes(ocs.read_opencode(database)) == promised(optional=False)
    assert dtypes(ocs.read_opencode(database, diffs=True, parts=True)) == promised(optional=True)


@pytest.mark.parametrize("optional", [False, True])
async def test_empty_store_has_the_same_columns(
    service: ocs.OpencodeSessionService, optional: bool
) -> None:
    frames = await service.frames(diffs=optional, parts=optional)
    assert dtypes(frames) == promised(optional)
    assert [len(getattr(frames, name)) for name in NAMES] == [0, 0, 0, 0]
    for name in ("event_type", "status", "evidence", "actor"):
        assert len(frames.file_events[name].cat.categories) > 1  # the fixed ones, always


async def test_what_an_application_stored_has_the_same_columns(
    service: ocs.OpencodeSessionService,
) -> None:
    session = await service.get_or_create_session(None, "build", "/home/ana/app", None, None)
    message = await service.persist_message(session, "assistant", FLAT)
    await service.persist_file_events(message, FLAT)
    frames = await service.frames(diffs=True, parts=True)
    assert dtypes(frames) == promised(optional=True)
    events = frames.file_events
    assert list(events["event_type"]) == ["edit", "bash"]
    paths = events["file_path"].astype(object).where(events["file_path"].notna(), None)
    assert list(paths) == ["a.py", None]
    assert list(events["project"]) == ["/home/ana/app"] * 2
    assert list(frames.messages["role"]) == ["assistant"]


def test_repeating_text_is_categories_in_order_and_no_others(trailmap: Recording) -> None:
    frames = ocs.read_opencode(trailmap.database)
    for name in NAMES:
        table = getattr(frames, name)
        for column in table.select_dtypes("category"):
            if column in ("event_type", "status", "evidence", "actor"):
                continue
            categories = list(table[column].cat.categories)
            assert categories == sorted(table[column].dropna().unique())


# Paths


@pytest.mark.parametrize(
    ("path", "directory", "worktree", "shown"),
    [
        ("/w/a.py", "/w", "/w", "a.py"),
        ("a.py", "/w", "/w", "a.py"),
        ("./src//a.py", "/w", "/w", "src/a.py"),
        ("src/../a.py", "/w", "/w", "a.py"),
        ("../../etc/passwd", "/w/app", "/w/app", "/etc/passwd"),
        ("../../../../etc/passwd", "/w", "/w", "/etc/passwd"),
        ("/w/../etc/passwd", "/w", "/w", "/etc/passwd"),
        ("/wide/a.py", "/w", "/w", "/wide/a.py"),  # no folder of /w
        ("/w", "/w", "/w", "."),
        ("/w/", "/w", "/w", "."),
        ("//w//a.py", "/w", "/w", "a.py"),
        # the session's directory below the worktree
        ("a.py", "/w/pkg/core", "/w", "pkg/core/a.py"),
        ("../a.py", "/w/pkg", "/w", "a.py"),
        ("../../a.py", "/w/pkg", "/w", "/a.py"),
        # no worktree
        ("/w/a.py", "/w", "/", "a.py"),
        ("/w/a.py", "/w", None, "a.py"),
        ("/w/a.py", "/w", "", "a.py"),
        ("/etc/x", "/", "/", "etc/x"),
        ("a.py", None, None, "a.py"),
        ("/w/a.py", None, None, "/w/a.py"),
        ("/w/a.py", None, "/w", "a.py"),
        # what an agent on Windows is given
        ("C:\\w\\src\\a.py", "C:\\w", "C:\\w", "src/a.py"),
        ("c:/W/src/a.py", "C:\\w", "C:\\w", "src/a.py"),
        ("src\\a.py", "C:\\w\\pkg", "C:\\w", "pkg/src/a.py"),
        ("..\\..\\a.py", "C:\\w\\pkg", "C:\\w", "C:/a.py"),
        ("D:\\data\\x.csv", "C:\\w", "C:\\w", "D:/data/x.csv"),
        ("C:\\w\\a.py", "C:\\w", None, "a.py"),
        ("C:\\W", "C:\\w", "C:\\w", "."),
        ("C:\\Stra\u00dfe\\a.py", "C:\\STRASSE", "C:\\STRASSE", "C:/Stra\u00dfe/a.py"),
        ("C:\\Stra\u00dfe\\a.py", "C:\\Stra\u00dfe", "C:\\Stra\u00dfe", "a.py"),
        ("\\\\server\\share\\a.py", "C:\\w", "C:\\w", "//server/share/a.py"),
        ("\\\\server\\share\\a.py", "\\\\server\\share", None, "a.py"),
        # a backslash is a letter elsewhere
        ("/w/a\\b.py", "/w", "/w", "a\\b.py"),
        ("größe 1.md", "/w", "/w", "größe 1.md"),
    ],
)
def test_path_is_seen_from_the_worktree(
    path: str, directory: str | None, worktree: str | None, shown: str
) -> None:
    assert posix_path(path, directory, worktree) == shown


def test_project_is_the_worktree_or_the_directory_where_there_is_none(
    recordings: dict[str, Recording],
) -> None:
    sessions = ocs.read_opencode(recordings["opencode-1.18.33"].database).sessions
    projects = sessions.set_index("title")["project"]
    assert projects["Receipts"] == "/home/dev/shop"
    assert projects["Scratch notes"] == "/home/dev/scratch"


# Parents


def parents(frames: Frames) -> dict[str, tuple[str | None, str]]:
    columns = ["session_id", "parent_session_id", "root_session_id"]
    table = frames.sessions[columns].astype(object)
    rows = table.where(table.notna(), None).itertuples(index=False, name=None)
    return {id: (parent, root) for id, parent, root in rows}


def test_parent_and_root_are_told(edited: Path) -> None:
    child, parent = "ses_dfbfb3c9affe6hoCeqil4DaxLu", "ses_dfbfb3e2dffeCPbXpgK68ukk5b"
    frames = ocs.read_opencode(edited)
    assert parents(frames)[child] == (parent, parent)
    assert parents(frames)[parent] == (None, parent)
    events = frames.file_events[frames.file_events["session_id"] == child]
    assert set(events["root_session_id"]) == set(events["parent_session_id"]) == {parent}


def test_parents_in_a_circle_end_where_it_closes(edited: Path) -> None:
    ids = sorted(parents(ocs.read_opencode(edited)))
    first, second, third, itself = ids
    execute(
        edited,
        f"update session set parent_id = '{second}' where id = '{first}'",
        f"update session set parent_id = '{third}' where id = '{second}'",
        f"update session set parent_id = '{first}' where id = '{third}'",
        f"update session set parent_id = '{itself}' where id = '{itself}'",
    )
    assert parents(ocs.read_opencode(edited)) == {
        first: (second, third),
        second: (third, first),
        third: (first, second),
        itself: (itself, itself),
    }


def test_parent_that_is_gone_is_told_all_the_same(edited: Path) -> None:
    child = "ses_dfbfb3c9affe6hoCeqil4DaxLu"
    execute(edited, f"update session set parent_id = 'ses_gone' where id = '{child}'")
    assert parents(ocs.read_opencode(edited))[child] == ("ses_gone", "ses_gone")


# What opencode sums up itself


def test_what_opencode_sums_up_is_kept_as_it_is(
    recordings: dict[str, Recording],
) -> None:
    for name in ("opencode-1.2.1", "opencode-1.15.4", "opencode-1.18.33"):
        recording = recordings[name]
        connection = sqlite3.connect(f"file:{recording.database}?immutable=1", uri=True)
        has_cost = name != "opencode-1.2.1"
        columns = ["summary_files", "summary_additions", "summary_deletions"]
        columns += ["cost", "tokens_input", "tokens_output"] if has_cost else []
        rows = connection.execute(f"select id, {', '.join(columns)} from session")
        stored = {id: list(values) for id, *values in rows}
        diffs = connection.execute(
            """select m.id, count(*), sum(d.value ->> '$.additions'), sum(d.value ->> '$.deletions')
            from message m, json_each(m.data, '$.summary.diffs') d group by m.id"""
        )
        by_turn = {id: counts for id, *counts in diffs}
        connection.close()
        frames = ocs.read_opencode(recording.database)
        reported = ["reported_files", "reported_additions", "reported_deletions"]
        reported += ["reported_cost_usd", "reported_tokens_input", "reported_tokens_output"]
        table = frames.sessions.set_index("opencode_session_id")[reported[: len(columns)]]
        kept = table.astype(object).where(table.notna(), None)
        assert {id: list(values) for id, *values in kept.itertuples()} == stored
        messages = frames.messages.set_index("message_id")[reported[:3]]
        counted = messages[messages["reported_files"].fillna(0) > 0]
        assert {id: list(values) for id, *values in counted.itertuples()} == by_turn
        assert by_turn


# What is shown


def test_repr_says_how_much_and_when(trailmap: Recording) -> None:
    frames = ocs.read_opencode(trailmap.database)
    assert "file_events        901 rows   2026-11-22 17:42 to 2026-11-22 18:10 UTC" in repr(frames)
    assert ".file_events</th><td>901</td>" in frames._repr_html_()


# One session's rows


async def test_session_is_found_by_either_of_its_ids() -> None:
    async with ocs.OpencodeSessionService() as svc:
        for id in ("ses_one", "ses_two"):
            session = await svc.get_or_create_session(id, "build", f"/home/{id}", None, None)
            message = await svc.persist_message(session, "assistant", FLAT)
            await svc.persist_file_events(message, FLAT)
        by_opencode_id = await svc.file_events("ses_two")
        pd.testing.assert_frame_equal(await svc.file_events(session.id), by_opencode_id)
    assert session.id != "ses_two"
    assert list(by_opencode_id["opencode_session_id"]) == ["ses_two", "ses_two"]
    assert list(by_opencode_id["project"].cat.categories) == ["/home/ses_two"]


async def test_session_alone_is_as_it_is_among_all(trailmap: Recording) -> None:
    async with ocs.OpencodeSessionService() as svc:
        await svc.import_opencode(trailmap.database, progress=False)
        frames = await svc.frames()
        child = frames.sessions.dropna(subset="parent_session_id")["session_id"].iloc[0]
        alone = await svc.file_events(child)
    among = frames.file_events[frames.file_events["session_id"] == child].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.astype(object), among.astype(object))
    assert alone["parent_session_id"].notna().all()
