"""Trees of JSON files, as opencode had them before its database; and damaged ones."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA, TREES, Fresh, Recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_recordings import assert_same_frames

import opencode_sessions as ocs
from opencode_sessions.records import SessionRecord
from opencode_sessions.sources import Problem, StorageTree, Untold, find
from opencode_sessions.sources import source as source_

LATEST = "opencode-1.1.65"
UPGRADED = "opencode-1.1.65-upgraded-to-1.18.33"
SHOP = "ses_dfbfb7ffdffelVV53fagR8bGz2"
Tree = Callable[..., Path]


@pytest.fixture
def tree(trees: dict[str, Recording], tmp_path: Path) -> Tree:
    """Copies a recording's tree to a folder of its own."""

    def copied(name: str = LATEST) -> Path:
        return Path(shutil.copytree(trees[name].database, tmp_path / name))

    return copied


def read(path: Path, **options: Any) -> tuple[dict[str, SessionRecord], list[Problem]]:
    count, *items = StorageTree(path).sessions(**options)
    records = [item for item in items if isinstance(item, SessionRecord)]
    problems = [item for item in items if isinstance(item, Problem)]
    assert count == len(records)
    untold = sum(isinstance(item, Untold) for item in items)
    assert len(records) + len(problems) + untold == len(items)
    assert untold <= 1
    return {record.id: record for record in records}, problems


def rewritten(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is in a folder: names, modes, times and contents."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in folder.rglob("*")
    }


# What is there


@pytest.mark.parametrize("name", TREES)
def test_nothing_of_a_tree_is_changed(name: str, tree: Tree) -> None:
    folder = tree(name)
    before = state(folder)
    ocs.read_opencode(folder)
    assert state(folder) == before


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_found_by_its_folder_or_one_in_it(name: str, tree: Tree) -> None:
    folder = tree(name)
    inside = folder / ("storage" if (folder / "storage").is_dir() else "project")
    for place in (folder, inside):
        (source,) = find(place)
        assert (source.kind, str(source)) == ("storage", str(folder))


def test_database_and_tree_side_by_side(
    tree: Tree, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    folder = tree()
    shutil.copy(recordings[UPGRADED].database, folder / "opencode.db")
    assert [source.kind for source in find(folder)] == ["database", "storage"]
    frames = ocs.read_opencode(folder)
    assert set(frames.sessions["source"]) == {"database"}
    assert_same_frames(frames, ocs.read_opencode(folder / "opencode.db"))
    # A session that the database has not is taken from the tree.
    extra = "ses_dfbfb6540fferAnotherOne00000"
    (session,) = folder.glob(f"storage/session/*/{SHOP}.json")
    rewritten(Path(shutil.copy(session, session.with_name(f"{extra}.json"))), title="Left behind")
    frames = ocs.read_opencode(folder)
    sources = dict(
        zip(frames.sessions["opencode_session_id"], frames.sessions["source"], strict=True)
    )
    assert sources.pop(extra) == "storage"
    assert (len(sources), set(sources.values())) == (4, {"database"})


async def test_report_names_both_and_what_was_met_twice(
    tree: Tree, recordings: dict[str, Recording]
) -> None:
    folder = tree()
    shutil.copy(recordings[UPGRADED].database, folder / "opencode.db")
    async with ocs.OpencodeSessionService() as service:
        report = await service.import_opencode(folder, progress=False)
    assert report.sources == [f"{folder / 'opencode.db'} (database)", f"{folder} (storage)"]
    assert report.sessions.new == 4
    assert any("4 sessions were also in a source before" in note for note in report.notes)
    assert report.problems == []


@pytest.mark.parametrize("project", ["/home/dev/shop", "shop"])
@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_asked_for_its_project(
    name: str, project: str, trees: dict[str, Recording]
) -> None:
    folder = trees[name].database
    assert read(folder, project=project)[0].keys() == read(folder)[0].keys()
    assert read(folder, project="/home/dev") == ({}, [])


def test_sessions_touched_since(trees: dict[str, Recording]) -> None:
    records, _ = read(trees[LATEST].database)
    last = max(record.updated_at for record in records.values() if record.updated_at)
    since, problems = read(trees[LATEST].database, since=last)
    assert ([r.updated_at for r in since.values()], problems) == ([last], [])
    assert read(trees[LATEST].database, since=datetime(2100, 1, 1, tzinfo=UTC)) == ({}, [])


def test_0_5_migrated_to_1_0_has_no_project_and_no_directory(
    trees: dict[str, Recording], tmp_path: Path
) -> None:
    """As 1.0 migrates a tree of 0.5: copied into the new layout, the old one stays, ids missing."""
    old = trees["opencode-0.5.29"].database
    project = "2d156b5a774ed819f38de90634688a9bde8dc99d"
    shutil.copytree(old, tmp_path, dirs_exist_ok=True)
    inside, storage = tmp_path / "project/home-dev-shop/storage/session", tmp_path / "storage"
    shutil.copytree(inside / "info", storage / "session" / project)
    shutil.copytree(inside / "message", storage / "message")
    for folder in (inside / "part").glob("ses_*"):
        shutil.copytree(folder, storage / "part", dirs_exist_ok=True)
    for with_project in (False, True):
        if with_project:
            (storage / "project").mkdir()
            (storage / "project" / f"{project}.json").write_text('{"worktree": "/home/dev/shop"}')
        records, problems = read(tmp_path)
        before, _ = read(old)
        assert (records.keys(), problems) == (before.keys(), [])
        for id, record in records.items():
            assert (record.worktree, record.directory) == ("/home/dev/shop", "/home/dev/shop")
            assert (record.project_id, record.title) == (project, before[id].title)
            assert record.messages == before[id].messages
        assert read(tmp_path, project="shop")[0].keys() == before.keys()


def test_subagents_have_their_parents(trees: dict[str, Recording]) -> None:
    for name in TREES[1:]:  # 0.1.174 had none
        records, _ = read(trees[name].database)
        (child,) = (record for record in records.values() if record.parent_id)
        (task,) = (
            call.call
            for message in records[child.parent_id or ""].messages
            for call in message.tool_calls
            if call.call.tool == "task"
        )
        frames = ocs.read_opencode(trees[name].database)
        sessions = frames.sessions.set_index("opencode_session_id")
        calls = frames.tool_calls.set_index("tool_call_id")
        assert sessions.loc[child.id, "root_session_id"] == child.parent_id
        assert calls.loc[str(task.part_id), "child_session_id"] == child.id


def test_agents_models_and_costs_of_every_version(trees: dict[str, Recording]) -> None:
    for name in TREES:
        records, _ = read(trees[name].database)
        assert {record.model for record in records.values()} == {"fake-1", "gpt-5-fake"}
        assert {record.provider for record in records.values()} == {"local"}
        assert {record.version for record in records.values()} == {name.removeprefix("opencode-")}
        # 0.1 knew no agents
        agents = {None} if name == "opencode-0.1.174" else {"build", "general"}
        assert {record.agent for record in records.values()} == agents
        answers = [m for r in records.values() for m in r.messages if m.role == "assistant"]
        # 0.1.174 knew no price of the model
        priced = 0 if name == "opencode-0.1.174" else len(answers)
        assert len([m for m in answers if m.cost_usd]) == priced


async def test_rows_of_0_1_keep_their_ids(trees: dict[str, Recording], tree: Tree) -> None:
    folder = tree("opencode-0.1.174")
    first = ocs.read_opencode(folder)
    assert first.tool_calls["tool_call_id"].is_unique
    assert first.file_events["event_id"].is_unique
    # A message before the others is forgotten: places move, ids do not.
    oldest = min(folder.glob("project/*/storage/session/message/*/*.json"), key=lambda f: f.name)
    oldest.unlink()
    again = ocs.read_opencode(folder)
    assert set(again.tool_calls["tool_call_id"]) == set(first.tool_calls["tool_call_id"])
    assert set(again.file_events["event_id"]) == set(first.file_events["event_id"])


# What is wrong with some


def test_half_written_file_is_read_once_more(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree()
    (file,) = folder.glob(f"storage/session/*/{SHOP}.json")
    whole, reads = source_.contents, []

    def half_written_at_first(path: Path) -> bytes:
        reads.append(path)
        return whole(path)[: 40 if reads.count(path) == 1 else None]

    monkeypatch.setattr("opencode_sessions.sources.storage.contents", half_written_at_first)
    records, problems = read(folder)
    assert (len(records), problems) == (4, [])
    assert reads.count(file) == 2


Damage = Callable[[Path], None]


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def a_list(file: Path) -> None:
    file.write_text("[1, 2]")


def not_utf8(file: Path) -> None:
    file.write_bytes(b'{"title": "\xff\xfe"}')


def nested(file: Path) -> None:
    file.write_text('{"a":' * 200_000 + "1" + "}" * 200_000)


def a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def a_link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / "gone")


def huge_and_sparse(file: Path) -> None:
    with file.open("ab") as opened:
        opened.truncate(2**40)


REASONS: dict[Damage, str] = {
    emptied: "its JSON is broken",
    halved: "its JSON is broken",
    not_utf8: "its JSON is broken",
    nested: "its JSON is broken",
    a_list: "is no JSON object",
    a_fifo: "cannot be read: it is no ordinary file",
    a_folder: "cannot be read: it is no ordinary file",
    a_link_to_itself: "cannot be read: Too many levels of symbolic links",
    a_link_to_nothing: "cannot be read: No such file or directory",
    huge_and_sparse: "cannot be read: it is too large (1,099,511,627,776 bytes)",
}


@pytest.mark.parametrize("damage", REASONS, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", ["session", "message", "part"])
def test_what_is_damaged_is_named_and_what_is_around_it_arrives(
    kind: str, damage: Damage, tree: Tree
) -> None:
    folder = tree()
    whole, _ = read(folder)
    message = next(m for m in whole[SHOP].messages if m.tool_calls)
    part = message.tool_calls[0].call.part_id
    pattern, id = {
        "session": (f"session/*/{SHOP}.json", SHOP),
        "message": (f"message/{SHOP}/{message.id}.json", message.id),
        "part": (f"part/{message.id}/{part}.json", part),
    }[kind]
    (file,) = (folder / "storage").glob(pattern)
    damage(file)
    records, problems = read(folder)
    place = f"session {id}" if kind == "session" else f"{kind} {id} of {SHOP}"
    assert problems == [Problem(place, REASONS[damage])]
    assert records.keys() == whole.keys()
    assert all(records[id] == whole[id] for id in whole if id != SHOP)
    before, after = (
        {str(c.call.part_id) for m in found[SHOP].messages for c in m.tool_calls}
        for found in (whole, records)
    )
    assert before - after == ({part} if kind == "part" else set())


async def test_report_counts_what_was_skipped(tree: Tree) -> None:
    folder = tree()
    message = min((folder / "storage/message" / SHOP).iterdir())
    halved(message)
    async with ocs.OpencodeSessionService() as service:
        report = await service.import_opencode(folder, progress=False)
    assert (report.messages.skipped, report.sessions.new) == (1, 4)
    assert f"message {message.stem} of {SHOP}" in repr(report)


def test_what_hangs_on_nothing_is_named(tree: Tree) -> None:
    folder = tree()
    (session,) = folder.glob(f"storage/session/*/{SHOP}.json")
    session.unlink()
    (folder / "storage/part/msg_gone").mkdir()
    (folder / "storage/part/msg_gone/prt_1.json").write_text("{}")
    records, problems = read(folder)
    count = len(list((folder / "storage/message" / SHOP).iterdir()))
    assert SHOP not in records
    assert problems == [
        Problem(f"session {SHOP}", f"has no file, only {count} messages"),
        Problem("message msg_gone", "has no file, only 1 parts"),
    ]


def test_messages_of_a_layout_that_lost_all_its_sessions_are_named(tree: Tree) -> None:
    folder = tree()
    for file in folder.glob("storage/session/*/*.json"):
        file.unlink()
    records, problems = read(folder)
    assert not records
    assert {problem.place.removeprefix("session ") for problem in problems} == set(
        os.listdir(folder / "storage/message")
    )


def test_things_of_others_in_a_tree_do_not_matter(tree: Tree) -> None:
    folder = tree()
    whole = read(folder)
    storage = folder / "storage"
    (storage / "loop").symlink_to(storage)
    (storage / "session" / "loop").symlink_to(storage)
    (storage / "session" / "notes.txt").write_text("mine")
    (storage / "message" / "notes.txt").write_text("mine")
    (storage / "message" / SHOP / ".msg_1.json.swp").write_text("mine")
    (folder / "project").write_text("no folder")
    assert read(folder) == whole


UNREADABLE = """
import os, sys
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from opencode_sessions.sources import StorageTree
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
count, *items = StorageTree(Path()).sessions()
problems = [f"{item.place}: {item.reason}" for item in items if hasattr(item, "reason")]
print(count, *problems, sep="\\n")
"""


def test_what_may_not_be_read_is_named(tree: Tree) -> None:
    folder = tree()
    messages = folder / "storage/message" / SHOP
    other = min(set(folder.glob("storage/message/*/*")) - set(messages.iterdir())).stem
    part = min(folder.glob(f"storage/part/{other}/*"))
    folder.chmod(0o755)
    part.chmod(0)
    messages.chmod(0)
    try:  # in a process of its own, which gives up the rights of root
        ran = subprocess.run(
            [sys.executable, "-c", UNREADABLE, repr([str(DATA.parents[1]), *sys.path])],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        messages.chmod(0o755)
    count, *problems = ran.stdout.splitlines()
    assert count == "4"
    assert len(problems) == 2
    assert problems[0] == f"folder storage/message/{SHOP}: cannot be read: Permission denied"
    assert problems[1].startswith(f"part {part.stem} of ses_")
    assert problems[1].endswith(": cannot be read: Permission denied")


def test_tree_that_vanishes_while_it_is_read(tree: Tree) -> None:
    folder = tree()
    items = StorageTree(folder).sessions()
    assert next(items) == 4
    shutil.rmtree(folder)
    assert all(isinstance(item, SessionRecord) and not item.messages for item in items)


# Nonsense of every kind

GOOD = "ses_dfbfb6c4bffef3lPD4e30kW2lg"  # "Add shipping costs"
CHILD = "ses_dfbfb6428ffeDnnNeB7YVnZ4qK"  # "Review the tests (@general subagent)"
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["\0", "\ud800", "x" * 100_000, "\x1b[31m", "../../etc/passwd", SHOP, CHILD, "1e999"]
)
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([-1e12, -1, 0, 4.2e12, 1e15, 2**63])  # before 1970, after 2100
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PLACES = st.lists(st.integers(0, 5), min_size=1, max_size=4)
CHANGES = st.lists(st.tuples(st.integers(0, 40), PLACES, VALUES), min_size=1, max_size=12)


def spoil(value: Any, place: list[int], instead: Any) -> Any:
    """A copy with something else in one place, found by the numbers of keys and items."""
    if not place or not value or not isinstance(value, dict | list):
        return instead
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[place[0] % len(keys)]
    copy = value.copy()
    copy[key] = spoil(value[key], place[1:], instead)
    return copy


def spoiled_tree(original: Path, folder: Path, changes: list[tuple[int, list[int], Any]]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    files = sorted(folder.glob(f"storage/session/*/{CHILD}.json"))
    files += sorted(folder.glob(f"storage/message/{CHILD}/*.json"))
    files += [part for m in files[1:] for part in sorted(folder.glob(f"storage/part/{m.stem}/*"))]
    for number, place, value in changes:
        file = files[number % len(files)]
        file.write_text(json.dumps(spoil(json.loads(file.read_text()), place, value)))
    return folder


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_no_nonsense_ends_a_read(
    changes: list[tuple[int, list[int], Any]],
    trees: dict[str, Recording],
    tmp_path: Path,
) -> None:
    whole, _ = read(trees[LATEST].database)
    records, problems = read(spoiled_tree(trees[LATEST].database, tmp_path / "tree", changes))
    assert records.keys() == whole.keys()
    assert all(records[id] == whole[id] for id in (SHOP, GOOD))
    assert all(CHILD in problem.place for problem in problems)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_no_nonsense_ends_an_import(
    changes: list[tuple[int, list[int], Any]],
    trees: dict[str, Recording],
    tmp_path: Path,
    fresh: Fresh,
) -> None:
    folder = spoiled_tree(trees[LATEST].database, tmp_path / "tree", changes)
    expected = ocs.read_opencode(trees[LATEST].database).file_events
    expected = expected[expected["opencode_session_id"] == SHOP]

    async def imported() -> None:
        async with await ocs.open(fresh(), migrate=False) as service:
            first = await service.import_opencode(folder, progress=False)
            stored = await service.frames()
            second = await service.import_opencode(folder, progress=False)
        assert first.sessions.new == second.sessions.unchanged == 4
        assert first.sessions.skipped == sum(p.place == f"session {CHILD}" for p in first.problems)
        assert second.problems == first.problems
        found = stored.file_events[stored.file_events["opencode_session_id"] == SHOP]
        columns = ["event_id", "event_type", "status", "additions", "deletions", "seq"]
        assert found[columns].values.tolist() == expected[columns].values.tolist()

    asyncio.run(imported())


def test_parents_in_a_circle_and_calls_of_the_same_id(tree: Tree) -> None:
    folder = tree()
    for id, parent in ((SHOP, CHILD), (CHILD, SHOP), (GOOD, GOOD)):
        (file,) = folder.glob(f"storage/session/*/{id}.json")
        rewritten(file, parentID=parent)
    first, second = sorted((folder / "storage/message" / SHOP).iterdir())[1:3]
    for part in (folder / "storage/part" / first.stem).iterdir():
        shutil.copy(part, folder / "storage/part" / second.stem)
    frames = ocs.read_opencode(folder)
    assert len(frames.sessions) == 4
    assert frames.tool_calls["tool_call_id"].is_unique
    assert frames.file_events["event_id"].is_unique
    doubled = [
        json.loads(file.read_text()) for file in (folder / "storage/part" / first.stem).iterdir()
    ]
    calls = sum(part["type"] == "tool" for part in doubled)
    assert calls > 0
    assert len(frames.tool_calls) == 30 + calls
