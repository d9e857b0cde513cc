"""What commands changed in the recordings, and opencode's snapshots as the source of it."""

import hashlib
import json
import os
import posixpath
import shutil
import sqlite3
import subprocess
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from conftest import DATA, RECORDINGS, TRAILMAP, TREES, Recording, unpacked_tar
from test_recordings import numstat

import opencode_sessions as ocs
from opencode_sessions.records import SessionRecord, session_record
from opencode_sessions.sources import Untold, snapshots
from opencode_sessions.sources.snapshots import Snapshots

SHELL = ("snapshot", "patch_part", "shell")
SNAPSHOTS = sorted(file.name.removesuffix(".snapshot.tar.xz") for file in DATA.glob("*.snapshot.*"))
SHOP = "opencode-1.18.33"
SHOP_1_0 = "opencode-1.0.185"
# Before opencode knew snapshots, and where it took one too late: only the command's text tells.
BY_TEXT = ("opencode-0.1.174", "opencode-1.3.2")


class Change(NamedTuple):
    """A path that a call changed, as truth and package both tell it; a move is two of them."""

    call: str
    path: str
    kind: str


@pytest.fixture(scope="module")
def whole(
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Data folders with the snapshots as opencode left them, by recording."""
    folders = {}
    for name in SNAPSHOTS:
        folder = tmp_path_factory.mktemp(name) / "data"
        if name in TREES:
            shutil.copytree(trees[name].database, folder)
        else:
            folder.mkdir()
            shutil.copy(recordings[name].database, folder / "opencode.db")
        folders[name] = unpacked_tar(f"{name}.snapshot", folder)
    return folders


def read(place: Path) -> tuple[list[SessionRecord], list[str]]:
    """The sessions, and what the source cannot tell."""
    (source,) = ocs.sources.find(place)
    items = [*source.sessions()]
    untold = [item.note for item in items if isinstance(item, Untold)]
    return [item for item in items if isinstance(item, SessionRecord)], untold + source.notes()


def without_notes(record: SessionRecord) -> SessionRecord:
    """The session as it were had opencode taken no snapshots."""
    messages = []
    for message in record.messages:
        parts = [{key: part[key] for key in part if key != "snapshot"} for part in message.parts]
        messages.append((message.info, [part for part in parts if part.get("type") != "patch"]))
    return session_record(record.info, messages, worktree=record.worktree)


def true_changes(truth: dict[str, Any]) -> set[Change]:
    return {
        Change(event["part_id"] or event["call_id"], change["path"], change["change"])
        for session in truth["sessions"]
        for event in session["file_events"]
        for change in event.get("changed_files") or []
    }


def unknown_calls(truth: dict[str, Any]) -> set[str]:
    """Commands the truth says nothing of: the user's own."""
    return {
        event["part_id"] or event["call_id"]
        for session in truth["sessions"]
        for event in session["file_events"]
        if event["event_type"] == "bash" and "changed_files" not in event
    }


def found_changes(records: list[SessionRecord]) -> dict[str, set[Change]]:
    """The changes of commands in these sessions, by evidence."""
    found: dict[str, set[Change]] = defaultdict(set)
    for record in records:
        assert all(message.file_events == () for message in record.messages)
        for call in (call for message in record.messages for call in message.tool_calls):
            own = [e.event for e in call.file_events if e.event.evidence in SHELL]
            assert not own or call.call.tool == "bash"
            for event in own:
                kinds = {
                    "write": "create" if event.is_new_file is not False else "modify",
                    "edit": "modify",
                    "delete": "delete",
                    "move": "delete",
                }
                pairs = [(event.file_path, kinds[event.event_type])]
                pairs += [(event.new_file_path, "create")] if event.event_type == "move" else []
                for path, kind in pairs:
                    name = posixpath.relpath(path or "", record.directory)
                    id = call.call.part_id or call.call.call_id or ""
                    found[event.evidence].add(Change(id, name, kind))
    return found


def report(name: str, truth: dict[str, Any], found: dict[str, set[Change]]) -> str:
    """Precision of each evidence and recall of all, in paths."""
    true = {change[:2] for change in true_changes(truth)}
    lines = []
    everything = set()
    for evidence, changes in sorted(found.items()):
        paths = {change[:2] for change in changes}
        everything |= paths
        lines.append(f"{evidence} precision {len(paths & true)}/{len(paths)}")
    return f"{name}: {', '.join(lines)}; recall {len(everything & true)}/{len(true)}"


def known(truth: dict[str, Any], found: dict[str, set[Change]]) -> dict[str, set[Change]]:
    unknown = unknown_calls(truth)
    left = {k: {c for c in changes if c.call not in unknown} for k, changes in found.items()}
    return {evidence: changes for evidence, changes in left.items() if changes}


@pytest.mark.parametrize("name", [*TREES, *RECORDINGS])
def test_changes_known_from_what_a_session_says(
    name: str, recordings: dict[str, Recording], trees: dict[str, Recording]
) -> None:
    recording = (trees | recordings)[name]
    records, _ = read(recording.database)
    found = known(recording.truth, found_changes(records))
    print(report(f"{name}, no snapshots", recording.truth, found))
    (evidence,) = found
    assert evidence == ("shell" if name in BY_TEXT else "patch_part")
    true = true_changes(recording.truth)
    assert {change[:2] for change in found[evidence]} == {change[:2] for change in true}
    # `python -m trailmap import` made a file: that it is new, only trees tell.
    guessed = {"data/routes/lake-copy.json"} if name == TRAILMAP else set()
    assert {change.path for change in found[evidence] - true} == guessed


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_changes_known_from_snapshots(
    name: str,
    whole: dict[str, Path],
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
) -> None:
    truth = (trees | recordings)[name].truth
    records, notes = read(whole[name])
    assert notes == []
    found = known(truth, found_changes(records))
    print(report(f"{name}, snapshots", truth, found))
    # A step that the user stopped has no tree after it, only a patch part.
    stopped = found.get("patch_part", set())
    assert {change.path for change in stopped} == ({"docs/slow.txt"} if name == SHOP else set())
    assert found["snapshot"] | stopped == true_changes(truth)


@pytest.mark.parametrize("name", [SHOP, TRAILMAP])
def test_changes_known_from_the_text_alone(name: str, recordings: dict[str, Recording]) -> None:
    truth = recordings[name].truth
    records, _ = read(recordings[name].database)
    found = known(truth, found_changes([without_notes(record) for record in records]))
    print(report(f"{name}, text alone", truth, found))
    true = true_changes(truth)
    assert list(found) == ["shell"]
    missed = {change.path for change in true - found["shell"]}
    wrong = {change.path for change in found["shell"] - true}
    if name == SHOP:
        assert (missed, wrong) == ({"docs/slow.txt"}, set())  # the user stopped it
        return
    # Moved out of the project, where the truth does not look.
    assert wrong == {"../../../tmp/tmp.html"}
    assert missed == {
        "data/routes/lake-copy.json",  # made by the program itself
        *("trailmap/astar.py", "tests/test_astar.py"),  # rm && pytest, which failed
        *("scripts/booklet.py", "tests/test_storage.py", "tests/test_web.py"),  # xargs sed -i
        *("trailmap/cli.py", "trailmap/web/server.py"),
    }


def test_lines_are_what_git_counts(
    whole: dict[str, Path], trailmap: Recording, tmp_path: Path
) -> None:
    contents = trailmap.truth["contents"] | {None: ""}
    true = {
        (event["part_id"], change["path"]): (
            contents[change["before_sha256"]],
            contents[change["after_sha256"]],
        )
        for session in trailmap.truth["sessions"]
        for event in session["file_events"]
        for change in event.get("changed_files") or []
    }
    records, _ = read(whole[TRAILMAP])
    events = [
        (call.call.part_id, posixpath.relpath(event.event.file_path or "", record.directory), event)
        for record in records
        for message in record.messages
        for call in message.tool_calls
        for event in call.file_events
        if event.event.evidence == "snapshot"
    ]
    moves = [event for _, _, event in events if event.event.event_type == "move"]
    assert len(moves) == 6
    assert {(e.event.additions, e.event.deletions) for e in moves} == {(0, 0)}
    rest = [entry for entry in events if entry[2].event.event_type != "move"]
    counted = numstat(tmp_path, [true[id, path] for id, path, _ in rest])
    assert [(e.event.additions, e.event.deletions) for _, _, e in rest] == counted


def test_without_the_shell_the_rest_is_as_it_was(whole: dict[str, Path]) -> None:
    frames = ocs.read_opencode(whole[TRAILMAP], diffs=True, parts=True)
    alone = ocs.read_opencode(whole[TRAILMAP], shell=False, diffs=True, parts=True)
    for name in ("messages", "tool_calls"):
        assert getattr(frames, name).equals(getattr(alone, name))
    events = frames.file_events
    assert events["event_id"].is_unique
    numbers = events.groupby("opencode_session_id", observed=True)["seq"].cumcount()
    assert list(events["seq"]) == list(numbers)
    rest = events[~events["evidence"].isin(SHELL)].reset_index(drop=True)
    columns = [column for column in rest.columns if column != "seq"]
    pd.testing.assert_frame_equal(
        rest[columns], alone.file_events[columns], check_categorical=False
    )
    assert Counter(events["evidence"][events["evidence"].isin(SHELL)]) == {"snapshot": 21}


async def test_an_import_again_changes_nothing(whole: dict[str, Path], store: Path | str) -> None:
    async with await ocs.open(store) as svc:
        await svc.import_opencode(whole[SHOP], progress=False)
        again = await svc.import_opencode(whole[SHOP], progress=False)
        count = again.file_events
        assert (count.new, count.changed, count.skipped) == (0, 0, 0)
        assert count.unchanged == len(await svc.file_events())


def touched_later(exports: Path, folder: Path, ms: int) -> Path:
    """Copies of exports, those that are not sanitized, of sessions that were touched later."""
    for file in exports.glob("*.json"):
        if not file.name.endswith(".sanitized.json"):
            said = json.loads(file.read_text())
            said["info"]["time"]["updated"] += ms
            (folder / file.name).write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("is_newer", [False, True])
async def test_an_export_spoils_nothing_that_snapshots_told(
    whole: dict[str, Path], given_out: Path, tmp_path: Path, is_newer: bool
) -> None:
    """Its patch parts name what trees had shown: no event is lost, doubled or told otherwise."""
    exports = touched_later(given_out / "export", tmp_path, ms=int(is_newer))
    async with ocs.OpencodeSessionService() as svc:
        await svc.import_opencode(whole[SHOP], progress=False)
        before = await svc.file_events()
        report = await svc.import_opencode(exports, progress=False)
        after = await svc.file_events()
    assert (report.sessions.changed > 0) == is_newer
    assert report.file_events.new == 0
    if not is_newer:
        assert report.file_events.changed == 0
        pd.testing.assert_frame_equal(after, before, check_exact=True)
    told = [*before.columns.drop("source")]
    pd.testing.assert_frame_equal(after[told], before[told], check_exact=True)


@pytest.mark.parametrize("name", [SHOP, SHOP_1_0])
async def test_what_pruned_snapshots_told_is_kept_when_the_session_goes_on(
    whole: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """opencode prunes them after a week."""
    data = Path(shutil.copytree(whole[name], tmp_path / "data"))
    settled(data)
    async with ocs.OpencodeSessionService() as svc:
        await svc.import_opencode(data, progress=False)
        before = await svc.file_events()
        assert before["evidence"].eq("snapshot").any()
        shutil.rmtree(data / "snapshot")
        touched(data)
        report = await svc.import_opencode(data, progress=False)
        assert any("snapshots asked for are gone" in note for note in report.notes), "not read"
        pd.testing.assert_frame_equal(await svc.file_events(), before)
        await svc.import_opencode(data, shell=False, progress=False)
        told = {*(await svc.file_events())["evidence"]}
        assert not told & {*SHELL}, "who does not ask for it has none of it"


def touched(data: Path) -> None:
    """Gives what it holds a later time, as a session has that goes on."""
    for file in data.rglob("*.json"):
        os.utime(file, (1.1e9, 1.1e9))
    for database in data.glob("*.db"):
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE message SET time_updated = time_updated + 1")


async def test_a_database_corrects_what_its_export_told(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    """A command's text may name more than the trees around it show."""
    records, _source = read(whole[TRAILMAP])
    for record in map(without_notes, records):
        messages = [{"info": message.info, "parts": message.parts} for message in record.messages]
        for part in (part for message in messages for part in message["parts"]):
            if part.get("tool") == "bash":
                part["state"]["input"]["command"] += "\ntouch /elsewhere/never-there.txt"
        file = tmp_path / f"{record.id}.json"
        file.write_text(json.dumps({"info": record.info, "messages": messages}))
    fresh = ocs.read_opencode(whole[TRAILMAP]).file_events
    async with ocs.OpencodeSessionService() as svc:
        await svc.import_opencode(tmp_path, progress=False)
        told = await svc.file_events()
        assert not told["evidence"].eq("snapshot").any()
        assert told["file_path"].eq("/elsewhere/never-there.txt").any()
        assert {*told["event_id"]} - {*fresh["event_id"]}
        await svc.import_opencode(whole[TRAILMAP], progress=False)
        after = await svc.file_events()
    pd.testing.assert_frame_equal(after, fresh)


@pytest.mark.parametrize("name", [SHOP, SHOP_1_0])
async def test_snapshots_that_come_later_are_read_and_those_that_go_are_not_missed(
    whole: dict[str, Path], tmp_path: Path, name: str
) -> None:
    data = Path(shutil.copytree(whole[name], tmp_path / "data"))
    settled(data)
    (data / "snapshot").rename(tmp_path / "aside")
    async with ocs.OpencodeSessionService() as svc:
        await svc.import_opencode(data, progress=False)
        assert "snapshot" not in {*await known_by(svc)}
        (tmp_path / "aside").rename(data / "snapshot")
        await svc.import_opencode(data, progress=False)
        assert await known_by(svc) == Counter(
            ocs.read_opencode(data).file_events["evidence"].astype(str)
        )
        with_snapshots = await known_by(svc)
        assert with_snapshots["snapshot"] > 0
        shutil.rmtree(data / "snapshot")
        report = await svc.import_opencode(data, progress=False)
        assert report.sessions.total == report.sessions.unchanged > 0
        assert report.file_events.changed == report.file_events.new == 0
        assert await known_by(svc) == with_snapshots


def settled(data: Path) -> None:
    """Gives its files a time long enough ago for a later change to have another."""
    for file in data.rglob("*.json"):
        os.utime(file, (1e9, 1e9))


async def known_by(svc: ocs.OpencodeSessionService) -> Counter[str]:
    return Counter((await svc.file_events())["evidence"].astype(str))


# The folder itself


def listing(folder: Path) -> list[tuple[str, int, int, int]]:
    found = []
    for file in sorted(folder.rglob("*")):
        stat = file.lstat()
        found.append((str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return found


@pytest.fixture
def shop(whole: dict[str, Path], tmp_path: Path) -> Path:
    """A data folder of one's own, with a snapshot in loose objects."""
    return Path(shutil.copytree(whole[SHOP_1_0], tmp_path / "data"))


def git_folder(data: Path) -> Path:
    (folder,) = (data / "snapshot").iterdir()
    return folder


def evidence(data: Path) -> tuple[set[str], list[str]]:
    records, notes = read(data)
    return set(found_changes(records)), notes


def test_nothing_is_written_there(shop: Path) -> None:
    before = listing(shop)
    assert evidence(shop) == ({"snapshot"}, [])
    assert listing(shop) == before


def test_nothing_there_is_run(shop: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\ntouch {ran}\ncat "$@"\n')
    script.chmod(0o755)
    git = git_folder(shop)
    (git / "config").write_text(
        f"[core]\nrepositoryformatversion = 1\nbare = true\nfsmonitor = {script}\n"
        f"pager = {script}\nsshCommand = {script}\nhooksPath = {tmp_path}\n"
        f"attributesFile = {git}/info/attributes\n"
        f'[diff]\nexternal = {script}\n[diff "x"]\ntextconv = {script}\ncommand = {script}\n'
        f'[filter "x"]\nclean = {script}\nsmudge = {script}\nprocess = {script}\n'
        f"[extensions]\npartialClone = origin\n"
        f'[remote "origin"]\npromisor = true\nurl = ssh://nowhere/x\n[include]\npath = {script}\n'
    )
    (git / "info").mkdir(exist_ok=True)
    (git / "info" / "attributes").write_text("* diff=x filter=x\n")
    assert evidence(shop) == ({"snapshot"}, [])
    blobs = [file for file in (git / "objects").rglob("??/*") if file.is_file()]
    for file in blobs[::2]:
        file.unlink()
    assert evidence(shop)[0] <= {"snapshot", "patch_part"}
    assert not ran.exists()


def test_the_users_own_git_settings_do_not_matter(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(os.environ["HOME"], ".gitconfig").write_text("[diff]\nexternal = false\n[broken\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    assert evidence(shop) == ({"snapshot"}, [])


GONE = (
    "1 of 1 snapshots asked for are gone or cannot be read: what commands changed there is known "
    "from patch parts"
)


@pytest.mark.parametrize("damage", ["all", "objects", "every object empty"])
def test_without_trees_the_patch_parts_have_to_do(shop: Path, damage: str) -> None:
    objects = git_folder(shop) / "objects"
    if damage == "all":
        shutil.rmtree(shop / "snapshot")
    elif damage == "objects":
        shutil.rmtree(objects)
        objects.mkdir()
    else:
        for file in objects.rglob("??/*"):
            if file.is_file():
                file.chmod(0o644)
                file.write_bytes(b"")
    assert evidence(shop) == ({"patch_part"}, [GONE])


def test_without_git_the_patch_parts_have_to_do(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert evidence(shop) == ({"patch_part"}, [GONE])


def test_git_that_takes_too_long_is_asked_no_more(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SECONDS", 0.0)
    assert evidence(shop) == ({"patch_part"}, [GONE])


async def test_what_git_took_too_long_for_is_asked_again_the_next_time(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(shop)
    async with ocs.OpencodeSessionService() as svc:
        with monkeypatch.context() as patch:
            patch.setattr(snapshots, "SECONDS", 0.0)
            report = await svc.import_opencode(shop, progress=False)
        (problem,) = report.problems
        assert problem.place.startswith("snapshots of ses_")
        assert "git did not answer" in problem.reason
        assert "snapshot" not in {*await known_by(svc)}
        report = await svc.import_opencode(shop, progress=False)
        assert report.problems == []
        assert "snapshot" in {*await known_by(svc)}
        report = await svc.import_opencode(shop, progress=False)
        assert report.sessions.unchanged == report.sessions.total


# Trees of one's own


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Own":
    return Own(tmp_path / "data", tmp_path / "work")


class Own:
    """A snapshot repository and a worktree to take trees of."""

    project = "0123"

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work
        work.mkdir()
        self.git_dir = data / "snapshot" / self.project
        self.git("init", "-q", "--bare", str(self.git_dir))

    def git(self, *args: str) -> str:
        done = subprocess.run(
            ["git", *args],
            cwd=self.work,
            env=os.environ | {"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(self.work)}
            if args[0] != "init"
            else None,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def tree(self) -> str:
        self.git("add", "-A")
        return self.git("write-tree")

    def changes(self, *pairs: tuple[str, str]) -> dict[Any, Any]:
        with Snapshots(self.data) as found:
            told = found.changes(self.project, "/p", pairs)
        return {
            pair: [(c.status, c.path, c.additions, c.deletions) for c in changes]
            for pair, changes in told.items()
        }


def test_names_modes_and_binaries(own: Own) -> None:
    empty = own.tree()
    names = ["a b.txt", 'q"uote.txt', "tab\t.txt", "größe.md", "new\nline.txt", ":100644 x"]
    for name in names:
        (own.work / name).write_text("one\ntwo\n")
    (own.work / "data.bin").write_bytes(bytes(range(256)))
    os.symlink("nowhere", own.work / "link")
    full = own.tree()
    (own.work / "a b.txt").chmod(0o755)
    (own.work / "link").unlink()
    (own.work / "data.bin").write_bytes(bytes(300))
    later = own.tree()
    found = own.changes((empty, full), (full, later), (later, later))
    assert sorted(found[empty, full]) == sorted(
        [
            *(("A", f"/p/{name}", 2, 0) for name in names),
            ("A", "/p/data.bin", None, None),
            ("A", "/p/link", 1, 0),
        ]
    )
    # A mode alone is no change of what is in a file.
    assert found[full, later] == [("M", "/p/data.bin", None, None), ("D", "/p/link", 0, 1)]
    assert found[later, later] == []


def test_a_tree_that_is_not_whole_spoils_no_other(own: Own) -> None:
    made = []
    for number in range(4):
        (own.work / "sub").mkdir(exist_ok=True)
        (own.work / "sub" / "a.txt").write_text(f"{number}\n")
        made.append(own.tree())
    lost = own.git("rev-parse", f"{made[1]}:sub")
    (own.git_dir / "objects" / lost[:2] / lost[2:]).unlink()
    nowhere = "1" * 40
    pairs = [(made[0], made[1]), (made[2], made[3]), (made[1], made[2]), (nowhere, made[0]),
             (made[0], made[3]), (made[0], "HEAD"), ("--output=x", made[0])]  # fmt: skip
    change = [("M", "/p/sub/a.txt", 1, 1)]
    assert own.changes(*pairs) == {pairs[1]: change, pairs[4]: change}


def test_each_worktree_has_its_own(own: Own) -> None:
    first = own.tree()
    (own.work / "a.txt").write_text("a\n")
    pair = (first, own.tree())
    assert own.changes(pair) == {pair: [("A", "/p/a.txt", 1, 0)]}
    # Since 1.14 a folder deeper, by the worktree's path.
    folder = own.git_dir / hashlib.sha1(b"/p", usedforsecurity=False).hexdigest()
    folder.mkdir()
    (own.git_dir / "objects").rename(folder / "objects")
    assert own.changes(pair) == {pair: [("A", "/p/a.txt", 1, 0)]}
    with Snapshots(own.data) as found:
        assert found.changes(own.project, "/q", [pair]) == {}
        for project in (None, "", ".", "..", "../snapshot/0123", "/", "x\0y", "a" * 5000):
            assert found.changes(project, "/p", [pair]) == {}
