"""The next engine's tables: read as today's are, beside them or alone, and nothing counted twice.

No recording has them with rows. The rows here are made by hand, of the shapes that opencode's
public source and published databases of 0.0.0-beta-19381 and 2.0.26 show (see `next_engine`).
"""

import json
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Recording
from hypothesis import given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.records import SessionRecord
from opencode_sessions.sources import Database, Problem

MODEL = {"id": "pine-1", "providerID": "forest"}
START = 1_790_000_000_000
HOME = "/home/ana/mill"
LARGE, LARGE_SESSIONS = 1_000_000, 20
SESSION_V2 = """
    CREATE TABLE session_v2 (
        id text PRIMARY KEY, project_id text NOT NULL, parent_id text, fork_session_id text,
        fork_boundary text, slug text NOT NULL, directory text NOT NULL, path text, title text,
        version text NOT NULL, cost real DEFAULT 0 NOT NULL, tokens_input integer DEFAULT 0,
        tokens_output integer DEFAULT 0, tokens_reasoning integer DEFAULT 0,
        tokens_cache_read integer DEFAULT 0, tokens_cache_write integer DEFAULT 0, revert text,
        agent text, model text, time_created integer NOT NULL, time_updated integer NOT NULL,
        time_idle integer, idle_outcome text, time_archived integer)"""
SESSION_MESSAGE = """
    CREATE TABLE session_message (
        id text PRIMARY KEY, session_id text NOT NULL, type text NOT NULL, seq integer NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL)"""

Row = tuple[str, dict[str, Any]]


def call(name: str, input: Any, /, *said: str, **state: Any) -> dict[str, Any]:
    """A call of an assistant's message, as it is when it is done."""
    content = [{"type": "text", "text": text} for text in said]
    return {
        **{"type": "tool", "id": f"call_{name}_{len(str(input))}", "name": name},
        "executed": False,
        "state": {"status": "completed", "input": input, "content": content, "metadata": {}}
        | state,
        "time": {"created": START + 1, "ran": START + 2, "completed": START + 1502},
    }


def answer(*content: dict[str, Any], **more: Any) -> Row:
    tokens = {"input": 7, "output": 29, "reasoning": 329, "cache": {"read": 5, "write": 0}}
    known = {"agent": "build", "model": MODEL, "finish": "stop", "cost": 0.25, "tokens": tokens}
    return "assistant", known | {"content": list(content)} | more


def prompt(text: str, **more: Any) -> Row:
    return "user", {"text": text, "files": []} | more


def write_v2(path: Path, rows: list[Row], session: str = "ses_next", **columns: Any) -> None:
    """Writes a session of the next engine into a database, which may be new."""
    info: dict[str, Any] = {
        **{"id": session, "project_id": "p1", "slug": "tall-elm", "directory": HOME},
        **{"title": "Mill", "version": "2.0.26", "time_created": START, "time_updated": START + 9},
    } | columns
    with closing(sqlite3.connect(path)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "project" not in tables:
            connection.execute("CREATE TABLE project (id text PRIMARY KEY, worktree text)")
        connection.execute("INSERT OR IGNORE INTO project (id, worktree) VALUES ('p1', ?)", (HOME,))
        if "session_v2" not in tables:
            connection.execute(SESSION_V2)
        if "session_message" not in tables:
            connection.execute(SESSION_MESSAGE)
        connection.execute(
            f"INSERT INTO session_v2 ({', '.join(info)}) VALUES ({', '.join('?' * len(info))})",
            tuple(info.values()),
        )
        for seq, (kind, data) in enumerate(rows):
            at = START + 10 * seq
            id = data.pop("id", f"msg_{session[4:]}_{seq:02}")
            values = (id, session, kind, seq, at, at, json.dumps({"time": {"created": at}} | data))
            connection.execute("INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def read(path: Path) -> tuple[dict[str, SessionRecord], list[Problem]]:
    _, *items = Database(path).sessions()
    records = {item.id: item for item in items if isinstance(item, SessionRecord)}
    return records, [item for item in items if isinstance(item, Problem)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "opencode.db"


def frames(path: Path, **options: Any) -> Frames:
    return ocs.read_opencode(path, **options)


def events(path: Path) -> pd.DataFrame:
    return frames(path).file_events.set_index("event_type")


PATCH = """*** Begin Patch
*** Add File: mill/wheel.py
+turns = 1
*** Update File: mill/old.py
*** Move to: mill/new.py
@@
-a
+b
*** Delete File: mill/dust.py
*** End Patch"""
DIFF = "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-a\n+b\n"
PATCHED = [
    {"file": "mill/wheel.py", "additions": 1, "deletions": 0, "status": "added"}
    | {"patch": "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+turns = 1\n"},
    {"file": "mill/new.py", "additions": 1, "deletions": 1, "status": "modified", "patch": DIFF},
    {"file": "mill/dust.py", "additions": 0, "deletions": 2, "status": "deleted"}
    | {"patch": "--- a\n+++ b\n@@ -1,2 +0,0 @@\n-x\n-y\n"},
]


def test_a_session_of_the_next_engine_is_a_session(path: Path) -> None:
    write_v2(
        path,
        [
            ("agent-switched", {"agent": "build"}),
            prompt("Build a mill", files=[{"uri": "file:///plan.md", "mime": "text/plain"}]),
            ("system", {"text": "The tools have changed."}),
            answer({"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Done."}),
            ("synthetic", {"text": "A command has ended."}),
            ("compaction", {"status": "completed", "summary": "We built.", "recent": "x"}),
            ("idle", {"outcome": "succeeded"}),
            prompt("And now?"),
            answer(error={"type": "provider.auth", "message": "no key"}),
        ],
        agent="build",
        model=json.dumps(MODEL),
        cost=0.5,
    )
    found = frames(path, parts=True)
    (session,) = found.sessions.to_dict("records")
    assert session["title"] == "Mill"
    assert (session["turns"], session["messages"], session["project"]) == (2, 7, HOME)
    assert (session["opencode_version"], session["reported_cost_usd"]) == ("2.0.26", 0.5)
    assert (session["agent_name"], session["provider"], session["model"]) == (
        *("build", "forest"),
        "pine-1",
    )
    messages = found.messages
    assert messages["role"].tolist() == [
        *("user", "system", "assistant", "system", "assistant", "user", "assistant")
    ]
    assert messages["turn"].tolist() == [1, 1, 1, 1, 1, 2, 2]
    assert messages["content"][2] == "hm\nDone."
    assert messages["is_compaction"].tolist() == [False] * 4 + [True, False, False]
    assert messages["content"][4] == "We built."
    assert messages["error"][6] == "provider.auth: no key"
    answered = messages.loc[2]
    assert (answered["model"], answered["agent_name"]) == ("pine-1", "build")
    # this engine's output tokens are without reasoning, and it stores no total
    assert (answered["tokens_output"], answered["tokens_reasoning"]) == (29, 329)
    assert Database(path).notes() == []
    assert ocs.analytics.compare_with_opencode(found) is not None


def test_every_tool_gives_its_events(path: Path) -> None:
    files = [{"file": "mill/a.py", "patch": DIFF, "additions": 1, "deletions": 1}]
    write_v2(
        path,
        [
            prompt("Work"),
            answer(
                call("read", {"path": "mill/a.py"}, "Read file mill/a.py, lines 3-4\n3: x\n4: y"),
                call(
                    "edit",
                    {"path": f"{HOME}/mill/a.py", "oldString": "a", "newString": "b"},
                    metadata={"files": files},
                ),
                call(
                    "write",
                    {"path": "mill/new.md", "content": "one\ntwo\n"},
                    "Created file successfully: mill/new.md",
                ),
                call("patch", {"patchText": PATCH}, metadata={"files": PATCHED}),
                call("shell", {"command": "exit 7"}, "out", metadata={"exit": 7}),
                call("glob", {"pattern": "*"}, "a"),
                call("subagent", {"agent": "general"}, metadata={"sessionID": "ses_child"}),
            ),
        ],
    )
    found = frames(path)
    calls = found.tool_calls.set_index("tool")
    assert list(calls.index) == ["read", "edit", "write", "patch", "bash", "glob", "task"]
    assert calls["status"].eq("completed").all()
    assert calls["duration_s"].eq(1.5).all()
    assert calls.loc["bash", "exit_code"] == 7
    assert calls.loc["task", "child_session_id"] == "ses_child"
    rows = found.file_events.astype(object)
    rows = rows.where(rows.notna(), None)
    columns = ["event_type", "file_path", "new_file_path", "additions", "deletions", "is_new_file"]
    assert [tuple(row) for row in rows[columns].to_numpy()] == [
        ("read", "mill/a.py", None, None, None, None),
        ("edit", "mill/a.py", None, 1, 1, False),
        ("write", "mill/new.md", None, 2, 0, True),
        ("write", "mill/wheel.py", None, 1, 0, True),
        ("move", "mill/old.py", "mill/new.py", 1, 1, False),
        ("delete", "mill/dust.py", None, 0, 2, False),
        ("bash", None, None, None, None, None),
    ]
    assert (rows["start_line"][0], rows["end_line"][0]) == (3, 4)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"status": "streaming", "input": '{"path": "a'}, "pending"),
        ({"status": "running", "metadata": {}}, "pending"),
        ({"status": "error", "error": {"type": "tool.execution", "message": "no file"}}, "error"),
        (
            {"status": "error"}
            | {"error": {"type": "permission.rejected", "message": "Permission denied: edit"}},
            "denied",
        ),
        ({"status": "error", "error": {"type": "aborted", "message": "stop"}}, "aborted"),
        ({"status": "error", "error": "nonsense"}, "error"),
        ({"status": "beamed"}, "pending"),
    ],
)
def test_what_became_of_a_call(state: dict[str, Any], status: str, path: Path) -> None:
    write_v2(path, [prompt("Go"), answer(call("edit", {"path": "a.py"}, **state))])
    assert frames(path).tool_calls["status"].tolist() == [status]


def test_a_command_of_the_user_is_the_users(path: Path) -> None:
    shell = {"shellID": "sh_1", "command": "touch x.txt", "status": "exited", "exit": 0}
    output = {"output": {"output": "done\n", "size": 5}}
    write_v2(path, [("shell", shell | output), ("shell", shell | {"status": "killed"})])
    found = frames(path)
    assert found.tool_calls["actor"].tolist() == ["user", "user"]
    assert found.tool_calls["status"].tolist() == ["completed", "aborted"]
    assert found.tool_calls["output_bytes"].tolist() == [5, pd.NA]
    assert found.file_events["event_type"].tolist() == ["bash", "write", "bash"]


def test_a_step_names_the_files_its_commands_changed(path: Path) -> None:
    snapshot = {"start": "a" * 40, "end": "b" * 40, "files": ["src/made.py"]}
    write_v2(
        path,
        [prompt("Go"), answer(call("shell", {"command": "python gen.py"}), snapshot=snapshot)],
    )
    (made,) = frames(path).file_events.query("evidence == 'patch_part'").to_dict("records")
    assert (made["event_type"], made["file_path"]) == ("edit", "src/made.py")


def test_paths_are_those_of_where_the_session_was(path: Path) -> None:
    moved = {
        "location": {"directory": HOME},
        "previous": {"location": {"directory": "/home/ana/old"}},
    }
    edit = {"path": "a.py", "oldString": "a", "newString": "b"}
    write_v2(
        path,
        [
            *(
                prompt("Go"),
                answer(call("edit", edit)),
                answer(call("read", {"path": "/etc/fstab"})),
            ),
            *(("location-switched", moved), answer(call("edit", edit))),
        ],
    )
    assert frames(path).file_events["file_path"].tolist() == [
        *("/home/ana/old/a.py", "/etc/fstab", "a.py")
    ]


def test_reverted_messages_are_undone(path: Path) -> None:
    rows = [prompt("One"), answer(), prompt("Two"), answer(call("read", {"path": "a"}))]
    write_v2(path, rows, revert=json.dumps({"messageID": "msg_next_02", "snapshot": "x"}))
    found = frames(path)
    assert found.messages["is_undone"].tolist() == [False, False, True, True]
    assert found.tool_calls["is_undone"].tolist() == [True]


@pytest.mark.parametrize("engine", ["today's", "next"])
def test_no_more_sessions_are_kept_than_fit(
    engine: str, path: Path, trailmap: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions are kept for their neighbours: of all that are large, few are."""
    monkeypatch.setattr("opencode_sessions.sources.surroundings.KEPT_BYTES", LARGE)
    if engine == "next":
        for number in range(LARGE_SESSIONS):
            write_v2(path, [prompt("x" * LARGE)], session=f"ses_{number:02}")
    else:
        shutil.copy(trailmap.database, path)
        with closing(sqlite3.connect(path)) as connection, connection:
            # As versions before 1.14 kept whole files in a prompt.
            connection.execute(
                "UPDATE message SET data = json_set(data, '$.summary.diffs', "
                f"json_array(json_object('before', hex(zeroblob({LARGE // 2}))))) "
                "WHERE id IN (SELECT min(id) FROM message GROUP BY session_id)"
            )
    tracemalloc.start()
    try:
        count = sum(isinstance(item, SessionRecord) for item in Database(path).sessions())
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == LARGE_SESSIONS
    assert peak < LARGE_SESSIONS * LARGE


# Beside today's tables


def updated(path: Path) -> None:
    """What an update to the next engine does: sessions and messages are copied, parts left out."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(SESSION_V2)
        connection.execute(
            "INSERT INTO session_v2 (id, project_id, parent_id, slug, directory, title, version, "
            "time_created, time_updated) SELECT id, project_id, parent_id, slug, directory, title, "
            "version, time_created, time_updated FROM session"
        )
        connection.execute(SESSION_MESSAGE)
        rows = connection.execute("SELECT id, session_id, time_created, data FROM message")
        for seq, (id, session_id, at, data) in enumerate(rows.fetchall()):
            info = json.loads(data)
            parts = [
                (part, json.loads(said))
                for part, said in connection.execute(
                    "SELECT id, data FROM part WHERE message_id = ? ORDER BY id", (id,)
                )
            ]
            content = [
                call(part["tool"], part["state"]["input"]) | {"id": part["callID"]}
                for _id, part in parts
                if part["type"] == "tool"
            ]
            new = {"text": "as it was"} if info["role"] == "user" else {"content": content}
            connection.execute(
                "INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    id,
                    session_id,
                    info["role"],
                    seq,
                    at,
                    at,
                    json.dumps({"time": info["time"]} | new),
                ),
            )


@pytest.fixture
def shop(recordings: dict[str, Recording], path: Path) -> Path:
    return shutil.copy(recordings["opencode-1.2.1"].database, path)


def same(one: Frames, other: Frames, *, but: tuple[str, ...] = ()) -> None:
    for name in ("sessions", "messages", "tool_calls", "file_events"):
        left, right = getattr(one, name), getattr(other, name)
        pd.testing.assert_frame_equal(
            left.drop(columns=[*but], errors="ignore"), right.drop(columns=[*but], errors="ignore")
        )


def test_an_update_changes_nothing_that_was_there(shop: Path) -> None:
    before = frames(shop, parts=True)
    updated(shop)
    # its totals are those of the new table's columns, which are zero
    totals = [name for name in before.sessions if name.startswith("reported_")]
    same(before, frames(shop, parts=True), but=(*totals,))
    assert Database(shop).notes() == []


def test_a_session_that_goes_on_in_the_next_engine_is_one(shop: Path) -> None:
    before = frames(shop)
    updated(shop)
    session = str(before.sessions["session_id"][0])
    with closing(sqlite3.connect(shop)) as connection, connection:
        at = 1_900_000_000_000
        for id, (kind, data) in {"msg_z1": prompt("On"), "msg_z2": answer()}.items():
            values = (id, session, kind, 900 + len(data), at, at)
            said = json.dumps(data | {"time": {"created": at}})
            connection.execute(
                "INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, said)
            )
    after = frames(shop)
    assert len(after.messages) == len(before.messages) + 2
    own = after.messages[after.messages["session_id"] == session]
    assert own["message_id"].tolist()[-2:] == ["msg_z1", "msg_z2"]
    assert (
        own["turn"].tolist()[-1]
        == before.messages.query("session_id == @session")["turn"].max() + 1
    )
    assert len(after.tool_calls) == len(before.tool_calls)


def test_messages_mirrored_beside_todays_are_named_and_not_doubled(shop: Path) -> None:
    before = frames(shop)
    session = before.sessions["session_id"][0]
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute(SESSION_MESSAGE)
        data = json.dumps({"text": "again", "time": {"created": START}})
        connection.execute(
            "INSERT INTO session_message VALUES ('msg_m', ?, 'user', 0, 1, 1, ?)", (session, data)
        )
    same(before, frames(shop))
    assert Database(shop).notes() == [
        "1 rows of opencode's next engine in session_message stand beside messages of today's, "
        "not read"
    ]


def test_messages_of_a_session_that_has_no_others_are_read(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as connection, connection:
        (session,) = connection.execute("SELECT id FROM session LIMIT 1").fetchone()
        connection.execute("DELETE FROM part WHERE session_id = ?", (session,))
        connection.execute("DELETE FROM message WHERE session_id = ?", (session,))
        connection.execute(SESSION_MESSAGE)
        data = json.dumps({"text": "only here", "time": {"created": START}})
        connection.execute(
            "INSERT INTO session_message VALUES ('msg_m', ?, 'user', 0, 1, 1, ?)", (session, data)
        )
    assert read(shop)[0][session].messages[0].content == "only here"
    assert Database(shop).notes() == []


async def test_imported_again_only_what_changed_is_read(path: Path) -> None:
    write_v2(path, [prompt("One"), answer(call("read", {"path": "a"}))])
    write_v2(path, [prompt("Other")], "ses_other")
    service = ocs.OpencodeSessionService()
    await service.import_opencode(path, progress=False)
    report = await service.import_opencode(path, progress=False)
    assert (report.sessions.unchanged, report.sessions.changed, report.sessions.new) == (2, 0, 0)
    assert [kind for kind in Database(path).states() if kind] == ["ses_next", "ses_other"]
    with closing(sqlite3.connect(path)) as connection, connection:
        data = json.dumps(
            answer(call("read", {"path": "a"}, "done"))[1] | {"time": {"created": START + 10}}
        )
        connection.execute(
            "UPDATE session_message SET data = ?, time_updated = time_updated + 1 "
            "WHERE id = 'msg_next_01'",
            (data,),
        )
    report = await service.import_opencode(path, progress=False)
    assert (report.messages.changed, report.tool_calls.changed) == (1, 1)
    assert report.messages.unchanged == 2


async def test_calls_keep_their_ids_when_the_old_tables_go(shop: Path) -> None:
    """An import before an update, and one when only the copies are left: the same calls."""
    service = ocs.OpencodeSessionService()
    await service.import_opencode(shop, shell=False, progress=False)
    before = await service.frames()
    updated(shop)
    with closing(sqlite3.connect(shop)) as connection, connection:
        for table in ("part", "message", "session"):
            connection.execute(f"DROP TABLE {table}")
    await service.import_opencode(shop, shell=False, progress=False)
    after = await service.frames()
    assert sorted(after.tool_calls["tool_call_id"]) == sorted(before.tool_calls["tool_call_id"])
    assert not after.tool_calls["is_undone"].sum() > before.tool_calls["is_undone"].sum()


# What nobody promised


def test_types_newer_than_we_know_are_counted_and_named(path: Path) -> None:
    write_v2(path, [prompt("Go"), ("hologram", {"x": 1}), ("hologram", {}), ("dream", {})])
    assert len(read(path)[0]["ses_next"].messages) == 1
    assert Database(path).notes() == [
        "types of session_message newer than this version, not read: "
        "dream (1 rows), hologram (2 rows)"
    ]


def test_broken_rows_and_rows_of_no_session_are_named(path: Path) -> None:
    write_v2(path, [prompt("Go"), prompt("Broken")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE session_message SET data = '{' WHERE id = 'msg_next_01'")
        connection.execute(
            "INSERT INTO session_message VALUES ('msg_s', 'ses_gone', 'user', 0, 1, 1, '{}')"
        )
    records, problems = read(path)
    assert len(records["ses_next"].messages) == 1
    assert problems == [
        Problem("message msg_next_01 of ses_next", "its JSON is broken"),
        Problem("session_message msg_s of ses_gone", "its session has no row"),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "name",
                    "state",
                    "input",
                    "content",
                    "time",
                    "files",
                    "status",
                    "error",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[tuple[str, Any]]], Path]:
    folder = tmp_path_factory.mktemp("nonsense")

    def write(rows: list[tuple[str, Any]]) -> Path:
        path = folder / "opencode.db"
        path.unlink(missing_ok=True)
        write_v2(path, [])
        with closing(sqlite3.connect(path)) as connection, connection:
            for seq, (kind, data) in enumerate(rows):
                values = (f"msg_{seq}", "ses_next", kind, seq, seq, seq, json.dumps(data))
                connection.execute(
                    "INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", values
                )
        return path

    return write


KINDS = st.sampled_from(
    [*("user", "assistant", "shell", "synthetic", "compaction", "location-switched", "nobody")]
)
TOLD = st.dictionaries(
    st.sampled_from(
        [
            *("text", "files", "agents", "content", "time", "tokens", "model", "error", "snapshot"),
            *("command", "output", "exit", "status", "summary", "location", "previous", "finish"),
        ]
    ),
    JSON,
)


@given(st.lists(st.tuples(KINDS, TOLD), max_size=4))
def test_no_nonsense_ends_a_read(rewritten: Any, rows: list[tuple[str, Any]]) -> None:
    found = frames(rewritten(rows))
    assert len(found.messages) == sum(
        kind not in ("location-switched", "nobody") for kind, _data in rows
    )
