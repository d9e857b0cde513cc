"""Sessions at unusual places, recorded with a real opencode (see tests/data/places/README.md).

A subfolder of a repository, a repository reached through a symbolic link, and a server that was
killed in the middle of a turn: all paths, statuses and lines are held against what really happened.
"""

import json
import lzma
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import DATA

import opencode_sessions as ocs
from opencode_sessions.records import session_record
from opencode_sessions.sources.surroundings import Loaded, Surroundings

PLACES = DATA / "places"
NAMES = sorted(file.name.removesuffix(".truth.json.xz") for file in PLACES.glob("*.truth.*"))
KILLED = "killed-1.18.33"
LINKED = "linked-1.18.33"
TOLD_BY_TOOLS = ("tool_meta", "tool_input")
TABLES = ("session", "message", "part")


@dataclass(frozen=True)
class Place:
    """opencode's data folder as it was left, and what really happened."""

    name: str
    folder: Path
    truth: dict[str, Any]

    @property
    def session(self) -> dict[str, Any]:
        (session,) = self.truth["sessions"]
        return session

    @property
    def database(self) -> Path:
        return self.folder / "opencode.db"


def unpacked(name: str, folder: Path) -> Place:
    with tarfile.open(PLACES / f"{name}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    truth = json.loads(lzma.decompress((PLACES / f"{name}.truth.json.xz").read_bytes()))
    return Place(name, folder, truth)


@pytest.fixture(scope="module", params=NAMES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return unpacked(request.param, tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def frames(place: Place) -> Any:
    return ocs.read_opencode(place.database)


def by_tools(events: pd.DataFrame) -> pd.DataFrame:
    return events[events["evidence"].isin(TOLD_BY_TOOLS)]


def shown(event: dict[str, Any], place: Place) -> str | None:
    """The path as the frames show it: a name that leads through the link stays as it was given.

    Nothing opencode stores today says that such a name leads into the repository. Version 1.2 kept
    the session's folder by that name, and so it can be told there.
    """
    named = event["named"]
    is_lost = place.name == LINKED and named and named.startswith(place.truth["link"] + "/")
    return named if is_lost else event["path"]


def test_every_file_event_at_its_place(place: Place, frames: Any) -> None:
    columns = [
        *("turn", "call_id", "tool", "event_type"),
        *("file_path", "new_file_path", "command", "status"),
    ]
    rows = by_tools(frames.file_events)[columns].astype(object)
    assert [tuple(None if pd.isna(v) else v for v in row) for row in rows.itertuples(False)] == [
        (
            *(event[key] for key in ("turn", "call_id", "tool", "event_type")),
            shown(event, place),
            *(event[key] for key in ("moved_to", "command", "status")),
        )
        for event in place.session["events"]
    ]
    assert frames.file_events["seq"].is_monotonic_increasing


def test_every_call_once(place: Place, frames: Any) -> None:
    calls = {
        (event["turn"], event["call_id"], event["tool"], event["status"]): None
        for event in place.session["events"]
    }
    rows = frames.tool_calls[["turn", "call_id", "tool", "status"]]
    assert list(rows.itertuples(index=False, name=None)) == list(calls)


def test_where_the_session_was(place: Place, frames: Any) -> None:
    (session,) = frames.sessions.to_dict("records")
    assert session["project"] == place.truth["worktree"]
    real = place.session["folder"].replace(place.truth["link"], place.truth["worktree"])
    assert session["workdir"] == real
    assert session["title"] == place.session["title"]
    assert session["turns"] == 2


def test_lines_changed_are_gits(place: Place, frames: Any, tmp_path: Path) -> None:
    """Also of an `apply_patch` that names its files by `../`."""
    contents = place.truth["contents"]
    rows = by_tools(frames.file_events)[["additions", "deletions"]]
    held = 0
    for row, event in zip(rows.itertuples(index=False), place.session["events"], strict=True):
        changed = event["before"] != event["after"] and event["event_type"] != "bash"
        if not changed or (event["tool"] == "write" and event["before"]):
            assert pd.isna(row.additions) and pd.isna(row.deletions), event
            continue
        if sum(e["call_id"] == event["call_id"] for e in place.session["events"]) > 1:
            assert not pd.isna(row.additions), event
        texts = [contents[event[side]] if event[side] else "" for side in ("before", "after")]
        assert (row.additions, row.deletions) == numstat(tmp_path, *texts), event
        held += 1
    assert held >= 3


def numstat(folder: Path, before: str, after: str) -> tuple[int, int]:
    for name, text in (("before", before), ("after", after)):
        (folder / name).write_text(text)
    command = ["git", "diff", "--no-index", "--numstat", "before", "after"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr  # 1 says that they differ
    added, removed, _ = ran.stdout.split("\t")
    return int(added), int(removed)


def test_commands_are_not_given_what_tools_changed(place: Place, frames: Any) -> None:
    rows = frames.file_events[~frames.file_events["evidence"].isin(TOLD_BY_TOOLS)]
    found = set(rows[["call_id", "file_path"]].itertuples(index=False, name=None))
    changed = {
        (event["call_id"], path)
        for event in place.session["events"]
        for path in event.get("changed", [])
    }
    assert found <= changed


# Killed


def with_shm(place: Place) -> None:
    assert place.database.with_name("opencode.db-shm").exists()


def without_shm(place: Place) -> None:
    place.database.with_name("opencode.db-shm").unlink()


def merged(place: Place) -> None:
    with closing(sqlite3.connect(place.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Place]:
    place = unpacked(KILLED, tmp_path / "killed")
    assert place.database.with_name("opencode.db-wal").stat().st_size > 0
    yield place


def look(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file): (file.stat().st_mtime_ns, file.read_bytes() if file.is_file() else b"")
        for file in sorted(folder.rglob("*"))
    }


def counted(database: Path) -> dict[str, int]:
    """The rows as SQLite itself sees them once it has merged all that was committed."""
    with closing(sqlite3.connect(database)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in TABLES
        }


@pytest.mark.parametrize("state", [with_shm, without_shm, merged])
def test_all_that_was_committed_before_the_kill(state: Any, killed: Place, tmp_path: Path) -> None:
    shutil.copytree(killed.folder, tmp_path / "copy")
    rows = counted(tmp_path / "copy" / "opencode.db")
    state(killed)
    before = look(killed.folder)
    (source,) = ocs.sources.find(killed.database)
    count, record = source.sessions()
    assert look(killed.folder) == before
    assert (count, len(record.messages)) == (rows["session"], rows["message"])
    assert sum(len(message.parts) for message in record.messages) == rows["part"]


def test_killed_turn_stays_unfinished(killed: Place) -> None:
    frames = ocs.read_opencode(killed.database)
    assert list(frames.messages["finish"].isna()) == [True] + [False] * 4 + [True] + [False] * 2 + [
        True
    ]
    last = frames.tool_calls.iloc[-1]
    assert (last["tool"], last["status"]) == ("bash", "pending")
    assert pd.isna(last["duration_s"])


def test_without_its_wal_it_is_another_database(killed: Place) -> None:
    for end in ("-wal", "-shm"):
        killed.database.with_name(f"opencode.db{end}").unlink()
    (source,) = ocs.sources.find(killed.database)
    assert list(source.sessions()) == [0]


# A command beside a tool, through a link

LINK, REAL = "/home/dev/link", "/data/orchard"


def step(number: int, *asked: tuple[str, dict[str, Any]], changed: list[str]) -> Any:
    """A step of a session that was named through the link: its calls, and what opencode noted."""
    info = {
        **{"id": f"msg_{number}", "role": "assistant", "path": {"cwd": LINK, "root": REAL}},
        "time": {"created": number * 1000, "completed": number * 1000 + 900},
    }
    calls = [
        {"type": "tool", "tool": tool, "callID": f"call_{number}_{n}", "id": f"prt_{number}_{n}"}
        | {"state": {"status": "completed", "input": input, "metadata": {"exit": 0}, "time": at}}
        for n, (tool, input) in enumerate(asked)
        for at in [{"start": number * 1000 + n, "end": number * 1000 + n + 1}]
    ]
    files = [f"{REAL}/{name}" for name in changed]
    return info, [*calls, {"type": "patch", "id": f"prt_{number}_p", "hash": "x", "files": files}]


def changed_by_commands(record: Any) -> list[tuple[str, str | None]]:
    return [
        (event.event.event_type, event.event.file_path)
        for message in record.messages
        for call in message.tool_calls
        for event in call.file_events
        if event.event.evidence not in TOLD_BY_TOOLS
    ]


WRITE = ("write", {"filePath": f"{LINK}/src/a.py", "content": "x"})
SED = {"command": f"cd {LINK}/src && sed -i s/x/y/ {LINK}/src/b.py && cp b.py c.py"}


def test_a_tools_change_through_a_link_is_no_commands() -> None:
    """The call names the link, the patch part the real file: no command beside it did it."""
    info = {"id": "ses_1", "directory": LINK, "time": {"created": 1}}
    messages = [
        step(1, WRITE, changed=["src/a.py"]),
        step(2, ("bash", {"command": "python gen.py"}), WRITE, changed=["src/a.py", "made.py"]),
        step(3, ("bash", SED), changed=["src/b.py", "src/c.py"]),
    ]
    record = session_record(info, messages, worktree=REAL)
    assert record.directory == REAL
    assert changed_by_commands(record) == [
        ("edit", f"{REAL}/made.py"),
        ("edit", f"{REAL}/src/b.py"),
        ("write", f"{REAL}/src/c.py"),
    ]
    # what was asked for stays as it was
    assert record.messages[2].tool_calls[0].call.input == SED


def test_a_neighbour_through_a_link_has_what_it_did() -> None:
    theirs = {"id": "ses_2", "directory": LINK, "time": {"created": 1, "updated": 9000}}
    ours = {"id": "ses_1", "directory": REAL, "time": {"created": 1, "updated": 9000}}
    messages = {
        "ses_1": [step(2, ("bash", {"command": "python gen.py"}), changed=["src/a.py"])],
        "ses_2": [
            step(1, WRITE, changed=["src/a.py"]),
            step(2, ("read", {"filePath": f"{LINK}/x"}), WRITE, changed=["src/a.py"]),
        ],
    }
    around = Surroundings(
        None, [(ours, REAL), (theirs, REAL)], lambda id: Loaded(messages[id], [], 0)
    )
    (record,) = around.session(ours, REAL, shell=True)
    assert changed_by_commands(record) == []
