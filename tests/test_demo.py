"""The recording that ships with the package, and the demo made of it."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from opencode_sessions import demo
from opencode_sessions.cli import app

RECORDED = "d5bdc70fb9517058bcf4005cb390db6655febf8b00d6522e437e093461ab9991"


def test_the_recording_is_unpacked_exactly(tmp_path: Path) -> None:
    database = demo.unpack(tmp_path / "new" / "folder")
    assert hashlib.sha256(database.read_bytes()).hexdigest() == RECORDED
    assert [file.name for file in database.parent.iterdir()] == ["opencode.db"]


def test_unpacking_again_leaves_the_file_alone(tmp_path: Path) -> None:
    before = demo.unpack(tmp_path).stat()
    after = demo.unpack(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_unpacking_never_replaces_a_database_of_somebody_else(tmp_path: Path) -> None:
    theirs = tmp_path / "opencode.db"
    theirs.write_bytes(b"years of sessions")
    with pytest.raises(FileExistsError, match="choose an empty folder"):
        demo.unpack(tmp_path)
    assert theirs.read_bytes() == b"years of sessions"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The demo without its page, which needs the lab extra (test_house.py makes the page)."""
    monkeypatch.setitem(sys.modules, "nbclient", None)

    def run() -> str:
        result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "look")])
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def use_opencode(
    recordings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Puts an opencode database where opencode keeps it."""

    def use_opencode() -> Path:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
        (tmp_path / "share" / "opencode").mkdir(parents=True)
        database = tmp_path / "share" / "opencode" / "opencode.db"
        shutil.copyfile(recordings["opencode-1.17.11"].database, database)
        return database

    return use_opencode


def test_a_machine_without_opencode_sees_the_recording_and_is_told(run: Callable[[], str]) -> None:
    said = run()
    assert "scripted replay through the real opencode" in said
    assert said.count("· scripted replay") == 3  # sessions, files, timeline
    assert "10 of 20" in said
    assert "pip install 'opencode-sessions[lab]'" in said
    assert "opencode-sessions timeline trailmap/cli.py --db" in said


def test_it_works_a_second_time(run: Callable[[], str]) -> None:
    assert run() == run()


def test_ones_own_sessions_come_first(run: Callable[[], str], use_opencode: Any) -> None:
    database = use_opencode()
    said = run()
    assert f"Your opencode sessions, from {database}" in said
    assert "scripted replay" not in said


def test_ones_own_sessions_replace_an_earlier_recording(
    run: Callable[[], str], use_opencode: Any
) -> None:
    assert "Release 0.3.0" in run()
    use_opencode()
    said = run()
    assert "scripted replay" not in said
    assert "Release 0.3.0" not in said


def test_a_damaged_database_is_named_and_the_recording_shown(
    run: Callable[[], str], use_opencode: Any
) -> None:
    database = use_opencode()
    database.write_bytes(b"no database at all" * 100)
    said = run()
    assert str(database) in said
    assert "Release 0.3.0" in said
    assert database.read_bytes() == b"no database at all" * 100
