"""`opencode-sessions doctor`: what is where, what cannot be read, and where opencode is wrong."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import RECORDINGS, TREES, Recording, unpacked_tar
from typer.testing import CliRunner, Result

from opencode_sessions.cli import app
from opencode_sessions.cli.tables import clean
from opencode_sessions.sources.formats import LABELS, UNTOLD

UPGRADED = "opencode-1.1.65-upgraded-to-1.18.33"
OLD = "opencode-1.1.65"
HOSTILE = "\x1b[31m\x9b2J\u202e\n.json"


def invoke(*args: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, args)])


def said(*args: object) -> str:
    """What it prints."""
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def told(*args: object) -> dict[str, Any]:
    """What it says to a program."""
    diagnosis: dict[str, Any] = json.loads(said(*args, "--json"))
    return diagnosis


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.fixture
def execute(tmp_path: Path, recordings: dict[str, Recording]) -> Callable[..., None]:
    """Runs a statement on a copy of a recorded database, `tmp_path / "opencode.db"`."""
    shutil.copy(recordings["opencode-1.2.1"].database, tmp_path / "opencode.db")

    def run(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(tmp_path / "opencode.db")) as connection, connection:
            connection.execute(statement, values)

    return run


# What is there


def test_each_recording(recordings: dict[str, Recording], trees: dict[str, Recording]) -> None:
    for name in (*RECORDINGS, *TREES):
        recording = (recordings | trees)[name]
        (found,) = told(recording.database)["sources"]
        assert found["place"] == str(recording.database)
        assert found["format"] == ("JSON tree" if name in TREES else "database")
        assert found["sessions"] == len(recording.truth["sessions"]) == found["only_here"]
        assert sum(found["versions"].values()) == found["sessions"]
        written_by = OLD if name == UPGRADED else name
        assert [*found["versions"]] == [written_by.partition("-")[2]]
        assert found["bytes"] > 100_000
        assert found["first"] < found["last"]
        assert (found["problems"], found["error"]) == ([], None)


def test_for_people(recordings: dict[str, Recording]) -> None:
    file = recordings["trailmap-1.18.33"].database
    assert (
        said(file)
        == f"""\
{file}
  database, 5.5 MB, 20 sessions, 2026-11-22
  opencode 1.18.33 (20)
  note: 80 of 80 snapshots asked for are gone or cannot be read: what commands changed there is \
known from patch parts

opencode's own totals
  files  16 sessions changed some; opencode's summaries show 16 as 0 files
  cost   $5.66 by opencode, $5.49 by their own messages, over 20 sessions: other in 1
         opencode counts $0.18 again in forks

Next: opencode-sessions import {file}
"""
    )


def test_this_machine_with_a_tree_beside_the_database(
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tmp_path / "opencode"
    shutil.copytree(trees[OLD].database, data)
    shutil.copy(recordings[UPGRADED].database, data / "opencode.db")
    extra = data / "storage" / "session" / "global" / "ses_onlyhereAAAAAAAAAAAAAAAAAA.json"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(json.dumps({"id": extra.stem, "version": "1.0.9", "time": {"created": 1}}))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    before = contents(tmp_path)

    database, tree = told()["sources"]
    assert (database["sessions"], database["only_here"]) == (4, 0)
    assert (tree["sessions"], tree["only_here"]) == (5, 1)
    assert (database["untold"], tree["untold"]) == ([], [*UNTOLD["storage"]])
    assert tree["versions"] == {"1.1.65": 4, "1.0.9": 1}
    assert told()["in_two_places"] == [
        {"place": str(data), "taken_from": str(data / "opencode.db"), "sessions": 4}
    ]
    text = said()
    assert (
        "  cannot tell: reported_cost_usd, reported_tokens_input, reported_tokens_output, "
        "reported_tokens_reasoning, reported_tokens_cache_read, and 1 more\n" in text
    )
    assert "5 sessions (1 nowhere else), 1970-01-01 to 2026-11-22" in text
    assert f"4 sessions of {data}: taken from {data / 'opencode.db'}" in text
    assert text.endswith("Next: opencode-sessions import\n")
    assert contents(tmp_path) == before


def test_while_opencode_runs(tmp_path: Path) -> None:
    """Of a database with a -wal and a -shm, as opencode left it when it was killed."""
    unpacked_tar("places/killed-1.18.33", tmp_path)
    before = contents(tmp_path)
    (found,) = told(tmp_path)["sources"]
    assert found["sessions"] == 1
    assert found["bytes"] > 2_900_000
    assert contents(tmp_path) == before


def test_what_was_given_out(given_out: Path) -> None:
    found = told(given_out / "export", given_out / "http")["sources"]
    formats = {one["format"]: one for one in found}
    assert [*formats] == [
        "opencode export",
        "answers of opencode serve",
        "opencode export --sanitize",
    ]
    assert "files in" in formats["answers of opencode serve"]["place"]
    for name, one in formats.items():
        assert tuple(one["untold"]) == UNTOLD[next(k for k, v in LABELS.items() if v == name)]
    (note,) = formats["opencode export --sanitize"]["notes"]
    assert "sanitized exports hold no texts" in note


def test_a_session_copied_by_hand_is_one_more(trees: dict[str, Recording], tmp_path: Path) -> None:
    data = shutil.copytree(trees[OLD].database, tmp_path / "data")
    file = sorted(data.glob("storage/session/*/*.json"))[0]
    copy = file.with_name("ses_copy.json")
    copy.write_text(json.dumps(json.loads(file.read_text()) | {"id": copy.stem}))
    messages = data / "storage" / "message"
    shutil.copytree(messages / file.stem, messages / copy.stem)
    (found,) = told(data)["sources"]
    assert (found["sessions"], found["problems"]) == (5, [])


def test_one_place_named_twice_is_one(recordings: dict[str, Recording]) -> None:
    file = recordings["opencode-1.2.1"].database
    assert len(told(file, file.parent)["sources"]) == 1


def test_long_lists_are_cut(execute: Callable[..., None], tmp_path: Path) -> None:
    for number in range(40):
        execute(
            "INSERT INTO session"
            " SELECT 'ses_' || ?1, project_id, parent_id, slug, directory, title,"
            " '9.0.' || ?1, share_url, summary_additions, summary_deletions, summary_files,"
            " summary_diffs, revert, permission, time_created, time_updated, time_compacting,"
            " time_archived FROM session LIMIT 1",
            number,
        )
    assert len(told(tmp_path)["sources"][0]["versions"]) == 41
    versions = next(line for line in said(tmp_path).splitlines() if line.startswith("  opencode"))
    assert versions.endswith(", and 36 more")


# What cannot be read


def test_nothing_at_all_says_where_it_looked() -> None:
    result = invoke()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Looked at: " in result.stderr
    assert result.stderr.count("\n") == 1


def test_none_of_several(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke(tmp_path / "missing.db", tmp_path / "empty")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"There is no {tmp_path / 'missing.db'}" in result.stderr
    assert str(tmp_path / "empty" / "opencode") in result.stderr
    assert result.stderr.count("\n") == 1


def test_one_of_several_is_missing(recordings: dict[str, Recording], tmp_path: Path) -> None:
    file, missing = recordings["opencode-1.2.1"].database, tmp_path / "missing.db"
    assert told(file, missing)["not_found"] == [
        f"There is no {missing}. Give an opencode.db or the folder it is in."
    ]
    assert f"Not found\n  There is no {missing}." in said(file, missing)


def test_problems_are_counted_by_reason_and_the_first_are_named(
    execute: Callable[..., None], tmp_path: Path
) -> None:
    execute("UPDATE part SET data = '{'")
    execute("UPDATE message SET data = '[1' WHERE id = (SELECT min(id) FROM message)")
    execute("DELETE FROM session WHERE id = (SELECT min(id) FROM session)")
    found = told(tmp_path)["sources"][0]
    broken = [one for one in found["problems"] if one["reason"] == "its JSON is broken"]
    text = said(tmp_path)
    assert f"  left out: {len(found['problems'])}\n" in text
    first = ", ".join(one["place"] for one in broken[:3])
    line = f"    {len(broken)} because its JSON is broken: {first}, and {len(broken) - 3} more\n"
    assert line in text
    assert "because its session has no row: message " in text


def test_a_database_cut_in_half_beside_a_whole_one(
    recordings: dict[str, Recording], tmp_path: Path
) -> None:
    whole, half = recordings["opencode-1.2.1"].database, tmp_path / "opencode.db"
    half.write_bytes(whole.read_bytes()[:100_000])
    for paths in ([half], [half, whole]):
        found, *others = told(*paths)["sources"]
        assert "damaged or only a part of the file" in found["error"]
        assert [other["sessions"] for other in others] == [4] * len(others)
    assert str(half) in said(half)


def test_what_is_no_database(tmp_path: Path) -> None:
    diary = tmp_path / "diary.db"
    diary.write_text("dear diary " * 1000)
    assert f"  database, 11.0 kB\n  could not be read: {diary} is no SQLite database" in said(diary)
    assert "Next" not in said(diary)


def test_tables_of_the_next_engine_are_named(execute: Callable[..., None], tmp_path: Path) -> None:
    execute("CREATE TABLE hologram (id TEXT)")
    assert "  note: tables newer than this version, not read: hologram (0 rows)\n" in said(tmp_path)


def test_a_place_that_commands_a_terminal(trees: dict[str, Recording], tmp_path: Path) -> None:
    data = tmp_path / HOSTILE.removesuffix(".json")
    shutil.copytree(trees[OLD].database, data)
    folder = next((data / "storage" / "session").iterdir())
    (folder / f"ses_{HOSTILE}").write_text("{")
    (folder / "ses_version.json").write_text(json.dumps({"version": HOSTILE}))
    result = invoke(data)
    assert result.exit_code == 0
    assert not set("\x1b\x9b\u202e") & set(result.output)
    assert result.stdout.splitlines()[0] == clean(str(data))
    assert "  opencode 1.1.65 (4), " in result.stdout
    assert invoke(data, "--json").stdout.isascii()
