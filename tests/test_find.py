"""Where opencode's data is looked for, by opencode's own rules."""

import os
from pathlib import Path

import pytest

from opencode_sessions.errors import SourceError, SourceNotFound
from opencode_sessions.sources import data_folders, find


def databases(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def found(path: str | os.PathLike[str] | None = None) -> list[Path]:
    return [source.path for source in find(path)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """opencode's data folder, as XDG_DATA_HOME says."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "opencode"


# This machine's


def test_xdg_data_home(data: Path) -> None:
    databases(data / "opencode.db")
    assert found() == [data / "opencode.db"]


@pytest.mark.parametrize("is_empty", [False, True])
def test_home_without_xdg_data_home(
    is_empty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if is_empty:
        monkeypatch.setenv("XDG_DATA_HOME", "")
    else:
        monkeypatch.delenv("XDG_DATA_HOME")
    database = tmp_path / ".local" / "share" / "opencode" / "opencode.db"
    databases(database)
    assert found() == [database]
    assert data_folders(os.environ) == [database.parent]


def test_databases_of_other_channels_come_after_opencodes_own(data: Path) -> None:
    names = ["opencode.db", "opencode-dev.db", "opencode-local.db"]
    databases(*(data / name for name in names))
    databases(data / "opencode.db-wal", data / "other.db", data / "opencode.json")
    (data / "opencode-folder.db").mkdir()
    assert found() == [data / name for name in names]


def test_opencode_db_relative_to_the_data_folder(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases(data / "opencode.db", data / "work" / "mine.sqlite")
    monkeypatch.setenv("OPENCODE_DB", "work/mine.sqlite")
    assert found() == [data / "work" / "mine.sqlite", data / "opencode.db"]


def test_opencode_db_absolute(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "elsewhere" / "mine.db"
    databases(named)
    monkeypatch.setenv("OPENCODE_DB", str(named))
    assert found() == [named]


def test_opencode_db_that_names_one_of_the_others_comes_first_and_once(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases(data / "opencode.db", data / "opencode-dev.db", data / "opencode-local.db")
    monkeypatch.setenv("OPENCODE_DB", "opencode-local.db")
    assert [path.name for path in found()] == [
        "opencode-local.db",
        "opencode.db",
        "opencode-dev.db",
    ]


@pytest.mark.parametrize("name", [":memory:", "", "gone.db"])
def test_opencode_db_that_is_no_file(
    name: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases(data / "opencode.db")
    monkeypatch.setenv("OPENCODE_DB", name)
    assert found() == [data / "opencode.db"]


def test_same_file_under_two_names_is_read_once(data: Path) -> None:
    databases(data / "opencode.db")
    (data / "opencode-dev.db").symlink_to(data / "opencode.db")
    assert found() == [data / "opencode.db"]


# A place that is given


def test_file_of_any_name(tmp_path: Path) -> None:
    databases(tmp_path / "backup of monday.sqlite")
    assert found(tmp_path / "backup of monday.sqlite") == [tmp_path / "backup of monday.sqlite"]
    assert found(str(tmp_path / "backup of monday.sqlite")) == [
        tmp_path / "backup of monday.sqlite"
    ]


@pytest.mark.parametrize("inside", ["", "opencode", "data"])
def test_folder_it_is_in_or_the_one_above(inside: str, tmp_path: Path) -> None:
    databases(tmp_path / inside / "opencode.db", tmp_path / inside / "opencode-dev.db")
    assert found(tmp_path) == [
        tmp_path / inside / "opencode.db",
        tmp_path / inside / "opencode-dev.db",
    ]


def test_given_place_goes_before_the_environment(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases(data / "opencode.db", tmp_path / "given" / "opencode.db", tmp_path / "named.db")
    monkeypatch.setenv("OPENCODE_DB", str(tmp_path / "named.db"))
    assert found(tmp_path / "given") == [tmp_path / "given" / "opencode.db"]


def test_home_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    databases(tmp_path / "opencode.db")
    assert found("~/opencode.db") == [tmp_path / "opencode.db"]


# Nothing


def test_nothing_on_this_machine_names_every_place(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCODE_DB", str(tmp_path / "named.sqlite"))
    with pytest.raises(SourceNotFound) as info:
        find()
    places = f"{tmp_path / 'named.sqlite'}, {data / 'opencode*.db'}."
    assert f"Looked at: {places}" in str(info.value)
    assert "XDG_DATA_HOME" in str(info.value)
    assert isinstance(info.value, SourceError)


def test_nothing_in_a_folder_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound) as info:
        find(tmp_path)
    for place in ("opencode*.db", "opencode/opencode*.db", "data/opencode*.db"):
        assert str(tmp_path / place) in str(info.value)


def test_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"There is no .*nowhere\. Give an opencode\.db"):
        find(tmp_path / "nowhere")
