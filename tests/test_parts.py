"""What parts say: the contract of the flat shape, opencode's own shapes, and nonsense."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencode_sessions import parts
from opencode_sessions.events import (
    EVENT_TYPES,
    Change,
    FileEvent,
    diff_change,
    errors_left,
    extract_file_events,
    file_events,
)
from opencode_sessions.parts import extract_text, message_id, tool_calls


def flat(name: object, input: object) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": input}


def tool(name: str, input: object, status: str = "completed", **state: Any) -> dict[str, Any]:
    """A part as opencode stores it."""
    return {
        "id": "prt_1",
        "sessionID": "ses_1",
        "messageID": "msg_1",
        "type": "tool",
        "callID": "call_1",
        "tool": name,
        "state": {"status": status, "input": input, **state},
    }


def events(*given: dict[str, Any]) -> list[FileEvent]:
    return [event for call in tool_calls(list(given)) for event in file_events(call)]


def event(part: dict[str, Any]) -> FileEvent:
    (found,) = events(part)
    return found


# The flat shape


@pytest.mark.parametrize(
    ("name", "input", "expected"),
    [
        ("read", {"path": "a.py"}, {"event_type": "read", "file_path": "a.py"}),
        ("read", {"path": ""}, {"event_type": "read", "file_path": ""}),
        ("read", {}, {"event_type": "read", "file_path": None}),
        (
            "read",
            {"path": "a.py", "diff": "d", "content": "c", "command": "ls"},
            {"event_type": "read", "file_path": "a.py"},
        ),
        (
            "write",
            {"path": "a.py", "content": "x\n"},
            {"event_type": "write", "file_path": "a.py", "diff": "x\n"},
        ),
        (
            "write",
            {"path": "a.py", "diff": "+x", "content": "x\n"},
            {"event_type": "write", "file_path": "a.py", "diff": "+x"},
        ),
        (
            "write",
            {"path": "a.py", "diff": "", "content": "x\n"},
            {"event_type": "write", "file_path": "a.py", "diff": "x\n"},
        ),
        (
            "write",
            {"path": "a.py", "content": ""},
            {"event_type": "write", "file_path": "a.py", "diff": ""},
        ),
        (
            "write",
            {"path": "a.py", "new_string": "x", "replace": "y"},
            {"event_type": "write", "file_path": "a.py", "diff": None},
        ),
        ("write", {}, {"event_type": "write", "file_path": None, "diff": None}),
        (
            "edit",
            {"path": "a.py", "diff": "d", "new_string": "n", "replace": "r"},
            {"event_type": "edit", "file_path": "a.py", "diff": "d"},
        ),
        (
            "edit",
            {"path": "a.py", "new_string": "n", "replace": "r"},
            {"event_type": "edit", "file_path": "a.py", "diff": "n"},
        ),
        (
            "edit",
            {"path": "a.py", "diff": "", "new_string": "", "replace": "r"},
            {"event_type": "edit", "file_path": "a.py", "diff": "r"},
        ),
        (
            "edit",
            {"path": "a.py", "replace": "r", "content": "c"},
            {"event_type": "edit", "file_path": "a.py", "diff": "r"},
        ),
        (
            "edit",
            {"path": "a.py", "content": "c"},
            {"event_type": "edit", "file_path": "a.py", "diff": None},
        ),
        ("edit", {}, {"event_type": "edit", "file_path": None, "diff": None}),
        ("bash", {"command": "ls -l"}, {"event_type": "bash", "command": "ls -l"}),
        (
            "bash",
            {"command": "ls", "path": "a.py"},
            {"event_type": "bash", "command": "ls"},
        ),
        ("bash", {}, {"event_type": "bash", "command": None}),
        # Spellings of opencode's own input
        ("read", {"filePath": "a.py"}, {"event_type": "read", "file_path": "a.py"}),
        ("read", {"file_path": "a.py"}, {"event_type": "read", "file_path": "a.py"}),
        (
            "read",
            {"filePath": "b", "file_path": "c", "path": "a"},
            {"event_type": "read", "file_path": "a"},
        ),
        (
            "edit",
            {"filePath": "a.py", "newString": "n"},
            {"event_type": "edit", "file_path": "a.py", "diff": "n"},
        ),
        # What is no text is not there
        ("read", {"path": 5}, {"event_type": "read", "file_path": None}),
        (
            "edit",
            {"path": "a.py", "replace": True},
            {"event_type": "edit", "file_path": "a.py", "diff": None},
        ),
    ],
)
def test_flat_part_gives_exactly_this_event(
    name: str, input: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert extract_file_events([flat(name, input)]) == [expected]


TEXTS = st.text(max_size=3)
FLAT_INPUTS = st.dictionaries(
    st.sampled_from(["path", "diff", "content", "new_string", "replace", "command"]), TEXTS
)


@given(FLAT_INPUTS)
def test_flat_inputs_read_as_the_contract_says(i: dict[str, str]) -> None:
    path = i.get("path")
    contract = [
        ("read", {"file_path": path}),
        ("write", {"file_path": path, "diff": i.get("diff") or i.get("content")}),
        (
            "edit",
            {"file_path": path, "diff": i.get("diff") or i.get("new_string") or i.get("replace")},
        ),
        ("bash", {"command": i.get("command")}),
    ]
    given = [flat(name, i) for name, _ in contract]
    assert extract_file_events(given) == [{"event_type": n, **keys} for n, keys in contract]


@pytest.mark.parametrize(
    "name", ["grep", "apply_patch", "patch", "multiedit", "delete", "Read", "", None, 5, ["read"]]
)
def test_other_flat_names_give_no_event(name: object) -> None:
    patch = "*** Begin Patch\n*** Delete File: a.py\n*** End Patch"
    assert extract_file_events([flat(name, {"path": "a.py", "patchText": patch})]) == []


@pytest.mark.parametrize("input", [None, "a.py", 5, ["a.py"], True])
def test_flat_input_that_is_no_object_is_empty(input: object) -> None:
    assert extract_file_events([flat("read", input)]) == [{"event_type": "read", "file_path": None}]


def test_flat_parts_keep_their_order_among_others() -> None:
    given = [
        {"type": "text", "text": "I look."},
        flat("read", {"path": "a"}),
        None,
        flat("bash", {"command": "ls"}),
        flat("read", {"path": "b"}),
    ]
    assert [e.get("file_path") or e["command"] for e in extract_file_events(given)] == [
        "a",
        "ls",
        "b",
    ]


def test_flat_call_keeps_its_id_and_is_completed() -> None:
    (call,) = tool_calls([flat("grep", {"pattern": "x"}) | {"id": "call_7"}])
    assert (call.tool, call.call_id, call.status, call.input) == (
        "grep",
        "call_7",
        "completed",
        {"pattern": "x"},
    )


# Text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"text": "a", "content": "b"}], "a"),
        ([{"text": "", "content": "b"}], "b"),
        ([{"text": None, "content": "b"}], "b"),
        ([{"text": 5, "content": ["b"]}], None),
        ([{"text": ""}, {"text": "a"}, {"content": ""}], "a"),
        ([{"text": " "}], " "),
        ([flat("write", {"path": "a", "content": "x"})], None),
        ([None, "a", 5, ["b"]], None),
        ([], None),
        (None, None),
        ("text", None),
        ({"text": "one part alone"}, "one part alone"),
        # a line of `opencode run --format json`
        (
            [{"type": "text", "timestamp": 1, "part": {"type": "text", "text": "a"}}],
            "a",
        ),
    ],
)
def test_text(given: object, expected: str | None) -> None:
    assert extract_text(given) == expected


# opencode's own shapes


def test_read_part_gives_the_flat_keys_and_more() -> None:
    part = tool(
        "read",
        {"filePath": "/p/a.py", "offset": 3},
        output="…",
        metadata={"display": {"type": "file", "lineStart": 3, "lineEnd": 9}},
    )
    (found,) = extract_file_events([part])
    assert (found["event_type"], found["file_path"]) == ("read", "/p/a.py")
    assert (found["status"], found["evidence"]) == ("completed", "tool_meta")
    assert (found["start_line"], found["end_line"]) == (3, 9)
    assert found["diff"] is None


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("<file>\n00001| a\n00002| \n00003| 7: b\n</file>", (1, 3)),
        ("<type>file</type>\n<content>1: a\n2: b\n\n(End of file - 2 lines)\n</content>", (1, 2)),
        ("<content>\n2500: a\n2501: \n\n(Showing lines 2500-2501 of 9.)\n</content>", (2500, 2501)),
        ("<content>\n1: a\n</content>\n<system-reminder>\n7: rules\n</system-reminder>", (1, 1)),
        ("<path>/p</path>\n<type>directory</type>\n<entries>\na.py\n</entries>", (None, None)),
        ("<content>\n" + "9" * 5000 + ": a\n</content>", (None, None)),
        ("", (None, None)),
    ],
)  # fmt: skip
def test_lines_read_before_opencode_said_them(
    output: str, lines: tuple[int | None, int | None]
) -> None:
    found = event(tool("read", {"filePath": "/p/a"}, output=output, metadata={"truncated": False}))
    assert (found.start_line, found.end_line) == lines


def test_write_that_made_the_file_has_its_lines() -> None:
    part = tool(
        "write",
        {"filePath": "/p/a.py", "content": "1\n2\n3"},
        metadata={"exists": False},
    )
    found = event(part)
    assert (found.is_new_file, found.additions, found.deletions) == (True, 3, 0)
    assert (found.start_line, found.end_line, found.diff) == (1, 3, "1\n2\n3")


def test_overwriting_write_does_not_know_what_it_changed() -> None:
    part = tool("write", {"filePath": "/p/a.py", "content": "1\n"}, metadata={"exists": True})
    found = event(part)
    assert (found.is_new_file, found.additions, found.deletions) == (False, None, None)


EDIT_DIFF = (
    "Index: /p/a.py\n=====\n--- /p/a.py\n+++ /p/a.py\n"
    "@@ -1,3 +1,4 @@\n x\n-y\n+y1\n+y2\n z\n\\ No newline at end of file\n"
)


@pytest.mark.parametrize(
    "metadata", [{"diff": EDIT_DIFF}, {"filediff": {"patch": EDIT_DIFF, "additions": 99}}]
)
def test_edit_counts_its_diff(metadata: dict[str, Any]) -> None:
    input = {"filePath": "/p/a.py", "oldString": "y", "newString": "y1\ny2"}
    found = event(tool("edit", input, metadata=metadata))
    assert (found.additions, found.deletions, found.diff) == (2, 1, EDIT_DIFF)
    assert (found.start_line, found.end_line, found.is_new_file) == (2, 3, False)


def test_failed_edit_keeps_what_it_asked_for() -> None:
    input = {"filePath": "/p/a.py", "oldString": "a\nb", "newString": "c"}
    found = event(tool("edit", input, "error", error="Could not find oldString in the file."))
    assert (found.event_type, found.status, found.evidence) == ("edit", "error", "tool_input")
    assert (found.diff, found.additions, found.deletions) == ("-a\n-b\n+c", None, None)


def test_multiedit_is_one_edit_of_one_file() -> None:
    input = {
        "filePath": "/p/a.py",
        "edits": [
            {"oldString": "a", "newString": "b"},
            {"oldString": "c", "newString": ""},
            "broken",
        ],
    }
    found = event(tool("multiedit", input, "error", error="no"))
    assert (found.event_type, found.diff) == ("edit", "-a\n+b\n-c")


PATCH = """*** Begin Patch
*** Add File: new/a.py
+*** Delete File: not_a_header.py
+one
*** Update File: b.py
@@
-*** Update File: neither.py
+two
*** Delete File: c d.py
*** Update File: docs/größe.md
*** Move to: docs/maße.md
@@
-x
+y
*** End Patch
*** Delete File: after_the_end.py"""


def patch_result(path: str, kind: str, diff: str, **more: Any) -> dict[str, Any]:
    return {"filePath": path, "type": kind, "patch": diff, **more}


PATCH_RESULTS = [
    patch_result("/p/new/a.py", "add", "@@ -0,0 +1,2 @@\n+*** Delete File: n\n+one\n"),
    patch_result("/p/b.py", "update", "@@ -4,1 +4,1 @@\n-z\n+two\n"),
    patch_result("/p/c d.py", "delete", "@@ -1,2 +0,0 @@\n-1\n-2\n", deletions=3),
    patch_result("/p/docs/größe.md", "move", "@@ -1 +1 @@\n-x\n+y\n", movePath="/p/docs/maße.md"),
]


def test_apply_patch_gives_one_event_per_file() -> None:
    found = events(tool("apply_patch", {"patchText": PATCH}, metadata={"files": PATCH_RESULTS}))
    assert [(e.event_type, e.file_path, e.new_file_path) for e in found] == [
        ("write", "new/a.py", None),
        ("edit", "b.py", None),
        ("delete", "c d.py", None),
        ("move", "docs/größe.md", "docs/maße.md"),
    ]
    assert [(e.additions, e.deletions) for e in found] == [(2, 0), (1, 1), (0, 2), (1, 1)]
    assert [e.is_new_file for e in found] == [True, False, False, False]
    assert {e.status for e in found} == {"completed"}
    assert found[1].diff == PATCH_RESULTS[1]["patch"]


def test_failed_apply_patch_gives_the_files_it_asked_for() -> None:
    found = events(
        tool("apply_patch", {"patchText": PATCH}, "error", error="apply_patch verification failed")
    )
    assert [(e.event_type, e.status, e.additions, e.is_new_file) for e in found] == [
        (event_type, "error", None, None) for event_type in ("write", "edit", "delete", "move")
    ]
    assert found[0].diff == "+*** Delete File: not_a_header.py\n+one"


def test_apply_patch_that_names_a_file_twice_takes_both_results() -> None:
    patch = "*** Begin Patch\n*** Update File: a\n*** Update File: a\n*** End Patch"
    results = [
        patch_result("/p/a", "update", "@@ -1 +1 @@\n-1\n+2\n"),
        patch_result("/p/a", "update", "@@ -1 +1,2 @@\n-2\n+3\n+4\n"),
    ]
    found = events(tool("apply_patch", {"patchText": patch}, metadata={"files": results}))
    assert [e.additions for e in found] == [1, 2]


def test_pending_part_has_no_path_and_gives_no_event() -> None:
    assert events(tool("edit", {}, "pending", raw="")) == []
    assert event(tool("bash", {}, "pending", raw="")).status == "pending"
    assert event(tool("write", {"filePath": "/p/a"}, "running")).status == "pending"


def test_other_tools_are_calls_without_events() -> None:
    part = tool("webfetch", {"url": "http://x", "path": "a.py"}, output="…")
    assert events(part) == []
    assert [call.tool for call in tool_calls([part])] == ["webfetch"]


def test_call_has_what_the_part_says() -> None:
    part = tool(
        "bash",
        {"command": "ls"},
        output="a\n",
        title="Lists",
        metadata={"exit": 0},
        time={"start": 1000, "end": 2500},
    )
    (call,) = tool_calls([part])
    assert call == parts.ToolCall(
        tool="bash",
        input={"command": "ls"},
        status="completed",
        call_id="call_1",
        part_id="prt_1",
        message_id="msg_1",
        title="Lists",
        output="a\n",
        metadata={"exit": 0},
        started_ms=1000,
        ended_ms=2500,
    )


def test_line_of_run_format_json_is_its_part() -> None:
    part = tool("edit", {"filePath": "/p/a.py"}, metadata={"diff": EDIT_DIFF})
    line = {"type": "tool_use", "timestamp": 1795363748707, "sessionID": "ses_1", "part": part}
    step = {"type": "step_start", "timestamp": 1, "part": {"type": "step-start", "id": "prt_0"}}
    assert extract_file_events([step, line]) == extract_file_events([part])
    assert list(tool_calls([step, line])) == list(tool_calls([part]))
    assert message_id([step, line]) == "msg_1"


def test_invocation_of_the_oldest_opencode() -> None:
    def invocation(name: str, state: str, args: object, **more: Any) -> dict[str, Any]:
        inner = {"state": state, "toolCallId": "call_1", "toolName": name, "args": args, **more}
        return {"type": "tool-invocation", "toolInvocation": inner}

    given = [
        invocation("read", "result", {"filePath": "/p/a.py"}, result="<file>\n00001| x\n</file>"),
        invocation("bash", "call", {"command": "ls"}),
        invocation("frobnicate", "result", {}, result="request was aborted"),
    ]
    assert [(c.tool, c.call_id, c.status) for c in tool_calls(given)] == [
        ("read", "call_1", "completed"),
        ("bash", "call_1", "pending"),
        ("frobnicate", "call_1", "error"),  # it was not there, whatever the text says
    ]
    read, bash = events(*given)
    assert (read.file_path, read.start_line, bash.command) == ("/p/a.py", 1, "ls")


def test_message_id_is_what_some_part_says() -> None:
    assert message_id([{"type": "text", "text": "a"}, {"messageID": ""}, tool("x", {})]) == "msg_1"
    assert message_id([flat("read", {})]) is None


# What became of it


DENIED = [
    "The user rejected permission to use this specific tool call.",
    "The user rejected permission to use this specific tool call with the following feedback: No.",
    "The user rejected permission to use this specific tool call. You may try again with different"
    " parameters.",
    "Error: The user rejected permission to use this specific tool call.",
    "The user has specified a rule which prevents you from using this specific tool call. Here are"
    ' some of the relevant rules [{"permission":"bash"}]',
    'PermissionRejectedError({"_tag":"PermissionRejectedError"})',
    'PermissionCorrectedError({"_tag":"PermissionCorrectedError","feedback":"No."})',
    'PermissionDeniedError({"_tag":"PermissionDeniedError","ruleset":[]})',
]  # fmt: skip
ABORTED = ["Tool execution aborted", "Error: Tool execution aborted", "The operation was aborted."]
FAILED = [
    "Could not find oldString in the file.",
    "EACCES: permission denied, open '/p/a'",
    "Error: bash: The user rejected permission to use this specific tool call.",
]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        *((text, "denied") for text in DENIED),
        *((text, "aborted") for text in ABORTED),
        *((text, "error") for text in FAILED),
        ("", "error"),
    ],
)
def test_error_texts_of_every_version(error: str, status: str) -> None:
    assert event(tool("write", {"filePath": "/p/a"}, "error", error=error)).status == status


@pytest.mark.parametrize("tag", ["shell_metadata", "bash_metadata", "metadata"])
def test_stopped_command_is_aborted(tag: str) -> None:
    output = f"(no output)\n\n<{tag}>\nUser aborted the command\n</{tag}>"
    assert event(tool("bash", {"command": "x"}, output=output)).status == "aborted"


@pytest.mark.parametrize(
    "output",
    [
        "User aborted the command",
        "log.txt:3: <bash_metadata>\nlog.txt:4: User aborted the command\nlog.txt:5: done",
        "",
    ],
)
def test_command_that_prints_of_aborting_is_completed(output: str) -> None:
    part = tool("bash", {"command": "x"}, output=output, metadata={"exit": 0})
    assert event(part).status == "completed"


# Diffs


@pytest.mark.parametrize(
    ("diff", "change"),
    [
        (EDIT_DIFF, Change(2, 1, 2, 3)),
        ("@@ -0,0 +1,2 @@\n+a\n+b\n", Change(2, 0, 1, 2)),
        ("@@ -1,2 +0,0 @@\n-a\n-b\n", Change(0, 2, 1, 1)),
        ("@@ -5,3 +5,2 @@\n a\n-b\n c\n", Change(0, 1, 6, 6)),
        ("@@ -1 +1 @@\n--- x\n+++ y\n", Change(1, 1, 1, 1)),
        ("@@ -1 +1 @@ def f():\n-a\n+b\n@@ -9 +9 @@\n-c\n+d\n", Change(2, 2, 1, 9)),
        ("--- a\n+++ b\n", Change(0, 0, None, None)),
        ("@@ -1 +1 @@", Change(0, 0, None, None)),
        ("@@ -1 +" + "1" * 5000 + " @@\n+a\n", Change(0, 0, None, None)),
        ("", Change(0, 0, None, None)),
    ],
)
def test_diff_change(diff: str, change: Change) -> None:
    assert diff_change(diff) == change


LINES = st.sampled_from(["", "a", "b", "--- c", "+++ d", "-", "+", "@@ -1 +1 @@", "\\ e", " f"])
FILES = st.tuples(st.lists(LINES, max_size=12), st.booleans()).map(
    lambda file: "\n".join(file[0]) + ("\n" if file[0] and file[1] else "")
)


@given(before=FILES, after=FILES, context=st.integers(0, 3))
def test_diff_change_counts_as_git_does(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, context: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "diffs"
    folder.mkdir(exist_ok=True)
    (folder / "before").write_bytes(before.encode())
    (folder / "after").write_bytes(after.encode())
    diff = git_diff(folder, f"--unified={context}")
    additions, deletions, *_ = (git_diff(folder, "--numstat") or "0\t0\t").split("\t")
    assert diff_change(diff)[:2] == (int(additions), int(deletions))


def git_diff(folder: Path, *options: str) -> str:
    ran = subprocess.run(
        ["git", "diff", "--no-index", *options, "before", "after"],
        cwd=folder,
        capture_output=True,
        check=False,  # 1 says that they differ
    )
    assert ran.returncode in (0, 1), ran.stderr
    return ran.stdout.decode()


# Nonsense


WHOLE_PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "a", "content": "b"},
    {"type": "tool_use", "timestamp": 1, "part": tool("read", {"filePath": "a"})},
    {"type": "tool-invocation", "toolInvocation": {"state": "result", "toolCallId": "call_1",
     "toolName": "edit", "args": {"filePath": "a"}, "result": "x"}},
    *(flat(name, {"path": "a", "diff": "d", "command": "c"}) for name in ("read", "edit", "bash")),
    tool("read", {"filePath": "a"}, output="1: x", time={"start": 1, "end": 2}, title="t",
         metadata={"display": {"lineStart": 1, "lineEnd": 2}}),
    tool("read", {"filePath": "a"}, output="<content>\n1: x\n</content>"),
    tool("write", {"filePath": "a", "content": "x"}, metadata={"exists": False}),
    tool("edit", {"filePath": "a", "oldString": "", "newString": "y"},
         metadata={"diff": EDIT_DIFF, "filediff": {"patch": EDIT_DIFF}}),
    tool("multiedit", {"filePath": "a", "edits": [{"oldString": "x", "newString": "y"}]}, "error",
         error="Tool execution aborted"),
    tool("bash", {"command": "ls"}, output="x", metadata={"exit": None}),
    tool("apply_patch", {"patchText": PATCH}, metadata={"files": PATCH_RESULTS}),
]  # fmt: skip
ANYTHING = [None, True, 0, -1, 0.5, float("nan"), float("inf"), 10**400, "", "x", "\ud800", "\0"]
ANYTHING += [[], [None], [[]], {}, {"a": 1}, {"type": "tool"}, b"x", object(), EDIT_DIFF, PATCH]


def spoiled(value: Any, instead: object) -> Iterator[Any]:
    """The value with each thing inside it replaced in turn, or left out."""
    yield instead
    if isinstance(value, dict):
        for key in value:
            yield {name: value[name] for name in value if name != key}
            yield from ({**value, key: inner} for inner in spoiled(value[key], instead))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            head, tail = value[:number], value[number + 1 :]
            yield from ([*head, inner, *tail] for inner in spoiled(item, instead))


def is_sound(given: object) -> bool:
    """Reads the parts in every way there is; what comes out is what the store can hold."""
    texts = (extract_text(given), message_id(given))
    calls = list(tool_calls(given))
    found = [event for call in calls for event in file_events(call)]
    numbers = [(e.additions, e.deletions, e.start_line, e.end_line) for e in found]
    return (
        all(text is None or text for text in texts)
        and len(found) == len(extract_file_events(given))
        and {call.status for call in calls} <= set(parts.STATUSES)
        and {event.event_type for event in found} <= set(EVENT_TYPES)
        and all(number is None or abs(number) < 2**31 for row in numbers for number in row)
    )


ERROR, WARNING = {"severity": 1, "message": "x"}, {"severity": 2, "message": "x"}


@pytest.mark.parametrize(
    ("name", "input", "metadata", "left"),
    [
        ("edit", {"filePath": "/app/a.py"}, {"/app/a.py": [ERROR, WARNING, ERROR]}, [2]),
        ("edit", {"filePath": "/app/a.py"}, {"/app/a.py": []}, [0]),
        ("edit", {"filePath": "/app/a.py"}, {"/app/lib/a.py": [ERROR]}, [None]),
        ("edit", {"filePath": "/app/a.py"}, {}, [None]),
        ("edit", {"filePath": "/app/a.py"}, {"/app/a.py": "nonsense"}, [0]),
        ("edit", {"filePath": "C:\\app\\a.py"}, {"C:\\app\\a.py": [ERROR]}, [1]),
        ("read", {"filePath": "/app/a.py"}, {"/app/a.py": [ERROR]}, [1]),
    ],
)
def test_errors_left_in_the_file_of_the_change(
    name: str, input: dict[str, Any], metadata: dict[str, Any], left: list[int | None]
) -> None:
    (call,) = tool_calls([tool(name, input, metadata={"diagnostics": metadata})])
    assert [errors_left(call, event) for event in file_events(call)] == left


def test_errors_left_where_the_path_is_relative_or_moved() -> None:
    said = {"/app/a.py": [ERROR], "/app/lib/a.py": [ERROR, ERROR], "/app/b.py": []}
    (written,) = tool_calls(
        [
            tool(
                "write",
                {"filePath": "a.py", "content": ""},
                metadata={"filepath": "/app/a.py", "diagnostics": said},
            )
        ]
    )
    assert [errors_left(written, event) for event in file_events(written)] == [1]
    patch = (
        "*** Begin Patch\n*** Update File: lib/a.py\n@@\n-x\n+y\n"
        "*** Update File: c.py\n*** Move to: b.py\n@@\n-x\n+y\n*** End Patch"
    )
    files = [
        {"filePath": "/app/lib/a.py", "type": "update"},
        {"filePath": "/app/c.py", "movePath": "/app/b.py", "type": "move"},
    ]
    (patched,) = tool_calls(
        [tool("apply_patch", {"patchText": patch}, metadata={"files": files, "diagnostics": said})]
    )
    assert [errors_left(patched, event) for event in file_events(patched)] == [2, 0]


def test_when_an_output_was_pruned() -> None:
    (call,) = tool_calls([tool("read", {}, time={"start": 1, "end": 2, "compacted": 3})])
    assert call.pruned_ms == 3


@pytest.mark.parametrize("part", WHOLE_PARTS, ids=lambda part: part.get("tool") or part["type"])
def test_any_one_thing_in_a_part_may_be_nonsense(part: dict[str, Any]) -> None:
    assert is_sound([part])
    for instead in ANYTHING:
        assert all(is_sound([given]) and is_sound(given) for given in spoiled(part, instead))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.text(max_size=3) | st.sampled_from(["type", "text", "tool", "state", "input", "part"])
JSON = st.recursive(
    SCALARS | st.sampled_from(["tool", "tool_use", "tool-invocation", "read", "apply_patch"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_may_stand_where_parts_should(given: object) -> None:
    assert is_sound(given)


@given(st.sampled_from(WHOLE_PARTS).flatmap(lambda part: st.tuples(st.just(part), JSON, JSON)))
def test_any_json_may_stand_inside_parts(given: tuple[dict[str, Any], object, object]) -> None:
    part, instead, beside = given
    assert all(is_sound([changed, beside]) for changed in spoiled(part, instead))


@pytest.mark.parametrize(
    "part",
    [
        tool("read", {"filePath": "/p/a"}, output="\n" * 2_000_000),
        tool("read", {"filePath": "/p/a"}, output="0" * 2_000_000),
        tool("apply_patch", {"patchText": "*** Add File: a" + " " * 2_000_000 + "b"}),
        tool("edit", {"filePath": "/p/a"}, metadata={"diff": "@@ -1 +1 @@\n" * 200_000}),
        tool(
            "edit",
            {
                "filePath": "/p/a",
                "oldString": "".join(f"line {n}\n" for n in range(20_000)),
                "newString": "".join(f"lime {n}\n" for n in range(20_000)),
            },
            "error",
            error="Could not find oldString",
        ),
        tool("bash", {"command": "x"}, output="User aborted the command\n" * 200_000),
    ],
    ids=["newlines", "zeros", "spaces", "headers", "edit", "bash"],
)
def test_a_large_field_takes_no_more_than_its_size(part: dict[str, Any]) -> None:
    # Each of these would run for minutes if it were read in more than linear time.
    assert len(events(part)) == 1
