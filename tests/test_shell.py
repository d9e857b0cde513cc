"""What commands say they change, and which of a session's changes are whose."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencode_sessions.changes import Pair, Work, works
from opencode_sessions.noted import TreeChange
from opencode_sessions.records import SessionRecord, session_record
from opencode_sessions.rows import session_rows
from opencode_sessions.shell import LONGEST_COMMAND, read_command

HERE = "/w"
SHOP = "/home/dev/shop"

# Commands to texts


def said(command: str) -> list[str]:
    """Each change in a line; "?" before one that is not sure."""
    return [
        "?" * (not change.is_sure)
        + " ".join(
            [change.event_type, *(p.removeprefix("/w/") for p in change[1:3] if p is not None)]
        )
        for change in read_command(command, HERE).changes
    ]


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("echo a > x.txt", ["write x.txt"]),
        ("echo a >> x.txt", ["edit x.txt"]),
        ("echo a>x.txt;echo b>>x.txt", ["write x.txt"]),
        ("ls 2>/dev/null 1>&2 &> out.log", ["write out.log"]),
        ("make >| build.log 2>&1", ["write build.log"]),
        ("echo a | tee -a log.txt copy.txt >/dev/null", ["edit log.txt", "edit copy.txt"]),
        ("cat <<'EOF' > a.py && rm b.txt\nrm c.txt\n> d\nEOF\nrm e.txt",
         ["write a.py", "delete b.txt", "delete e.txt"]),
        ("cat > a.py <<-END\n\tx\n\tEND\ntouch b.txt", ["write a.py", "write b.txt"]),
        ("cat > a.py <<'EOF'\nnever ends", ["write a.py"]),
        ("sed -i 's/a b/c/' 'a b.txt' x.py", ["edit a b.txt", "edit x.py"]),
        ("sed -i '' 's/a/b/' x.py", ["edit x.py"]),
        ("sed -E -i.bak -e s/a/b/ -e s/c/d/ x.py", ["edit x.py", "write x.py.bak"]),
        ("sed --in-place s/a/b/ x.py", ["edit x.py"]),
        ("sed --in-place=.bak s/a/b/ x.py", ["edit x.py", "write x.py.bak"]),
        ("sed -i -Ee s/a/b/ -e s/c/d/ x.py", ["edit x.py"]),
        ("sed -l 5 -i s/a/b/ x.py", ["edit x.py"]),
        ("sed -i s/a/b/ -- -odd.txt", ["edit -odd.txt"]),
        ("sed -n 1,5p x.py", []),
        ("perl -pi -e 's/a/b/' x.py y.py", ["edit x.py", "edit y.py"]),
        ("perl -i'old_*' -pe 's/a/b/' x.py", ["edit x.py"]),
        ("perl -e 'print 1' x.py", []),
        ("rm -f a.txt ./b.txt ../c.txt -- -d", ["delete a.txt", "delete b.txt", "delete /c.txt",
                                               "delete -d"]),
        ("rm -rf build", ["?delete build"]),
        ("mv a.py b.py", ["move a.py b.py"]),
        ("mv a.py b.py c/", ["move a.py c/a.py", "move b.py c/b.py"]),
        ("mkdir -p c && mv a.py c", ["move a.py c/a.py"]),
        ("mv a.py c", ["?move a.py c"]),
        ("mv lib src", ["?move lib src"]),
        ("git mv -f a.py b.py && git rm c.py", ["move a.py b.py", "delete c.py"]),
        ("git rm --cached c.py", []),
        ("cp a.py b.py", ["write b.py"]),
        ("cp -r a b", ["?write b"]),
        ("ln -s a.txt b.txt", ["write b.txt"]),
        ("cd sub && echo a > x.txt; cd .. && echo b > y.txt", ["write sub/x.txt", "write y.txt"]),
        ("(cd sub; rm a.txt); rm b.txt", ["delete sub/a.txt", "delete b.txt"]),
        ("cd $DIR && rm a.txt /w/b.txt", ["delete b.txt"]),
        ("cd - ; rm a.txt", []),
        ("FOO=1 BAR='x y' sudo rm a.txt", ["delete a.txt"]),
        ("timeout 5 touch a.txt", ["write a.txt"]),
        ("test -f a.txt || touch a.txt; touch b.txt", ["?write a.txt", "write b.txt"]),
        ("if [ -f a.txt ]; then rm a.txt; fi; rm b.txt", ["?delete a.txt", "delete b.txt"]),
        ("for f in a b; do rm $f; done; rm c.txt", ["delete c.txt"]),
        ("rm *.py [ab].txt ~/c {d,e}.txt $F \"$G\" \"h $I\" `ls` $(ls)", []),
        ("rm 'a*.py' \"b[1].txt\" c\\ d", ["delete a*.py", "delete b[1].txt", "delete c d"]),
        ("sed -i s/a/b/ x.txt && mv x.txt y.txt", ["move x.txt y.txt"]),
        ("echo 'rm a.txt' \"> b\" # > c", []),
        ("echo \"$(rm a.txt)\" > b.txt", ["write b.txt"]),
        ("echo 'never closed > a.txt", []),
        ("python gen.py", []),
        ("touch -d yesterday a.txt", []),
        ("", []),
    ],
)  # fmt: skip
def test_changes_a_command_names(command: str, changes: list[str]) -> None:
    assert said(command) == changes


@pytest.mark.parametrize(
    ("command", "is_whole"),
    [
        ("ls -la && git status | head -3; cat a.txt", True),
        ("sed -i s/a/b/ x.py && rm y.py && mkdir z", True),
        ("grep -rn x . | sort | uniq -c > found.txt", False),  # uniq may be told where to write
        ("python -m pytest -q", False),
        ("find . -name '*.pyc' -delete", False),
        ("rm *.pyc", False),
        ("echo $(make)", False),
        ("xargs rm < list", False),
        ("echo '", False),
        ("$EDITOR a.txt", False),
        ("git apply fix.patch", False),
        ("curl -sSL https://a.b/c | jq .", True),
        ("curl -sXPOST -d name=a http://localhost/", True),
        ("curl -LO https://a.b/c.tgz", False),
        ("curl -sSLo c.tgz https://a.b/c.tgz", False),
        ("sort -u a.txt && sort --reverse b.txt", True),
        ("sort -uo a.txt a.txt", False),
        ("awk -F, '$2 > 3 {print $1; n += 1}' a.csv", True),
        ("awk '{print $1 > \"out-\" $2}' a.csv", False),
        ("awk '{system(\"rm \" $1)}' list", False),
        ("sed -n '/a/p; s/now x/wy/p' a.txt", True),
        ("sed -n '/a/w found.txt' a.txt", False),
        ("sed -i 's/a/b/gw changes.txt' a.txt", False),
        ("sed -f edits.sed a.txt", False),
        ("sed -nf edits.sed a.txt", False),
        ("sed --file=edits.sed a.txt", False),
        ("sed --file edits.sed a.txt", False),
        ("sed s/a/date/e a.txt", False),
        ("sed '1e make' a.txt", False),
        ("sed -n 's/a/e/p;/end/p' a.txt", True),
        ("git diff HEAD --stat", True),
        ("git diff --output=a.patch", False),
    ],
)
def test_a_command_that_is_understood_changes_nothing_else(command: str, is_whole: bool) -> None:
    assert read_command(command, HERE).is_whole == is_whole


@pytest.mark.parametrize("name", ["checkout .", "pull", "merge x", "stash", "-c a=b restore a.py"])
def test_work_of_elsewhere_is_nobodys(name: str) -> None:
    command = read_command(f"git {name} && echo a > x.txt", HERE)
    assert command.brings_work
    assert [change.path for change in command.changes] == ["/w/x.txt"]
    assert not read_command("git commit -am 'git checkout'", HERE).brings_work


def test_a_folder_that_is_named_names_what_is_in_it() -> None:
    command = read_command("rm -r docs; mv lib src", HERE)
    assert all(map(command.names, ["/w/docs/a/b.md", "/w/lib/x.py", "/w/src/x.py", "/w/docs"]))
    assert not any(map(command.names, ["/w/docsy.md", "/w/other.py", "/w"]))


def test_relative_paths_need_a_directory() -> None:
    changes = read_command("touch a.txt /b.txt && cd /c && touch d.txt", None).changes
    assert [change.path for change in changes] == ["/b.txt", "/c/d.txt"]


SHELL_TEXT = st.lists(
    st.sampled_from(
        [*"'\"\\$`;&|<>()*?[]{}~#! \n\t", "$(", "&&", "||", ">>", "<<EOF\n", "EOF\n", "cd ", "rm ",
         "mv ", "sed -i ", "git ", "for ", "done", "a.txt ", "../", "-", "=", "\x00", "\ud800", "ä"]
    ),
    max_size=60,
).map("".join)  # fmt: skip


@given(st.one_of(st.text(), SHELL_TEXT), st.sampled_from([HERE, "/", "", "sub", None]))
def test_any_text_is_read(command: str, directory: str | None) -> None:
    found = read_command(command, directory)
    for change in found.changes:
        for path in (change.path, change.new_path):
            assert path is None or path == posixpath.normpath(path)
            assert directory != HERE or path is None or path.startswith("/")


@pytest.mark.parametrize(
    "piece",
    ["'", '"', "\\", "$(", "`", "(", ")", "<<a\n", "<<a <<b\n", "{,", "cd a;", "> a ", "a>b;", "$'",
     '"$(', "\"\\'", "[", "rm a b;", "if ", "x=1 ", "a" , "sudo ", "${", "<(", "((", "\n"],
)  # fmt: skip
def test_time_grows_with_the_text_only(piece: str) -> None:
    # Whatever took longer than that would never end here.
    read_command(piece * (LONGEST_COMMAND // len(piece)), HERE)
    read_command('"' + piece * (LONGEST_COMMAND // len(piece) - 1), HERE)
    assert not read_command(piece * LONGEST_COMMAND + "  ", HERE).is_whole


def test_time_grows_with_the_program_in_a_command_only() -> None:
    program = "print " * (LONGEST_COMMAND // 7)
    assert read_command(f"awk '{program}' a.txt", HERE).is_whole


# Steps to events


class Seen:
    """A witness that saw this."""

    def __init__(self, trees: Mapping[Pair, Sequence[TreeChange]], others: Sequence[Work] = ()):
        self._trees, self._others = trees, others

    def trees(self, root: str, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[TreeChange]]:
        assert root == SHOP
        return {pair: self._trees[pair] for pair in pairs if pair in self._trees}

    def others(self, start_ms: float, end_ms: float) -> Iterable[Work]:
        return [w for w in self._others if w.start_ms <= end_ms and w.end_ms >= start_ms]


def call(tool: str, start: int = 1100, exit: int = 0, **input: Any) -> dict[str, Any]:
    state = {
        "status": "completed",
        "input": input,
        "output": "",
        "metadata": {"exit": exit} if tool == "bash" else {},
        "time": {"start": start, "end": start + 100},
    }
    id = f"prt_{tool}{start}"
    return {"id": id, "type": "tool", "tool": tool, "callID": f"call_{start}", "state": state}


def bash(command: str, start: int = 1100, **more: Any) -> dict[str, Any]:
    return call("bash", start, command=command, **more)


def step(
    *calls: dict[str, Any], trees: tuple[str, str] | None = ("t0", "t1"), files: Sequence[str] = ()
) -> list[dict[str, Any]]:
    before, after = ({"snapshot": tree} for tree in trees) if trees else ({}, {})
    patch = {
        "id": "prt_patch",
        "type": "patch",
        "hash": "t0",
        "files": [f"{SHOP}/{f}" for f in files],
    }
    parts = [
        {"id": "prt_start", "type": "step-start"} | before,
        *calls,
        {"id": "prt_stop", "type": "step-finish"} | after,
    ]
    return [*parts, patch] if files else parts


def record(*steps: list[dict[str, Any]], seen: Seen | None = None, **more: Any) -> SessionRecord:
    messages = [
        (
            {
                "id": f"msg_{number}",
                "role": "assistant",
                "time": {"created": 1000 * number, "completed": 1000 * number + 900},
                "path": {"cwd": SHOP, "root": SHOP},
            },
            parts,
        )
        for number, parts in enumerate(steps, 1)
    ]
    info = {"id": "ses_1", "directory": SHOP, "time": {"created": 0}}
    return session_record(info, messages, worktree=SHOP, witness=seen, **more)


def change(status: Any, path: str, before: str = "b0", after: str = "b1") -> TreeChange:
    return TreeChange(status, f"{SHOP}/{path}", before, after, 3, 1)


def changes(record: SessionRecord) -> list[str]:
    return [
        " ".join(
            [
                event.event.evidence,
                event.event.event_type,
                *(
                    path.removeprefix(f"{SHOP}/")
                    for path in (event.event.file_path, event.event.new_file_path)
                    if path
                ),
            ]
        )
        for message in record.messages
        for events in [*(c.file_events for c in message.tool_calls), message.file_events]
        for event in events
        if event.event.evidence in ("snapshot", "patch_part", "shell")
    ]


def test_trees_tell_what_no_tool_explains() -> None:
    trees = {
        ("t0", "t1"): [
            change("A", "new.txt"),
            change("M", "cart.py"),
            change("D", "old.txt"),
            change("M", "edited.py"),
        ]
    }
    edit = call("edit", filePath=f"{SHOP}/edited.py", oldString="a", newString="b")
    found = record(step(edit, bash("python gen.py", 1300)), seen=Seen(trees))
    assert changes(found) == ["snapshot write new.txt", "snapshot edit cart.py",
                              "snapshot delete old.txt"]  # fmt: skip
    events = found.messages[0].tool_calls[1].file_events
    assert [(e.number, e.seq) for e in events] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    new = events[1].event
    assert (new.is_new_file, new.additions, new.deletions, new.status) == (True, 3, 1, "completed")
    assert record(step(bash("x")), seen=Seen(trees), shell=False) == record(
        step(bash("x")), shell=False
    )


def test_same_content_at_another_path_has_moved() -> None:
    trees = {
        ("t0", "t1"): [
            change("A", "b/x.py", after="same"),
            change("A", "b/y.py", after="same"),
            change("A", "copy.py", after="same"),
            change("D", "a/x.py", before="same"),
            change("D", "a/y.py", before="same"),
        ]
    }
    found = record(step(bash("./tidy")), seen=Seen(trees))
    assert sorted(changes(found)) == ["snapshot move a/x.py b/x.py", "snapshot move a/y.py b/y.py",
                                      "snapshot write copy.py"]  # fmt: skip


def test_of_several_commands_none_is_named() -> None:
    found = record(
        step(bash("./one"), bash("./two", 1300), files=["a.txt", "b.txt"]), step(bash("./three"))
    )
    (message, _) = found.messages
    assert changes(found) == ["patch_part edit a.txt", "patch_part edit b.txt"]
    assert [len(call.file_events) for call in message.tool_calls] == [1, 1]
    assert [event.seq for event in message.file_events] == [2, 3]
    rows = session_rows(found, source="database", origin=None)["file_events"]
    assert [row["seq"] for row in rows] == [0, 1, 2, 3, 4]
    alone = [row for row in rows if row["tool_call_id"] is None]
    assert [(row["id"], row["tool"], row["call_id"]) for row in alone] == [
        ("prt_patch.0", "bash", None),
        ("prt_patch.1", "bash", None),
    ]


def test_patch_parts_are_read_with_the_command() -> None:
    command = "rm a.txt; mv b.txt c.txt; mv d.py sub; mv e.txt /tmp/e.txt; ./more > f.txt"
    files = ["a.txt", "c.txt", "sub/d.py", "e.txt", "f.txt", "g.txt"]
    assert changes(record(step(bash(command), files=files))) == [
        "patch_part delete a.txt",
        "patch_part move b.txt c.txt",
        "patch_part move d.py sub/d.py",
        "patch_part delete e.txt",
        "patch_part write f.txt",
        "patch_part edit g.txt",
    ]


def test_what_a_command_cannot_have_done_is_not_its() -> None:
    parts = step(bash("ls; rm a.txt"), files=["a.txt", "b.txt"])
    assert changes(record(parts)) == ["patch_part delete a.txt"]
    assert changes(record(step(call("read", filePath="b.txt"), files=["b.txt"]))) == []
    for git in ("git checkout main", "git stash", "git pull && make"):
        assert changes(record(step(bash(git), files=["b.txt"]))) == []


def test_the_work_of_other_sessions_is_theirs() -> None:
    parts = step(bash("./build"), files=["a.txt", "b.txt"])

    def with_other(*calls: dict[str, Any]) -> list[str]:
        return changes(record(parts, seen=Seen({}, works([({}, list(calls))], SHOP))))

    edit = {"filePath": "a.txt", "oldString": "a", "newString": "b"}
    both = ["patch_part edit a.txt", "patch_part edit b.txt"]
    assert with_other(call("edit", 1500, **edit)) == both[1:]
    assert with_other(call("edit", 2500, **edit)) == both
    assert with_other(bash("rm a.txt", 1500)) == both[1:]
    assert with_other(bash("ls", 1500)) == both
    assert with_other(bash("./other", 1500)) == []  # one of the two, nobody knows which
    # A fork's copy of this very call is the same call.
    assert with_other(bash("./build", 1100)) == both


def test_a_late_snapshot_is_made_up_for() -> None:
    seen = Seen({("t0", "t1"): [change("M", "a.py"), change("M", "b.py")]})
    steps = step(trees=("t0", "t0")), step(bash("sed -i s/a/b/ a.py", 2100), trees=("t1", "t1"))
    assert changes(record(*steps, seen=seen)) == ["snapshot edit a.py"]
    assert changes(record(*steps)) == ["shell edit a.py"]


def test_outside_of_what_snapshots_cover_the_text_tells() -> None:
    command = "echo a > ../blog/a.txt; echo b > b.txt; mv c.txt ../c.txt; rm -r ../old"
    assert changes(record(step(bash(command), files=["b.txt", "c.txt"]))) == [
        "patch_part write b.txt",
        "patch_part delete c.txt",
        "shell write /home/dev/blog/a.txt",
    ]
    assert changes(record(step(bash(command, exit=1), trees=("t0", "t0")))) == []
    two = record(step(bash("touch ../a.txt"), bash("./build", 1300), files=["b.txt"]))
    assert changes(two) == ["shell write /home/dev/a.txt", "patch_part edit b.txt"]
    assert [event.seq for event in two.messages[0].file_events] == [3]


def test_without_notes_the_text_tells() -> None:
    bare = {"trees": None}
    assert changes(record(step(bash("echo a > a.txt; rm -r b"), **bare))) == ["shell write a.txt"]
    assert changes(record(step(bash("rm a.txt && make", exit=2), **bare))) == []
    assert changes(record(step(bash("rm a.txt"), trees=("t0", "t0")))) == []
    away = bash("rm a.txt", workdir="sub")
    assert changes(record(step(away, **bare))) == ["shell delete sub/a.txt"]


def test_names_as_git_quotes_them_are_read() -> None:
    parts = step(bash("./build"), files=['"docs/gr\\303\\266\\303\\237e \\"x\\".md"'])
    assert changes(record(parts)) == ['patch_part edit docs/größe "x".md']


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["snapshot", "files", "type", "tool"]), inner)
    ),
)


@given(ANYTHING)
def test_any_notes_are_read(value: Any) -> None:
    parts = step(bash("rm a.txt"), files=["a.txt"])
    for part in parts:
        for key in ("snapshot", "files", "id"):
            if key in part:
                record([*(p | {key: value} if p is part else p for p in parts)], seen=Seen({}))
