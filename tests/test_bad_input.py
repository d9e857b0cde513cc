"""Whatever stands in a database, an export or an answer: an import goes on, and says what it left.

What is wrong with a JSON tree is in `test_storage_source`, with a damaged database file in
`test_damaged_database`, with parts and messages alone in `test_parts` and `test_records`.
"""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA, Fresh, Recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_storage_source import CHANGES, TEXTS, spoil

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.errors import SourceError

SHOP = "opencode-1.2.1"
SPOILED = "ses_dfbfb5a7bffehr1f5iJf9skrRO"
GIVEN = (
    *("ses_dfbd42d88ffeqYWJ3O3wrmlKU8", "ses_dfbd41170ffewkOIl5NFYEn2JB"),
    "ses_dfbd48155ffe06uD52E7SbgQnQ",
)
FEW = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
COLUMNS = {
    "session": ["parent_id", "directory", "title", "version", "revert", "time_created"],
    "message": ["time_created", "time_updated", "data"],
    "part": ["message_id", "time_updated", "data"],
}
# What SQLite can hold where JSON, text or a time should be.
CELLS = (
    st.binary(max_size=20) | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=9)
)
WRITES = st.lists(
    st.tuples(st.sampled_from([*COLUMNS]), st.integers(0, 5), st.integers(0, 30), CELLS), max_size=6
)


def twice(fresh: Fresh, source: Path) -> tuple[Any, Any, Frames]:
    """What two imports of it say, and what then is stored."""

    async def imported() -> tuple[Any, Any, Frames]:
        async with await ocs.open(fresh(), migrate=False) as service:
            first = await service.import_opencode(source, progress=False)
            second = await service.import_opencode(source, progress=False)
            return first, second, await service.frames()

    return asyncio.run(imported())


def rows(frames: Frames, but: str) -> list[Any]:
    events = frames.file_events[frames.file_events["opencode_session_id"] != but]
    return events[["event_id", "event_type", "file_path", "status", "seq"]].values.tolist()


@FEW
@given(changes=CHANGES, writes=WRITES)
def test_a_database_may_hold_anything(
    changes: list[tuple[int, list[int], Any]],
    writes: list[tuple[str, int, int, Any]],
    recordings: dict[str, Recording],
    tmp_path: Path,
    fresh: Fresh,
) -> None:
    whole = recordings[SHOP].database
    path = tmp_path / "opencode.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        own = {
            "session": [SPOILED],
            **{
                table: [
                    id
                    for (id,) in connection.execute(
                        f"SELECT id FROM {table} WHERE session_id = ? ORDER BY id", (SPOILED,)
                    )
                ]
                for table in ("message", "part")
            },
        }
        cells = [(table, id) for table in ("message", "part") for id in own[table]]
        for number, place, value in changes:
            table, id = cells[number % len(cells)]
            query = f"SELECT data FROM {table} WHERE id = ?"
            ((data,),) = connection.execute(query, (id,)).fetchall()
            spoiled = json.dumps(spoil(json.loads(data), place, value))
            connection.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (spoiled, id))
        for table, column, row, cell in writes:
            name = COLUMNS[table][column % len(COLUMNS[table])]
            id = own[table][row % len(own[table])]
            # A NaN is NULL to SQLite, which some columns refuse.
            written = f"UPDATE OR IGNORE {table} SET {name} = ? WHERE id = ?"
            connection.execute(written, (cell, id))
    first, second, found = twice(fresh, path)
    assert first.sessions.new == 4
    assert second.sessions.new == second.messages.new == 0
    assert {p.reason for p in second.problems} == {p.reason for p in first.problems}
    assert rows(found, SPOILED) == rows(ocs.read_opencode(whole), SPOILED)


@FEW
@given(changes=CHANGES, text=TEXTS, kind=st.sampled_from(["export", "messages", "run"]))
def test_what_is_given_out_may_say_anything(
    changes: list[tuple[int, list[int], Any]],
    text: str,
    kind: str,
    given_out: Path,
    tmp_path: Path,
    fresh: Fresh,
) -> None:
    files = [given_out / "export" / f"{id}.json" for id in GIVEN]
    folder = tmp_path / "given"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in files[1:]:
        shutil.copy(file, folder)
    said = json.loads(files[0].read_text())
    for number, place, value in changes:
        messages = said["messages"]
        if number == 0:
            said["info"] = spoil(said["info"], place, value)
        else:
            messages[number % len(messages)] = spoil(messages[number % len(messages)], place, value)
    match kind:
        case "export":
            written = json.dumps(said)
        case "messages":
            written = json.dumps(said["messages"])
        case _:
            lines = [
                {"type": text, "sessionID": files[0].stem, "part": m} for m in said["messages"]
            ]
            written = "\n".join(map(json.dumps, lines))
    (folder / "spoiled.json").write_text(written)
    first, second, found = twice(fresh, folder)
    assert {*found.sessions["session_id"]} >= {file.stem for file in files[1:]}
    assert second.sessions.new == second.messages.new == 0
    assert second.problems == first.problems
    expected = ocs.read_opencode([*files[1:]])
    kept = found.file_events["opencode_session_id"].isin([file.stem for file in files[1:]])
    assert kept.sum() == len(expected.file_events)


def nested(depth: int) -> Any:
    value: Any = "in the depth"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("depth", [190, 210, 800, 5000])
@pytest.mark.parametrize("kind", ["database", "export"])
def test_what_is_nested_deep_ends_no_import(
    kind: str, depth: int, recordings: dict[str, Recording], tmp_path: Path, fresh: Fresh
) -> None:
    text = '{"a":[' * (depth // 2) + "1" + "]}" * (depth // 2)
    state = f'{{"status": "completed", "input": {{"command": "true", "deep": {text}}}}}'
    part = f'{{"type": "tool", "tool": "bash", "callID": "c", "state": {state}}}'
    if kind == "database":
        source = Path(shutil.copy(recordings[SHOP].database, tmp_path / "opencode.db"))
        with closing(sqlite3.connect(source)) as connection, connection:
            chosen = "SELECT min(id) FROM part WHERE data LIKE '%\"bash\"%'"
            connection.execute(f"UPDATE part SET data = ? WHERE id = ({chosen})", (part,))
        others = 3
    else:
        source = tmp_path / "ses_deep.json"
        message = f'{{"info": {{"id": "msg_1", "sessionID": "ses_deep"}}, "parts": [{part}]}}'
        source.write_text(f'{{"info": {{"id": "ses_deep"}}, "messages": [{message}]}}')
        others = 0
    first, second, found = twice(fresh, source)
    assert len(found.sessions) >= others
    assert first.problems == second.problems
    if first.problems:  # deeper than anybody's JSON goes
        assert depth == 5000
    else:
        assert (found.tool_calls["tool"] == "bash").any()
    assert second.sessions.changed == second.messages.changed == 0


# Files that are none


def test_a_fifo_is_not_waited_for(recordings: dict[str, Recording], tmp_path: Path) -> None:
    for name in ("opencode.db", "ses_1.json"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SourceError):
            ocs.read_opencode(tmp_path / name)
    with pytest.raises(SourceError):
        ocs.read_opencode(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(recordings[SHOP].database, data / "opencode.db")
    for name in ("opencode.db-wal", "snapshot", "storage", "project", "note.json"):
        os.mkfifo(data / name)
    assert len(ocs.read_opencode(data).sessions) == 4


READ = """
import os, sys
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from opencode_sessions.errors import SourceError
from opencode_sessions.sources import Database
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
database = Database(Path("opencode.db"))
for ask in (lambda: [*database.sessions()], database.states):
    try:
        print(ask())
    except SourceError as error:
        print(error)
"""


def test_a_database_that_may_not_be_read_is_an_error(
    recordings: dict[str, Recording], tmp_path: Path
) -> None:
    path = Path(shutil.copy(recordings[SHOP].database, tmp_path / "opencode.db"))
    path.chmod(0)
    ran = subprocess.run(  # in a process of its own, which gives up the rights of root
        [sys.executable, "-c", READ, repr([str(DATA.parents[1]), *sys.path])],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = f"{path} could not be read: unable to open database file.\n"
    assert ran.stdout == told + told
