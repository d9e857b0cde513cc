"""What only a whole session tells: order, turns, fork copies, what was undone, who did it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from test_parts import ANYTHING, spoiled

from opencode_sessions.records import SessionRecord, moment, session_record
from opencode_sessions.tokens import Tokens

Message = tuple[dict[str, Any], list[dict[str, Any]]]


def message(id: str, created: object, role: str = "assistant", **info: Any) -> dict[str, Any]:
    return {"id": id, "role": role, "time": {"created": created}, **info}


def tool(id: str, name: str = "read") -> dict[str, Any]:
    state = {"status": "completed", "input": {"filePath": f"/p/{id}", "command": "ls"}}
    return {"id": id, "type": "tool", "tool": name, "state": state}


def record(*messages: Message, **info: Any) -> SessionRecord:
    return session_record({"id": "ses_1", "time": {"created": 100}, **info}, messages)


def test_messages_are_ordered_by_time_and_only_then_by_id() -> None:
    # ids begin anew every 795 days: msg_f... is older than msg_0...
    found = record(
        (message("msg_03", 300), [tool("prt_3")]),
        (message("msg_01", 200), []),
        (message("msg_f2", 100, "user"), []),
        (message("msg_02", 200), [tool("prt_1"), tool("prt_2")]),
    )
    assert [m.id for m in found.messages] == ["msg_f2", "msg_01", "msg_02", "msg_03"]
    assert [m.seq for m in found.messages] == [0, 1, 2, 3]
    calls = [call for m in found.messages for call in m.tool_calls]
    assert [(call.seq, call.call.part_id) for call in calls] == [
        (0, "prt_1"),
        (1, "prt_2"),
        (2, "prt_3"),
    ]
    assert [event.seq for call in calls for event in call.file_events] == [0, 1, 2]


@pytest.mark.parametrize(
    "start", ["0000000ff001", "fffffffff001", "fffffffffff0", "ffffff000001", "7ffffffff001"]
)
def test_parts_are_in_the_order_they_were_made_when_ids_begin_anew(start: str) -> None:
    def id(prefix: str, later: int) -> str:
        return f"{prefix}_{(int(start, 16) + later) % 2**48:012x}abcdefghijKLMN"

    # a program that prompts opencode may name a part before the message
    parts = [tool(id("prt", later)) for later in (-1, 1, 2, 14, 4096, 2**40)]
    for given in (parts, parts[::-1], sorted(parts, key=lambda part: str(part["id"]))):
        info = message(id("msg", 0), 1)
        found = record((info, given), revert={"messageID": info["id"], "partID": parts[3]["id"]})
        assert list(found.messages[0].parts) == parts
        calls = found.messages[0].tool_calls
        assert [call.call.part_id for call in calls] == [part["id"] for part in parts]
        assert [call.is_undone for call in calls] == [False] * 3 + [True] * 3


def test_turn_is_a_users_message_and_all_until_the_next() -> None:
    roles = ["assistant", "user", "assistant", "assistant", "user", "user", "assistant"]
    found = record(*((message(f"msg_{n}", n, role), []) for n, role in enumerate(roles)))
    assert [m.turn for m in found.messages] == [1, 2, 2, 2, 3, 4, 4]


def test_fork_copy_is_older_than_its_session() -> None:
    found = record(
        *((message(f"msg_{n}", n), []) for n in (99, 100, 101)), (message("msg_x", None), [])
    )
    assert {m.id for m in found.messages if m.is_fork_copy} == {"msg_99"}


def undone(revert: object) -> list[tuple[str, bool, list[bool]]]:
    messages = [
        (message("msg_1", 1, "user"), []),
        (message("msg_2", 2), [tool("prt_1"), tool("prt_2"), tool("prt_3")]),
        (message("msg_3", 3), [tool("prt_4")]),
    ]
    return [
        (m.id, m.is_undone, [call.is_undone for call in m.tool_calls])
        for m in record(*messages, revert=revert).messages
    ]  # fmt: skip


def test_reverted_message_and_all_after_it_are_undone() -> None:
    assert undone({"messageID": "msg_2"}) == [
        ("msg_1", False, []),
        ("msg_2", True, [True, True, True]),
        ("msg_3", True, [True]),
    ]


def test_reverted_part_and_all_after_it_are_undone() -> None:
    assert undone({"messageID": "msg_2", "partID": "prt_2"}) == [
        ("msg_1", False, []),
        ("msg_2", False, [False, True, True]),
        ("msg_3", True, [True]),
    ]


@pytest.mark.parametrize("revert", [None, {}, {"messageID": "msg_gone"}, {"messageID": None}, "x"])
def test_nothing_is_undone_without_a_message_to_revert_to(revert: object) -> None:
    assert not any(is_undone or any(calls) for _, is_undone, calls in undone(revert))


def test_command_of_the_user_is_the_users() -> None:
    prompt = {
        "type": "text",
        "synthetic": True,
        "text": "The following tool was executed by the user",
    }
    found = record(
        (message("msg_1", 1, "user"), [prompt]),
        (message("msg_2", 2, parentID="msg_1"), [tool("prt_1", "bash")]),
        (message("msg_3", 3, "user"), [prompt | {"synthetic": False}]),
        (message("msg_4", 4, parentID="msg_3"), [tool("prt_2", "bash")]),
    )
    assert [call.actor for m in found.messages for call in m.tool_calls] == ["user", "agent"]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # 1.1.65 to 1.3.2: reasoning is part of output, a total says so
        (
            {"input": 1100, "output": 44, "reasoning": 12, "cache": {"read": 4000, "write": 0}}
            | {"total": 5144},
            Tokens(1100, 32, 12, 4000, 0),
        ),
        # 1.14 and later: beside it
        (
            {"input": 1100, "output": 32, "reasoning": 12, "cache": {"read": 4000, "write": 0}}
            | {"total": 5144},
            Tokens(1100, 32, 12, 4000, 0),
        ),
        ({"input": 5, "output": 44, "reasoning": 12}, Tokens(5, 32, 12, None, None)),
        ({"input": 0, "output": 0, "reasoning": 0}, Tokens(0, 0, 0, None, None)),
        ({"output": 7}, Tokens(None, 7, None, None, None)),
        (None, Tokens()),
    ],
)
def test_output_tokens_are_without_reasoning(tokens: object, expected: Tokens) -> None:
    (found,) = record((message("msg_1", 1, tokens=tokens), [])).messages
    assert found.tokens == expected


CACHED = {"input": 5100, "output": 40, "reasoning": 0, "cache": {"read": 4000, "write": 0}}


@pytest.mark.parametrize(
    ("version", "provider", "tokens", "input"),
    [
        ("0.5.29", "local", CACHED, 1100),
        ("1.0.0", "local", CACHED, 1100),
        ("1.0.185", "local", CACHED, 5100),
        ("1.0.0", "anthropic", CACHED, 5100),  # whose answers count the cached ones apart
        ("1.0.0", "local", CACHED | {"total": 9140}, 5100),  # answered by a newer version
        ("1.0.0", "local", CACHED | {"input": 100}, 100),
        ("0.0.0-dev-202510010000", "local", CACHED, 5100),
        *((version, "local", CACHED, 5100) for version in (None, "", "local", "1.0", 7)),
    ],
)
def test_cached_tokens_are_counted_once(
    version: object, provider: str, tokens: object, input: int
) -> None:
    info = message("msg_1", 1, tokens=tokens, providerID=provider)
    (found,) = record((info, []), version=version).messages
    assert found.tokens == Tokens(input, 40, 0, 4000, 0)


def test_message_of_several_steps_counts_all_of_them() -> None:
    steps = [
        {"type": "step-finish", "tokens": {"input": n, "output": 10, "reasoning": 4}}
        for n in (1, 2)
    ]
    info = message("msg_1", 1, tokens=steps[-1]["tokens"])
    (found,) = record((info, [{"type": "step-finish"}, *steps])).messages
    assert found.tokens == Tokens(3, 12, 8, None, None)
    (found,) = record((info, steps[1:])).messages
    assert found.tokens == Tokens(2, 6, 4, None, None)


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (1795363748707, datetime(2026, 11, 22, 16, 9, 8, 707000, UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)),
        *((value, None) for value in (None, True, "1", 1e18, -1e18, 10**400, float("nan"), [])),
    ],
)
def test_moment(milliseconds: object, expected: datetime | None) -> None:
    assert moment(milliseconds) == expected


WHOLE = (
    {
        "id": "ses_1",
        "parentID": "ses_0",
        "projectID": "prj_1",
        "directory": "/p",
        "title": "A title",
        "version": "1.18.33",
        "time": {"created": 1, "updated": 2, "archived": 3},
        "summary": {"additions": 1, "deletions": 2, "files": 3},
        "model": {"id": "m", "providerID": "p"},
        "agent": "build",
        "cost": 0.5,
        "tokens": {"input": 1, "output": 2, "reasoning": 3, "cache": {"read": 4, "write": 5}},
        "revert": {"messageID": "msg_2", "partID": "prt_1"},
    },
    {
        "id": "msg_1",
        "role": "user",
        "time": {"created": 1},
        "model": {"providerID": "p", "modelID": "m"},
        "summary": {"diffs": [{"file": "a", "additions": 1, "deletions": 2}]},
    },
    {
        "id": "msg_2",
        "role": "assistant",
        "parentID": "msg_1",
        "time": {"created": 2, "completed": 3},
        "providerID": "p",
        "modelID": "m",
        "path": {"cwd": "/p"},
        "cost": 0.5,
        "tokens": {"input": 1, "output": 2, "reasoning": 3, "cache": {"read": 4, "write": 5}},
        "error": {"name": "APIError", "data": {"message": "no"}},
        "summary": True,
    },
)


@pytest.mark.parametrize("number", [0, 1, 2], ids=["session", "user", "assistant"])
def test_any_one_thing_may_be_nonsense(number: int) -> None:
    for instead in ANYTHING:
        for changed in spoiled(WHOLE[number], instead):
            if not isinstance(changed, dict):
                continue
            infos = [*WHOLE]
            infos[number] = {**changed, "id": WHOLE[number]["id"]}  # a source always says the id
            session, *messages = infos
            found = session_record(session, [(info, [tool("prt_1")]) for info in messages])
            assert [m.id for m in found.messages][::-1] in (["msg_1", "msg_2"], ["msg_2", "msg_1"])
            times = (found.created_at, *(m.created_at for m in found.messages))
            assert all(time is None or time.tzinfo is UTC for time in times)
