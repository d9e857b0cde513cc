"""What opencode gives out says what its database says: exports, the server's answers, run lines."""

import dataclasses
import io
import json
import re
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import Recording, unpacked_tar

import opencode_sessions as ocs
from opencode_sessions.analytics import loops
from opencode_sessions.errors import SourceError
from opencode_sessions.records import SessionRecord
from opencode_sessions.sources import JsonFiles, Problem, find
from opencode_sessions.sources.formats import LABELS, UNTOLD

SHOP = "opencode-1.18.33"
UPGRADED = "opencode-1.1.65-upgraded-to-1.18.33"
FIRST = "ses_dfbd65cbcffelVuKONVHoXW9Hb"  # "Add a discount to the cart"
PERMISSIONS = "ses_dfbd4b9c6ffe2eWpZrfuu5oSau"  # "Greeting with permissions", also sanitized
FRAMES = ("sessions", "messages", "tool_calls", "file_events")
IDS = ("session_id", "message_id", "tool_call_id", "event_id")
Frames = Any


@pytest.fixture(scope="module")
def database(recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[SHOP].database, diffs=True, parts=True)


@pytest.fixture
def exports(given_out: Path, tmp_path: Path) -> Path:
    """A folder with all exports but the sanitized ones."""
    sanitized = shutil.ignore_patterns("*.sanitized.json")
    return Path(shutil.copytree(given_out / "export", tmp_path / "exports", ignore=sanitized))


def frames_of(path: Path | str) -> Frames:
    return ocs.read_opencode(path, diffs=True, parts=True)


def differing(found: Frames, expected: Frames) -> set[str]:
    """The columns that differ, in the rows that were found."""
    columns: set[str] = set()
    for name, id in zip(FRAMES, IDS, strict=True):
        ours, theirs = (getattr(frames, name).set_index(id) for frames in (found, expected))
        assert set(ours.index) <= set(theirs.index)
        theirs = theirs.loc[ours.index]
        columns |= {name for name in ours.columns if not same(ours[name], theirs[name])}
    return columns - {"source"}


def same(ours: pd.Series, theirs: pd.Series) -> bool:
    if isinstance(ours.dtype, pd.CategoricalDtype):  # of which each frame has its own
        ours, theirs = ours.astype(object), theirs.astype(object)
    return list(ours.isna()) == list(theirs.isna()) and list(ours.dropna()) == list(theirs.dropna())


def own_events(frames: Frames) -> Frames:
    """The frames with the events that tools tell of themselves, without those of the shell."""
    events = frames.file_events
    own = events[events["evidence"].isin(["tool_meta", "tool_input"])]
    return dataclasses.replace(frames, file_events=own)


def rows(frames: Frames) -> list[int]:
    return [len(getattr(frames, name)) for name in FRAMES]


def run_lines(export: Path) -> list[str]:
    """An export as `opencode run --format json` would have printed it."""
    types = {"step-start": "step_start", "step-finish": "step_finish", "tool": "tool_use"}
    types |= {"text": "text", "reasoning": "reasoning"}
    return [
        json.dumps(
            {
                "type": types[part["type"]],
                "timestamp": message["info"]["time"]["created"],
                "sessionID": part["sessionID"],
                "part": part,
            }
        )
        for message in json.loads(export.read_text())["messages"]
        if message["info"]["role"] == "assistant"
        for part in message["parts"]
        if part["type"] in types
    ]


def told_by(kind: str, exports: Path, given_out: Path, folder: Path) -> Path:
    """A folder with the lines of runs, or with messages alone."""
    folder.mkdir()
    if kind == "messages":
        for file in (given_out / "http").glob("*.message.json"):
            shutil.copy(file, folder)
    else:
        for file in exports.iterdir():
            (folder / f"{file.stem}.jsonl").write_text("\n".join(run_lines(file)))
    return folder


# One session, however it was given


@pytest.mark.parametrize("format", ["export", "server"])
def test_formats_say_what_the_database_says(
    format: str, exports: Path, given_out: Path, database: Frames
) -> None:
    folder = exports if format == "export" else given_out / "http"
    (source,) = find(folder)
    assert isinstance(source, JsonFiles)
    assert (source.format, source.kind, source.notes()) == (format, format, [])
    assert LABELS[source.format] in str(source)
    found = frames_of(folder)
    assert rows(found) == rows(database)
    assert differing(found, database) == {*UNTOLD[format]} == set()
    assert set(found.sessions["source"]) == {format}


@pytest.mark.parametrize("format", ["storage", "export", "server"])
def test_one_session_of_four_formats(
    format: str, trees: dict[str, Recording], recordings: dict[str, Recording], tmp_path: Path
) -> None:
    """Written by 1.1.65 as a tree, moved to a database, and given out of that by 1.18.33."""
    database = frames_of(recordings[UPGRADED].database)
    folder = unpacked_tar(f"{UPGRADED}.given", tmp_path)
    places = {
        "storage": trees["opencode-1.1.65"].database,
        "export": folder / "export",
        "server": folder / "http",
    }
    found = frames_of(places[format])
    assert rows(found) == rows(database) and rows(found)[0] == 4
    assert set(found.sessions["source"]) == {format}
    assert differing(found, database) == {*UNTOLD[format]}


def test_docs_say_what_each_format_cannot_tell() -> None:
    docs = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    rows = docs.partition("| format | cannot tell |\n|---|---|\n")[2].partition("\n\n")[0]
    cells = [row.strip("| ").split(" | ") for row in rows.split("\n")]
    assert {format: (*re.findall(r"`(\w+)`", columns),) for format, columns in cells} == UNTOLD


def test_messages_alone(given_out: Path, database: Frames, tmp_path: Path) -> None:
    found = frames_of(told_by("messages", given_out, given_out, tmp_path / "messages"))
    assert rows(found)[1:] == rows(database)[1:]
    assert differing(found, database) == {*UNTOLD["messages alone"]}


def test_run_lines(exports: Path, database: Frames, tmp_path: Path) -> None:
    folder = told_by("run", exports, exports, tmp_path / "run")
    (source,) = find(folder)
    assert isinstance(source, JsonFiles)
    assert (source.format, source.kind) == ("run", "export")
    # What commands changed follows from what a session says of itself, and lines say less of that.
    found, expected = own_events(frames_of(folder)), own_events(database)
    assert set(found.messages["role"]) == {"assistant"}
    assert rows(found)[2:] == rows(expected)[2:]
    assert differing(found, expected) == {*UNTOLD["run"]}
    assert "no prompts" in " ".join(source.notes())


def test_sanitized_exports(given_out: Path, database: Frames, tmp_path: Path) -> None:
    for file in (given_out / "export").glob("*.sanitized.json"):
        shutil.copy(file, tmp_path)
    (source,) = find(tmp_path)
    assert "opencode export --sanitize" in str(source)
    assert "no texts, paths" in " ".join(source.notes())
    found = frames_of(tmp_path)
    assert differing(found, database) == {*UNTOLD["sanitized"]}
    for name in FRAMES:
        assert "redacted" not in getattr(found, name).to_csv()
    count, *records = source.sessions()
    assert count == len(records) == 8
    for record in records:
        assert isinstance(record, SessionRecord)
        assert record.info["sanitized"] is True


def test_calls_of_which_nobody_knows_what_they_asked_make_no_loops(
    given_out: Path, tmp_path: Path
) -> None:
    for file in (given_out / "export").glob("*.sanitized.json"):
        shutil.copy(file, tmp_path)
    found = frames_of(tmp_path)
    asked = found.tool_calls.groupby(["session_id", "tool"], observed=True).size()
    assert asked.max() >= 3  # which would be loops if they were taken for the same
    assert found.tool_calls["input_hash"].isna().all()
    assert loops(found).empty and loops(found, calls=2).empty


def test_an_export_goes_before_a_sanitized_one(given_out: Path, database: Frames) -> None:
    sources = find(given_out / "export")
    assert [s.format for s in sources if isinstance(s, JsonFiles)] == ["export", "sanitized"]
    found = frames_of(given_out / "export")
    assert rows(found) == rows(database)
    assert differing(found, database) == set()


# Recognised, not asked for


@pytest.mark.parametrize("name", ["export", "http"])
def test_one_file(name: str, given_out: Path) -> None:
    file = given_out / name / (f"{FIRST}.json" if name == "export" else f"{FIRST}.message.json")
    (source,) = find(file)
    count, record = source.sessions()
    assert isinstance(record, SessionRecord)
    assert (count, record.id, len(record.messages)) == (1, FIRST, 22)


@pytest.mark.parametrize("shell", ["plain", "utf-8-sig", "utf-16"])
def test_a_file_of_any_shell_and_name(shell: str, given_out: Path, tmp_path: Path) -> None:
    text = (given_out / "export" / f"{FIRST}.json").read_text()
    file = tmp_path / "backup of monday"
    file.write_text(text, encoding="utf-8" if shell == "plain" else shell)
    (source,) = find(file)
    (whole,) = find(given_out / "export" / f"{FIRST}.json")
    assert [*source.sessions()] == [*whole.sessions()]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_standard_input(
    end: str, given_out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def given(data: bytes) -> Any:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        (source,) = find("-")
        return source

    export = given_out / "export" / f"{FIRST}.json"
    (whole,) = find(export)
    source = given(export.read_bytes().replace(b"\n", end.encode()))
    assert str(source) == "standard input, opencode export"
    assert [*source.sessions()] == [*whole.sessions()] == [*source.sessions()]
    source = given(end.join(run_lines(export)).encode())
    assert str(source) == "standard input, opencode run --format json"
    count, record = source.sessions()
    assert (count, record.id) == (1, FIRST)
    with pytest.raises(SourceError, match="Standard input holds nothing that opencode gives out"):
        given(b"hello")
    with pytest.raises(SourceError, match="Standard input holds nothing"):
        given(b"")


@pytest.mark.parametrize(
    "content", ['{"name": "x", "version": "1"}', "[1, 2]", "{}", "", "hello", "null", "\0\1\2"]
)
def test_a_wrong_file_is_said_to_be_wrong(content: str, tmp_path: Path) -> None:
    file = tmp_path / "package.json"
    file.write_text(content)
    with pytest.raises(SourceError, match=r"package\.json holds nothing that opencode gives out"):
        find(file)
    other = file.rename(tmp_path / "notes")
    with pytest.raises(SourceError, match=r"notes is no (SQLite|opencode) database"):
        [*find(other)[0].sessions()]


def test_wrong_files_in_a_folder_are_passed_over(exports: Path, database: Frames) -> None:
    (exports / "package.json").write_text('{"name": "x"}')
    (exports / "notes.jsonl").write_text("hello")
    (exports / "a.json").mkdir()
    (exports / "broken.json").symlink_to(exports / "broken.json")
    assert rows(frames_of(exports)) == rows(database)


def test_of_two_exports_of_a_session_the_newer_is_taken(exports: Path) -> None:
    file = exports / f"{FIRST}.json"
    said = json.loads(file.read_text())
    said["info"]["time"]["updated"] -= 1000
    for name in ("a.json", "z.json"):
        (exports / name).write_text(json.dumps(said | {"messages": said["messages"][:2]}))
    records = [r for s in find(exports) for r in s.sessions() if isinstance(r, SessionRecord)]
    (first,) = (record for record in records if record.id == FIRST)
    assert (len(first.messages), len(records)) == (22, 20)


def test_of_two_answers_about_a_session_the_newer_is_taken(tmp_path: Path) -> None:
    for name, title, updated in (("a", "Old", 10), ("b", "New", 30), ("c", "Older", 20)):
        said = {"id": "ses_1", "title": title, "time": {"created": 1, "updated": updated}}
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    assert ocs.read_opencode(tmp_path).sessions["title"].tolist() == ["New"]


def test_of_many_exports_one_session_is_in_memory(tmp_path: Path) -> None:
    count, letters = 60, 300_000
    for number in range(count):
        info = {"id": f"ses_{number:02}", "time": {"created": number, "updated": number}}
        message = {"id": f"msg_{number:02}", "role": "user", "time": {"created": number}}
        text = {"id": f"prt_{number:02}", "type": "text", "text": "x" * letters}
        said = {"info": info, "messages": [{"info": message, "parts": [text]}]}
        (tmp_path / f"{number:02}.json").write_text(json.dumps(said))
    (source,) = ocs.sources.find(tmp_path)
    tracemalloc.start()
    try:
        found = sum(isinstance(item, SessionRecord) for item in source.sessions())
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == count
    assert peak < count * letters / 2


@pytest.mark.parametrize("project", ["/home/dev/blog", "blog"])
def test_project_and_time(
    project: str, exports: Path, given_out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (exports, given_out / "http"):
        found = ocs.read_opencode(folder, project=project).sessions
        assert list(found["title"]) == ["Blog front page"]
    assert rows(ocs.read_opencode(exports, since="2100-01-01")) == [0, 0, 0, 0]
    assert caplog.messages == []
    assert ocs.read_opencode(exports, project="blgo").sessions.empty
    assert caplog.messages == ["No session here is of project 'blgo'."]


def test_worktree_of_a_session_in_a_subfolder(given_out: Path, tmp_path: Path) -> None:
    said = json.loads((given_out / "export" / f"{FIRST}.json").read_text())
    said["info"]["directory"] = "/home/dev/shop/docs"
    (tmp_path / "a.json").write_text(json.dumps(said))
    unused = {"info": said["info"] | {"id": "ses_unused"}, "messages": []}
    (tmp_path / "b.json").write_text(json.dumps(unused))
    found = ocs.read_opencode(tmp_path)
    assert list(found.sessions["project"]) == ["/home/dev/shop"] * 2
    assert "cart.py" in set(found.file_events["file_path"])


# What they cannot tell is not unsaid


async def test_a_sanitized_export_takes_nothing_away(
    service: ocs.OpencodeSessionService, given_out: Path, database: Frames, tmp_path: Path
) -> None:
    (sanitized := tmp_path / "sanitized").mkdir()
    for file in (given_out / "export").glob("*.sanitized.json"):
        shutil.copy(file, sanitized)
    async with service:
        await service.import_opencode(given_out / "http", progress=False)
        before = await service.frames(diffs=True, parts=True)
        await service.import_opencode(sanitized, progress=False)
        after = await service.frames(diffs=True, parts=True)
    assert differing(after, before) == set()
    assert differing(after, database) == set()


@pytest.mark.parametrize("kind", ["messages", "run", "export"])
async def test_what_says_less_takes_nothing_away_and_is_filled_in(
    kind: str, exports: Path, given_out: Path, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    less = exports if kind == "export" else told_by(kind, exports, given_out, tmp_path / "less")
    for order in ((SHOP, less), (less, SHOP)):
        async with ocs.OpencodeSessionService() as service:
            for place in order:
                path = recordings[SHOP].database if place == SHOP else less
                await service.import_opencode(path, shell=False, progress=False)
            after = await service.frames(diffs=True, parts=True)
        whole = ocs.read_opencode(recordings[SHOP].database, shell=False, diffs=True, parts=True)
        assert rows(after) == rows(whole)
        assert differing(after, whole) == set()


async def test_a_call_that_ran_is_told_by_lines_that_came_later(
    given_out: Path, tmp_path: Path
) -> None:
    """What says less may be newer: what was not finished is taken from it."""
    said = json.loads((given_out / "export" / f"{FIRST}.json").read_text())
    said["messages"] = said["messages"][:2]
    info, parts = said["messages"][1]["info"], said["messages"][1]["parts"]
    done = next(part for part in parts if part["type"] == "tool")
    ran = done | {"state": {"status": "running", "input": done["state"]["input"]}}
    said["messages"][1]["parts"] = [ran]
    del info["time"]["completed"]
    (tmp_path / "a.json").write_text(json.dumps(said))
    line = {"type": "tool_use", "timestamp": 1, "sessionID": FIRST, "part": done}
    (tmp_path / "b.jsonl").write_text(json.dumps(line))
    async with ocs.OpencodeSessionService() as service:
        for name, status in (("a.json", "pending"), ("b.jsonl", done["state"]["status"])):
            await service.import_opencode(tmp_path / name, progress=False)
            (call,) = (await service.tool_calls()).to_dict("records")
            assert call["status"] == status
        assert (await service.get_session(FIRST)).title == said["info"]["title"]


async def test_what_a_sanitized_export_left_open_is_filled_in(
    given_out: Path, database: Frames, tmp_path: Path
) -> None:
    (sanitized := tmp_path / "sanitized").mkdir()
    shutil.copy(given_out / "export" / f"{PERMISSIONS}.sanitized.json", sanitized)
    async with ocs.OpencodeSessionService() as service:
        await service.import_opencode(sanitized, progress=False)
        await service.import_opencode(given_out / "http", progress=False)
        after = await service.frames(diffs=True, parts=True)
    assert differing(after, database) == set()


# What is wrong with some


def problems_of(folder: Path) -> tuple[int, list[Problem]]:
    items = [item for source in find(folder) for item in source.sessions()]
    return (
        sum(isinstance(item, SessionRecord) for item in items),
        [item for item in items if isinstance(item, Problem)],
    )


Damage = Callable[[Path], Any]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "halved": (
        lambda f: f.write_bytes(f.read_bytes()[:5000]),
        "is cut off (opencode may lose the end of what it writes to a pipe, not to a file)",
    ),
    "not_utf8": (
        lambda f: f.write_bytes(f.read_bytes().replace(b"Add", b"\xff\xfe")),
        "its JSON is broken",
    ),
    "no_id": (
        lambda f: f.write_text('{"info": {}, "messages": []}'),
        "holds nothing that opencode gives out",
    ),
    "no_list": (
        lambda f: f.write_text('{"info": {"id": "ses_1"}, "messages": 7}'),
        "holds nothing that opencode gives out",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_what_is_damaged_is_named_and_the_others_arrive(name: str, exports: Path) -> None:
    damage, reason = DAMAGES[name]
    file = exports / f"{FIRST}.json"
    damage(file)
    assert problems_of(exports) == (19, [Problem(f"file {file}", reason)])
    async with ocs.OpencodeSessionService() as service:
        report = await service.import_opencode(exports, progress=False)
    assert (report.sessions.new, report.sessions.skipped) == (19, 1)
    assert f"skipped file {file}: {reason}" in repr(report)


def test_file_that_vanishes_or_is_half_written_while_it_is_read(
    exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opencode_sessions.sources import source

    gone, half, whole = exports / f"{FIRST}.json", exports / f"{PERMISSIONS}.json", source.contents
    reads: list[Path] = []

    def contents(path: Path) -> bytes:
        reads.append(path)
        if path == gone:
            path.unlink(missing_ok=True)
        return whole(path)[: 5000 if path == half and reads.count(path) == 1 else None]

    monkeypatch.setattr("opencode_sessions.sources.export.contents", contents)
    reason = "cannot be read: No such file or directory"
    assert problems_of(exports) == (19, [Problem(f"file {gone}", reason)])


def test_one_message_that_is_none_leaves_the_others(exports: Path) -> None:
    file = exports / f"{FIRST}.json"
    said = json.loads(file.read_text())
    said["messages"][3:3] = [7, None, {"info": {"id": 7}}, {"info": {"id": "msg_1"}}]
    file.write_text(json.dumps(said))
    (source,) = find(file)
    count, *problems, record = source.sessions()
    assert isinstance(record, SessionRecord)
    assert (count, len(record.messages)) == (1, 22)
    assert problems == [
        Problem(f"file {file}, message {number}", "holds nothing that opencode gives out")
        for number in (3, 4, 5, 6)
    ]


def test_parts_that_are_none_and_messages_that_are_there_twice_are_named(exports: Path) -> None:
    file = exports / f"{FIRST}.json"
    said = json.loads(file.read_text())
    first, second, third = (message["info"]["id"] for message in said["messages"][:3])
    whole = [*find(file)[0].sessions()][-1]
    said["messages"][0]["parts"] += [7, None, ["text"]]
    said["messages"][1]["parts"] = "none"
    said["messages"] += [said["messages"][2], said["messages"][2] | {"parts": []}]
    file.write_text(json.dumps(said))
    count, *problems, record = find(file)[0].sessions()
    assert count == 1
    assert isinstance(whole, SessionRecord) and isinstance(record, SessionRecord)
    assert [(problem.place, problem.reason) for problem in problems] == [
        *((f"part {n} of message {first} of {FIRST}", "is no JSON object") for n in (1, 2, 3)),
        (f"part 0 of message {second} of {FIRST}", "is no JSON object"),
        (f"message {third} of {FIRST}", "is there twice, and the later one was taken"),
    ]
    assert record.messages[0] == whole.messages[0]
    assert [bool(message.parts) for message in record.messages[1:3]] == [False, False]
    assert [m.parts for m in record.messages[3:]] == [m.parts for m in whole.messages[3:]]


def test_broken_line_of_a_run_is_named(given_out: Path, tmp_path: Path) -> None:
    lines = run_lines(given_out / "export" / f"{FIRST}.json")
    lines[3:3] = ["", lines[3][:50], '{"type": "error", "sessionID": "ses_1", "error": {}}', "7"]
    file = tmp_path / "run.jsonl"
    file.write_text("\n".join(lines))
    (source,) = find(file)
    assert [item for item in source.sessions() if isinstance(item, Problem)] == [
        Problem(f"file {file}, line 5", "its JSON is broken"),
        Problem(f"file {file}, line 7", "holds nothing that opencode gives out"),
    ]
