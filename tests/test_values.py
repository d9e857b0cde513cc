"""Values no database can hold are replaced and counted; the row goes in, in every mode."""

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from conftest import STORED, Serve
from handmade import said
from hypothesis import given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions import PersistenceError
from opencode_sessions.parts import ToolCall
from opencode_sessions.rows import call_row
from opencode_sessions.store.values import clean, dumps, fingerprint, loads


class Fails:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Role(str, Enum):  # noqa: UP042 (as it was before StrEnum, and prints otherwise)
    USER = "user"


class Kind(Enum):
    READ = "read"


class Word(StrEnum):
    YES = "yes"


class Own(Mapping[str, Any]):
    """A mapping that is no dict, as a settings object may be."""

    def __getitem__(self, key: str) -> Any:
        return {"a": 1, "b": float("nan")}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        [{"a": [1, 2.5, -0.0, None, True, False, "é", "\U0001f600", "\\u0000", "\x7f", ""]}],
        {"null": None, "text": "null"},
        [2**63 - 1, -(2**63), 1e308],
        nested(150),
        ("tuples", ("are", "lists")),
    ],
)
def test_what_json_can_hold_passes_untouched(value: Any) -> None:
    cleaned, replaced = clean({"parts": value})
    assert (cleaned["parts"], replaced) == (json.loads(json.dumps(value)), 0)
    assert cleaned["parts"] is not value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\ud800b", "a�b"),
        ("a\x00b", "a�b"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (b"bytes\xff", "bytes�"),
        (bytearray(b"bytes"), "bytes"),
        (1 + 2j, "(1+2j)"),
        (range(3), "range(0, 3)"),
        (Fails(), "<Fails that could not be shown: RuntimeError>"),
        (Path("/p\x00"), "/p�"),
    ],
)
def test_what_json_cannot_hold_is_replaced_and_counted(value: Any, stored: object) -> None:
    cleaned, replaced = clean({"parts": [{"good": "text", "bad": value}]})
    assert cleaned["parts"] == [{"good": "text", "bad": stored}]
    assert replaced == 1
    # the same beside something else that has to be replaced
    assert clean({"parts": [value, float("nan")]})[0]["parts"] == [stored, "nan"]


def test_keys_become_text() -> None:
    keys = {1: "int", None: "none", (1, 2): "tuple", "a\ud800": "surrogate", b"b": "bytes"}
    cleaned, replaced = clean({"parts": keys})
    assert list(cleaned["parts"]) == ["1", "None", "(1, 2)", "a�", "b"]
    assert replaced == 5


@pytest.mark.parametrize("beside", [[], [float("nan")]])
def test_members_of_an_enum_are_their_values(beside: list[float]) -> None:
    cleaned, _ = clean({"role": Role.USER, "parts": [Role.USER, Kind.READ, Word.YES, *beside]})
    assert cleaned["parts"][:3] == ["user", "read", "yes"]
    assert cleaned["role"] == "user"
    assert type(cleaned["role"]) is str


@pytest.mark.parametrize("make", [OrderedDict, MappingProxyType, dict])
def test_mappings_and_subclasses_are_objects(make: Any) -> None:
    assert clean({"parts": [make({"a": 1})]})[0]["parts"] == [{"a": 1}]
    assert clean({"parts": [Own()]}) == ({"parts": [{"a": 1, "b": "nan"}]}, 1)


def test_what_is_nested_too_deep_ends_as_text() -> None:
    cleaned, replaced = clean({"parts": nested(5000)})
    assert replaced == 1
    assert "<list too deep>" in dumps(cleaned["parts"])
    assert 100 < depth_of(cleaned["parts"]) < 254


def test_what_is_there_twice_is_there_twice() -> None:
    shared = [{"bad": float("nan")}]
    assert clean({"parts": [shared, shared]}) == ({"parts": [[{"bad": "nan"}]] * 2}, 1)


def test_a_circle_ends_where_it_closes() -> None:
    circle: dict[str, Any] = {"text": "kept"}
    circle["self"] = [circle]
    circle["again"] = circle
    cleaned, replaced = clean({"parts": [circle, circle]})
    ended = {"text": "kept", "self": ["<dict in itself>"], "again": "<dict in itself>"}
    assert (cleaned["parts"], replaced) == ([ended, ended], 2)


def test_a_dense_circle_has_an_end() -> None:
    # every one holds every other: there are more ways through it than atoms in the world
    parts: list[dict[str, Any]] = [{} for _ in range(20)]
    for part in parts:
        part.update({str(number): other for number, other in enumerate(parts)})
    cleaned, replaced = clean({"parts": [parts[0]]})
    assert replaced >= 20
    assert len(cleaned["parts"][0]) == 20


def test_columns_that_are_no_json() -> None:
    at = datetime.now(UTC)
    row = {"time": at, "number": 5, "real": 0.5, "flag": True, "none": None, "text": "a"}
    assert clean(row) == (row, 0)
    assert clean({"title": b"bytes", "role": Fails(), "text": "\0\0"}) == (
        {
            "title": "bytes",
            "role": "<Fails that could not be shown: RuntimeError>",
            "text": "��",
        },
        4,
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5))
def test_whatever_comes_goes_in_and_comes_out_the_same(value: list[Any]) -> None:
    cleaned, replaced = clean({"parts": value})
    assert loads(dumps(cleaned["parts"])) == cleaned["parts"]
    assert clean(cleaned) == (cleaned, 0)
    if not replaced:
        assert cleaned["parts"] == value
    dumps(cleaned["parts"]).encode()


def test_numbers_that_only_stdlib_json_reads() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads("[NaN]")
    (number,) = loads("[NaN]")
    assert number != number


# -- through the service ---------------------------------------------------------------------------

BAD: list[Any] = [
    "\ud800",
    "\0",
    float("nan"),
    float("inf"),
    2**200,
    b"\xff",
    object(),
    {1: {2: 3}},
    nested(1000),
    {"type": "text", "text": "a\ud800\0b"},
    {"type": "tool_use", "name": "re\0ad", "input": {"path": "a\ud800.py"}},
    {"type": "tool_use", "name": "write", "input": {"path": "b\0.py", "content": "\ud800"}},
    {"type": "tool_use", "name": "bash", "input": {"command": "ls\0"}, "id": "\ud800" * 50},
    {"type": "tool_use", "name": "edit", "input": {"path": {"no": "text"}, "diff": float("nan")}},
]


async def test_whatever_an_application_hands_over_is_stored(serve: Serve) -> None:
    service = await serve(on_error="raise")
    circle: list[Any] = []
    circle.append(circle)
    parts = [*BAD, circle]
    session = await service.get_or_create_session(
        "ses_\ud800", "build\0", "/p/\ud800", "thread\0", b"title\xff"
    )
    assert (session.opencode_id, session.title) == ("ses_�", "title�")
    message = await service.persist_message(session, Role.USER, parts, message_id="msg_\0")
    await service.persist_file_events(message, parts)
    assert service.scrubbed > len(parts)
    assert not service.pending
    assert (message.role, message.content, message.opencode_id) == ("user", "a��b", "msg_�")
    assert len(message.parts or []) == len(parts)
    events = await service.list_file_events("ses_\ud800")
    what = [(e.event_type, e.file_path, e.command) for e in events]
    assert what == [("write", "b�.py", None), ("bash", None, "ls�"), ("edit", None, None)]
    again = await service.persist_message(session, "user", parts, message_id="msg_\0")
    assert again.id == message.id
    await service.persist_file_events(message, parts[-3:-2])
    frames = await service.frames(diffs=True, parts=True)
    assert len(frames.messages) == 1


@pytest.mark.parametrize("serve", ["file"], indirect=True)
async def test_one_part_of_50_mb(serve: Serve) -> None:
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    text = "x" * 50_000_000
    message = await service.persist_message(session, "user", [{"type": "text", "text": text}])
    assert not service.pending
    assert message.content == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_fingerprint_is_that_of_the_value_whatever_the_order(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert fingerprint(turned) == fingerprint(value)
    assert 0 <= fingerprint(value) < 2**48
    assert fingerprint({**value, "one more": 1}) != fingerprint(value)


def test_a_command_is_the_same_however_it_is_described() -> None:
    def hashed(tool: str, **input: Any) -> Any:
        return call_row(ToolCall(tool=tool, input=input), "t")["input_hash"]

    assert hashed("bash", command="ls") == hashed("bash", description="Lists", command="ls")
    assert hashed("bash", command="ls") != hashed("bash", command="ls -l")
    assert hashed("task", prompt="x", description="a") != hashed("task", prompt="x")


@pytest.mark.parametrize("serve", STORED, indirect=True)
async def test_a_time_of_no_datetime_is_told_with_its_place(serve: Serve) -> None:
    """Others may write to the tables too; to SQLite it is text."""
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    await service.persist_message(session, "user", "1")
    change = "UPDATE opencode_messages SET created_at = '{}'"
    serve.outside.run(change.format("0044-03-15 12:00:00 BC"))
    told = "is before the year 1|is none that its column is for: Invalid isoformat"
    for read in (service.frames, service.messages, lambda: service.list_messages("ses_1")):
        with pytest.raises(PersistenceError, match=told) as info:
            await read()
        assert service.store.place in str(info.value)
    serve.outside.run(change.format("2026-11-22 18:00:00"))
    assert str((await service.messages())["time"][0]) == "2026-11-22 18:00:00+00:00"


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        ("sessions", "reported_files = 'many'", "reported_files: .*'many'"),
        ("sessions", "created_at = '0000-01-01 00:00:00'", "year 0 is out of range"),
        ("messages", "cost_usd = 'much'", "cost_usd: .*'much'"),
        ("tool_calls", "tool = x'ff'", r"tool: .*\\xff"),
        ("file_events", "turn = 'last'", "'last'"),
    ],
)
async def test_a_value_of_another_type_is_told_with_its_place(
    tmp_path: Path, table: str, change: str, told: str
) -> None:
    """To SQLite a column's type is advice."""
    file = tmp_path / "x.db"
    async with await ocs.open(file) as service:
        await said(service, "1")
        with closing(sqlite3.connect(file)) as other:
            other.execute(f"UPDATE opencode_{table} SET {change}")
            other.commit()
        reads = [service.frames, partial(service.frames, sessions=["ses_1"])]
        if table == "file_events":
            reads.append(partial(service.file_events, file_path="a.py"))
        for read in reads:
            with pytest.raises(PersistenceError, match=told) as info:
                await read()
            assert str(file) in str(info.value)
