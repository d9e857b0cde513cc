"""The command line as a person and as a program meets it."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Recording
from typer.testing import CliRunner, Result

import opencode_sessions as ocs
from opencode_sessions.cli import app

Run = Callable[..., Result]
COMMANDS = [
    "import",
    "doctor",
    "sessions",
    "files",
    "timeline",
    "migrate",
    "notebooks",
    "demo",
    "export",
    "search",
    "reindex",
]


def invoke(*args: object, **environ: str) -> Result:
    # Nobody said how wide the terminal is, unless the test does: pytest's workers are told.
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": None, **environ})


def said(*args: object, **environ: str) -> str:
    """What a command that succeeds prints."""
    result = invoke(*args, **environ)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*args: object) -> str:
    """The one line of a command that fails."""
    result = invoke(*args)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("opencode-sessions: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's recording, imported."""
    folder = tmp_path_factory.mktemp("store")
    said(
        "import", ocs.demo.unpack(folder), "--db", folder / "sessions.db", "--origin", "ana@laptop"
    )
    yield folder / "sessions.db"


# -- help -------------------------------------------------------------------------------------


def test_help_lists_every_command() -> None:
    text = said("--help")
    assert all(f" {command} " in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(command: str) -> None:
    text = said(command, "--help", COLUMNS="100")
    assert "Examples:" in text
    assert f"opencode-sessions {command}" in text


# -- for people -------------------------------------------------------------------------------


def test_import_says_what_it_did_and_what_is_next(tmp_path: Path) -> None:
    recording, store = ocs.demo.unpack(tmp_path), tmp_path / "my sessions.db"
    first = said("import", recording, "--db", store)
    assert "946" in first
    assert f"Next: opencode-sessions sessions --db '{store}'" in first
    again = json.loads(said("import", recording, "--db", store, "--json"))
    assert again["tool_calls"] == {"new": 0, "changed": 0, "unchanged": 946, "skipped": 0}


def test_import_takes_since_and_project(tmp_path: Path) -> None:
    recording, store = ocs.demo.unpack(tmp_path), tmp_path / "sessions.db"

    def imported(*options: str) -> int:
        report = json.loads(said("import", recording, "--db", store, "--json", *options))
        return int(report["sessions"]["new"])

    assert imported("--since", "2026-11-24") == 0
    assert imported("--project", "elsewhere") == 0
    assert imported("--since", "2026-11-21", "--project", "trailmap") == 20
    assert "'no-day' is no time" in refused("import", recording, "--db", store, "--since", "no-day")


def test_import_takes_several_sources_each_once(
    tmp_path: Path, trees: dict[str, Recording], given_out: Path
) -> None:
    recording = ocs.demo.unpack(tmp_path)
    sources = [trees["opencode-1.0.185"].database, given_out / "export", recording, tmp_path]
    report = json.loads(said("import", *sources, "--db", tmp_path / "sessions.db", "--json"))
    first, second, *exports = report["sources"]
    assert first == f"{recording} (database)"
    assert second == f"{sources[0]} (storage)"
    assert all("export" in source for source in exports)
    assert report["sessions"]["new"] > 20
    assert report["sessions"]["unchanged"] == 0


def test_import_reads_standard_input(tmp_path: Path, given_out: Path) -> None:
    export = next(file for file in sorted((given_out / "export").glob("ses_*.json")))
    command = ["import", "-", "--db", str(tmp_path / "sessions.db"), "--json"]
    result = CliRunner().invoke(app, command, input=export.read_bytes())
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["sources"] == ["standard input, opencode export (export)"]
    assert report["sessions"]["new"] == 1


def test_import_without_what_commands_changed(tmp_path: Path) -> None:
    recording = ocs.demo.unpack(tmp_path)

    def evidence(*options: str) -> set[str]:
        store = tmp_path / f"sessions{len(options)}.db"
        said("import", recording, "--db", store, *options)
        events = said("timeline", "trailmap/cli.py", "--db", store, "--json")
        return {json.loads(line)["evidence"] for line in events.splitlines()}

    assert evidence() - evidence("--no-shell")
    assert evidence("--no-shell") <= {"tool_meta", "tool_input"}


@pytest.mark.parametrize(("choice", "left"), [("keep", 20), ("drop", 19)])
def test_import_keeps_or_drops_what_opencode_deleted(
    choice: str, left: int, tmp_path: Path
) -> None:
    recording, store = ocs.demo.unpack(tmp_path), tmp_path / "sessions.db"
    said("import", recording, "--db", store)
    with closing(sqlite3.connect(recording, isolation_level=None)) as opencode:
        opencode.execute("PRAGMA foreign_keys = ON")  # its messages and parts go with it
        opencode.execute("DELETE FROM session WHERE id = ?", ["ses_dfb9543b2ffehcerubXW2vPCuc"])
    report = json.loads(
        said("import", recording, "--db", store, "--deleted", choice, "--dry-run", "--json")
    )
    assert "1 sessions are gone from opencode" in "".join(report["notes"])
    assert len(said("sessions", "--db", store, "--json").splitlines()) == 20
    said("import", recording, "--db", store, "--deleted", choice)
    assert len(said("sessions", "--db", store, "--json").splitlines()) == left


def test_a_dry_run_says_what_an_import_would_do_and_does_nothing(tmp_path: Path) -> None:
    recording, store = ocs.demo.unpack(tmp_path), tmp_path / "store" / "sessions.db"
    dry = ["import", recording, "--db", store, "--json", "--dry-run"]
    store.parent.mkdir()
    assert json.loads(said(*dry))["sessions"]["new"] == 20
    assert list(store.parent.iterdir()) == []

    said("import", recording, "--db", store, "--since", "2026-11-22T18:05+00:00")
    before = {file: file.read_bytes() for file in store.parent.iterdir()}
    promised, text = json.loads(said(*dry)), said(*dry[:-2], "--dry-run")
    assert "Nothing was stored" in text
    assert {file: file.read_bytes() for file in store.parent.iterdir()} == before
    done = json.loads(said("import", recording, "--db", store, "--json"))
    assert promised | {"seconds": 0} == done | {"seconds": 0}
    assert done["sessions"]["new"]
    assert done["sessions"]["unchanged"]


def test_a_dry_run_needs_a_store_that_can_be_copied(tmp_path: Path) -> None:
    recording = ocs.demo.unpack(tmp_path)
    line = refused("import", recording, "--dry-run", "--db", "postgresql://localhost/none")
    assert "SQLite files alone" in line


def test_sessions_are_newest_first_and_whose_they_are_is_said(db: Path) -> None:
    text = said("sessions", "--db", db)
    assert "· ana@laptop" in text
    assert text.index("Release 0.3.0") < text.index("GPX export for routes")


def test_a_limit_says_how_many_there_are(db: Path) -> None:
    text = said("sessions", "--db", db, "-n", 3)
    assert text.count("ses_") == 3
    assert "3 of 20" in text
    assert said("sessions", "--db", db, "-n", 0).count("ses_") == 20


def test_ids_and_paths_are_whole_in_a_narrow_terminal(db: Path) -> None:
    text = said("sessions", "--db", db, COLUMNS="80")
    assert "ses_dfb94b0edffeI566j7sbRyceyc" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_database_may_be_named_once_for_all(db: Path) -> None:
    assert "GPX export" in said("sessions", OPENCODE_SESSIONS_DB=str(db))


def test_files_of_all_and_of_one_session(db: Path) -> None:
    everywhere = said("files", "--db", db, "-n", 0)
    assert "trailmap/cli.py" in everywhere
    one = said("files", "ses_dfb9543b2ffehcerubXW2vPCuc", "--db", db, "-n", 0)
    assert "trailmap/web/page.py" in one
    assert len(one.splitlines()) < len(everywhere.splitlines())


@pytest.mark.parametrize(
    "name", ["trailmap/gpx.py", "./trailmap/gpx.py", "gpx.py", "/home/dev/trailmap/trailmap/gpx.py"]
)
def test_a_file_is_found_by_any_of_its_names(db: Path, name: str) -> None:
    assert "trailmap/gpx.py" in said("timeline", name, "--db", db).splitlines()[0]


def test_a_timeline_shows_what_failed(db: Path) -> None:
    text = said("timeline", "trailmap/cli.py", "--db", db)
    assert "edit" in text
    assert "error" in text


def test_a_wrong_file_name_is_met_with_the_right_ones(db: Path) -> None:
    assert "Did you mean" in refused("timeline", "trailmap/gpxx.py", "--db", db)
    several = refused("timeline", "__init__.py", "--db", db)
    assert "trailmap/__init__.py" in several


def test_notebooks_are_copied_and_never_overwritten(tmp_path: Path) -> None:
    said("notebooks", tmp_path / "copies")
    first = tmp_path / "copies" / "01_first_look.ipynb"
    assert json.loads(first.read_text())["nbformat"] == 4
    first.write_text("my own changes")
    assert "left as it is" in said("notebooks", tmp_path / "copies")
    assert first.read_text() == "my own changes"


def test_migrate_makes_the_tables_and_can_be_repeated(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"
    assert "up to date" in said("migrate", url)
    assert "up to date" in said("migrate", url)
    assert "No sessions yet" in invoke("sessions", "--db", url).stderr


# -- for programs -----------------------------------------------------------------------------


def test_json_is_one_object_a_line_with_iso_times(db: Path) -> None:
    rows = [json.loads(line) for line in said("sessions", "--db", db, "--json").splitlines()]
    assert len(rows) == 20
    started = datetime.fromisoformat(rows[0]["created_at"])
    assert started.isoformat() == "2026-11-22T17:42:42.457000+00:00"
    assert rows[0]["archived_at"] is None


def test_json_has_the_frames_of_the_notebook(db: Path) -> None:
    async def frames() -> Any:
        async with ocs.open(db) as service:
            return await service.frames()

    events = asyncio.run(frames()).file_events
    text = said("timeline", "trailmap/cli.py", "--db", db, "--json")
    rows = [json.loads(line) for line in text.splitlines()]
    wanted = ocs.analytics.file_timeline(events, "trailmap/cli.py")
    assert [row["event_id"] for row in rows] == list(wanted["event_id"])
    assert rows[0].keys() == set(wanted.columns)
    files = said("files", "--db", db, "--json").splitlines()
    assert len(files) == len(ocs.analytics.file_summary(events))


# -- what may be empty, missing, damaged or hostile -------------------------------------------


@pytest.mark.parametrize("command", ["sessions", "files"])
def test_an_empty_store_says_what_to_do_and_is_no_error(command: str) -> None:
    result = invoke(command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No sessions yet. Run: opencode-sessions import\n"
    assert not ocs.default_database().exists()


def test_sessions_without_a_file_of_their_own_are_not_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "x.db"

    async def store() -> None:
        async with ocs.open(file) as service:
            session = await service.get_or_create_session("ses_1")
            await service.persist_message(session, "user", "hello")

    asyncio.run(store())
    assert invoke("files", "--db", file).stderr == "No file was read, written or changed.\n"
    with closing(sqlite3.connect(file)) as other:
        other.executescript("""
            INSERT INTO opencode_file_events (id, session_id, event_type, file_path, is_fork_copy)
            SELECT 'prt_1.0', id, 'read', 'a.py', 1 FROM opencode_sessions
        """)
    told = "No file was read, written or changed. Not counted: 1 event copied by a fork.\n"
    assert invoke("files", "ses_1", "--db", file).stderr == told
    for command in (["files", "ses_2"], ["timeline", "a.py", "--session", "ses_2"]):
        assert "No session 'ses_2'" in refused(*command, "--db", file)


def test_a_store_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    assert f"There is no {missing}" in refused("sessions", "--db", missing)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_opencode_is_told_where_we_looked() -> None:
    assert ".local" in refused("import") or "opencode" in refused("import")


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("dear diary " * 1000)
    (tmp_path / "empty").mkdir()
    store = tmp_path / "store.db"
    for source in ("text.db", "empty", "missing.db"):
        line = refused("import", tmp_path / source, "--db", store)
        assert str(tmp_path / source) in line


def test_a_database_cut_in_half_is_one_line_in_a_terminal(tmp_path: Path) -> None:
    whole = ocs.demo.unpack(tmp_path / "whole").read_bytes()
    half = tmp_path / "opencode.db"
    half.write_bytes(whole[: len(whole) // 2])
    command = [sys.executable, "-m", "opencode_sessions.cli", "import", str(half)]
    done = subprocess.run(
        [*command, "--db", str(tmp_path / "s.db")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("opencode-sessions: ")
    assert done.stderr.count("\n") == 1
    assert half.read_bytes() == whole[: len(whole) // 2]


def test_a_session_that_does_not_exist(db: Path) -> None:
    for command in (["files", "ses_none"], ["timeline", "cli.py", "--session", "ses_none"]):
        line = refused(*command, "--db", db)
        assert "ses_none" in line
        assert "Newest: " in line


def test_opencodes_own_database_is_no_store(tmp_path: Path) -> None:
    recording = ocs.demo.unpack(tmp_path)
    before = recording.read_bytes()
    dry = ["import", recording, "--dry-run", "--db", recording]
    for command in (["sessions", "--db", recording], ["migrate", recording], dry):
        assert f"{recording} is opencode's own" in refused(*command)
    assert recording.read_bytes() == before


HOSTILE = (
    "\x1b[31mred\x1b[0m [bold]bold[/bold] \x1b]0;owned\x07 \u202eevil\u202c \x9b2J :smile: [/]"
)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    async def write() -> None:
        async with ocs.open(tmp_path / "hostile.db", on_error="raise") as service:
            session = await service.get_or_create_session("ses_x", "build", "/p", None, HOSTILE)
            parts = [{"type": "tool_use", "name": "read", "input": {"path": f"{HOSTILE}.py"}}]
            message = await service.persist_message(session, "assistant", parts)
            await service.persist_file_events(message, parts)

    asyncio.run(write())
    return tmp_path / "hostile.db"


@pytest.mark.parametrize(
    "command",
    [["sessions"], ["files"], ["timeline", f"{HOSTILE}.py"], ["timeline", f"{HOSTILE}.pyx"]],
)
def test_what_an_agent_typed_commands_no_terminal(hostile: Path, command: list[str]) -> None:
    result = invoke(*command, "--db", hostile, COLUMNS="200")
    text = result.stdout + result.stderr
    assert "[bold]bold[/bold]" in text
    assert ":smile: [/]" in text
    assert not set("\x1b\x07\x9b\u202e\u202c") & set(text)


def test_json_commands_no_terminal_either(hostile: Path) -> None:
    text = said("sessions", "--db", hostile, "--json")
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["title"] == HOSTILE
