"""Nothing that was planted is left, in any place a string can be; and code stays as it was."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import planted
import pytest
from conftest import Recording
from handmade import example
from hypothesis import given, settings
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.analytics.columns import (
    ACTORS,
    COLUMNS,
    EVENT_TYPES,
    EVIDENCE,
    ROLES,
    STATUSES,
)
from opencode_sessions.redaction import redact, walking
from opencode_sessions.redaction.finding import MARK
from opencode_sessions.redaction.marks import Marks

KEY = b"for tests"


def redacted(text: str, *names: str, key: bytes = KEY) -> str:
    marks = Marks(names or planted.NAMES, key)
    return marks.replaced(marks.learn(text, "here"), "here")


def strings(value: Any) -> Iterator[str]:
    """Every string in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(key)
            yield from strings(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, bytes):
        yield value.decode("latin-1")


def all_strings(frames: Frames) -> Iterator[str]:
    """Every string of every cell, category, index and column name."""
    for name in COLUMNS:
        frame = getattr(frames, name)
        yield from strings([*frame.columns, *frame.columns.names, *frame.index, *frame.index.names])
        for column in frame:
            yield from strings(frame[column].tolist())
            if isinstance(frame[column].dtype, pd.CategoricalDtype):
                yield from strings(frame[column].cat.categories.tolist())


# -- each kind, however it is wrapped ----------------------------------------------------------


@pytest.mark.parametrize("secret", planted.ALL, ids=[one.kind for one in planted.ALL])
def test_a_secret_is_found_however_it_is_wrapped(secret: planted.Planted) -> None:
    for how, text in planted.wrapped(secret.line).items():
        assert any(secret.secret in reading for reading in planted.readings(text)), how
        after = redacted(text)
        assert not any(secret.secret in reading for reading in planted.readings(after)), how
        assert redacted(after, key=b"another") == after, how


def test_the_same_secret_has_the_same_mark_and_another_one_another() -> None:
    token, other = planted.TOKENS[0].secret, planted.TOKENS[1].secret
    text = f"{token} {other} {json.dumps({'password': token})} https://localhost/?t={token}"
    first, second, *more = MARK.findall(after := redacted(text))
    assert first != second
    assert more == [first, first], after
    assert redacted(token, key=b"a") != redacted(token, key=b"b")


def test_a_private_key_is_one_secret_in_every_form() -> None:
    key = planted.private_key()
    diff = "@@ -0,0 +1,8 @@\n" + "".join(f"+{line}\n" for line in key.split("\n"))
    read = "".join(f"{n:>5}|{line}\n" for n, line in enumerate(key.split("\n"), 1))
    forms = [key, diff, read, json.dumps({"key": key}), key.replace("\n", "\r\n")]
    marks = [set(MARK.findall(redacted(form))) for form in forms]
    assert marks == [marks[0]] * len(forms)
    assert len(marks[0]) == 1
    lines = redacted(diff).split("\n")
    assert len(lines) == len(diff.split("\n"))
    assert all(line.startswith("+[private-key-") for line in lines[1:-1])


@pytest.mark.parametrize("start, end", [(0, -1), (1, None), (2, -2)])
def test_of_a_private_key_that_was_cut_off_nothing_is_left(start: int, end: int | None) -> None:
    lines = planted.private_key(lines=9).split("\n")
    shown = lines[start:end]
    after = redacted("before\n" + "\n".join(shown) + "\nafter")
    if start == 2:  # a few random lines without a word of what they are
        assert after.count("\n") == len(shown) + 1
    else:
        assert not [line for line in shown if line in after]
        assert after.startswith("before") and after.endswith("after")


@pytest.mark.parametrize(
    "name", ["EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "PRIVATE KEY"]
)
def test_private_keys_of_all_issuers(name: str) -> None:
    (mark,) = {*redacted(planted.private_key(name, name)).split("\n")}
    assert MARK.fullmatch(mark)


def test_a_secret_is_known_again_where_nothing_gives_it_away() -> None:
    frames = example()
    events = frames.file_events.copy()
    events["error"] = ['DB_PASSWORD="n0tSoGoodOne"', *[None] * 6]
    events["command"] = ["echo n0tSoGoodOne | sort", "echo n0tSoGoodO", "echo n0tSo", *[None] * 4]
    done, _ = redact(Frames(frames.sessions, frames.messages, frames.tool_calls, events))
    (mark,) = MARK.findall(done.file_events["error"].iloc[0])
    said = done.file_events["command"].dropna().tolist()
    assert said == [f"echo {mark} | sort", f"echo {mark}", "echo n0tSo"]  # the last is no key


def of_all(*texts: str) -> list[str]:
    marks = Marks((), KEY)
    for text in texts:
        marks.learn(text, "here")
    return [marks.replaced(text, "here") for text in texts]


@pytest.mark.parametrize(
    "giving, other",
    [
        ("curl https://packages.acme-corp.io", "import packages; registry.packages.get(1)"),
        ("mail security@acme-corp.io", "the security of it"),
        ("postgresql://postgres:S3cr3tPw9@db7.acme-corp.io/x", "postgres:15 is started"),
        ("Cookie: session=bJrgF56CgVhHf9HBqI8AmF4x", "session=None, session=start()"),
        ('router.get("/home/settings", h)', "from app import settings"),
        ("SHELL=/bin/sh\nPWD=/srv/app/v2", "cat /srv/app/v2/a.py /srv/app/v2"),
    ],
)
def test_a_word_that_a_secret_begins_with_stays_elsewhere(giving: str, other: str) -> None:
    assert of_all(giving, other)[1] == other


def test_a_user_of_a_path_is_known_again() -> None:
    _, after = of_all("cat /home/ananowak/x", "ananowak wrote ananowaks")
    assert re.fullmatch(r"\[user-[0-9a-f]{8}\] wrote ananowaks", after)


# -- every place -------------------------------------------------------------------------------


def parts_with(line: str) -> list[dict[str, Any]]:
    """Parts of every shape, with the line wherever they hold a string."""
    path = f"/srv/app/notes {line}"
    given = {"filePath": path, "content": line, line: [line, {"deep": {line: line}}]}
    state = {
        **{"status": "completed", "input": given, "output": line, "title": line},
        **{"metadata": {"diff": f"@@ -1 +1 @@\n-{line}\n+x", "preview": line, "exit": 0}},
    }
    failed = {"status": "error", "input": {"command": line}, "error": line}
    patch = f"*** Begin Patch\n*** Update File: a {line}.py\n@@\n-{line}\n+b\n*** End Patch"
    call = {"state": "result", "toolCallId": "c", "toolName": "edit", "args": given, "result": line}
    return [
        {"type": "text", "text": line},
        {"type": "reasoning", "text": line},
        {"type": "tool_use", "name": "edit", "input": {"path": path, "new_string": line}},
        {"type": "tool_use", "name": "bash", "input": {"command": line}},
        {"type": "tool", "tool": "write", "callID": "c1", "state": state},
        {"type": "tool", "tool": "bash", "callID": "c2", "state": failed},
        {"type": "tool", "tool": "apply_patch", "callID": "c3",
         "state": {**state, "input": {"patchText": patch}}},
        {"type": "tool", "tool": line, "callID": line, "state": state},
        {"type": "tool_use",
         "part": {"type": "tool", "tool": "read", "callID": "c4", "state": state}},
        {"type": "tool-invocation", "toolInvocation": call, "metadata": {"title": line}},
        {"type": "file", "filename": line, "url": line, "source": {"text": {"value": line}}},
        {"type": line, line: line},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def full_of_secrets() -> Frames:
    """Sessions with each secret in everything an application and an agent can write."""

    async def fill() -> Frames:
        service = ocs.OpencodeSessionService()
        for start in range(0, len(planted.ALL), 10):
            lines = [secret.line for secret in planted.ALL[start : start + 10]]
            whole = " | ".join(lines)
            session = await service.get_or_create_session(
                f"ses_{start}", whole, f"/srv/app {whole}", whole, whole
            )
            for line in lines:
                for role in ("user", "assistant"):
                    parts = parts_with(line)
                    message = await service.persist_message(session, role, parts)
                    await service.persist_file_events(message, parts)
        return await service.frames(diffs=True, parts=True)

    return asyncio.run(fill())


def test_every_place_holds_every_secret_first(full_of_secrets: Frames) -> None:
    """Else finding none afterwards would say nothing."""
    kinds = {kind for kind, _ in planted.left(all_strings(full_of_secrets))}
    assert kinds == {secret.kind for secret in planted.ALL}
    columns = {
        f"{name}.{column}"
        for name in COLUMNS
        for column in getattr(full_of_secrets, name)
        if planted.left(strings(getattr(full_of_secrets, name)[column].tolist()))
    }
    assert columns >= {
        *("sessions.title", "sessions.workdir", "sessions.project", "sessions.agent_name"),
        *("sessions.abi_thread_id", "messages.content", "messages.parts", "tool_calls.input"),
        *("tool_calls.title", "tool_calls.error", "tool_calls.tool", "file_events.command"),
        *("file_events.file_path", "file_events.diff", "file_events.error"),
    }


def test_nothing_planted_is_left_in_any_cell(full_of_secrets: Frames) -> None:
    before = {name: getattr(full_of_secrets, name).copy(deep=True) for name in COLUMNS}
    frames, replaced = redact(full_of_secrets, names=planted.NAMES)
    assert planted.left(all_strings(frames)) == []
    for name, frame in before.items():
        pd.testing.assert_frame_equal(frame, getattr(full_of_secrets, name))
        done = getattr(frames, name)
        assert list(done.columns) == list(frame.columns)
        assert done.shape == frame.shape
        assert [str(d) for d in done.dtypes] == [str(d) for d in frame.dtypes]
    assert list(replaced.columns) == ["kind", "mark", "count", "where"]
    assert replaced["mark"].str.fullmatch(MARK.pattern).all()
    assert {"messages.parts", "tool_calls.input", "sessions.title"} <= set(replaced["where"])
    assert {*("token", "key", "password", "connection", "email", "user", "host", "name")} <= set(
        replaced["kind"]
    )


def test_nothing_planted_is_left_in_the_report(full_of_secrets: Frames, tmp_path: Path) -> None:
    made = ocs.report(full_of_secrets, tmp_path / "out.html", share=True, names=planted.NAMES)
    page = made.path.read_text(encoding="utf-8")
    assert {mark for mark in made.replaced["mark"] if mark not in page} < {*made.replaced["mark"]}
    assert page.count("[connection-") > 20
    assert planted.left(page.split("\n")) == []


def test_nothing_but_structure_is_left(full_of_secrets: Frames, tmp_path: Path) -> None:
    frames, replaced = redact(full_of_secrets, structure_only=True)
    assert planted.left(all_strings(frames)) == []
    assert set(replaced["kind"]) == {"text"}
    words = {text for text in all_strings(frames) if not MARK.fullmatch(text)}
    assert not {word for word in words if " " in word or "/" in word}
    page = ocs.report(full_of_secrets, tmp_path / "out.html", structure_only=True).path.read_text()
    assert planted.left(page.split("\n")) == []


def test_secrets_in_a_real_export_that_is_imported(given_out: Path, tmp_path: Path) -> None:
    lines = iter(secret.line for _ in range(1000) for secret in planted.ALL)
    exports = shutil.copytree(given_out / "export", tmp_path / "exports")
    held = ("text", "output", "title", "command", "content", "newString", "error", "diff", "patch")

    def plant(value: Any) -> Any:
        if isinstance(value, list):
            return [plant(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        return {
            name: f"{inner}\n+{next(lines)}"
            if name in held and isinstance(inner, str)
            else plant(inner)
            for name, inner in value.items()
        }

    for file in exports.rglob("*.json"):
        file.write_text(json.dumps(plant(json.loads(file.read_text()))))
    frames = ocs.read_opencode(exports, diffs=True, parts=True)
    assert len(planted.left(all_strings(frames))) > 50
    assert planted.left(all_strings(redact(frames, names=planted.NAMES).frames)) == []


# -- what a frame may be -----------------------------------------------------------------------


def test_columns_of_ones_own_categories_and_an_index_are_walked() -> None:
    frames = example()
    secrets = [one.line for one in planted.TOKENS[:7]]
    events = frames.file_events.assign(
        mine=secrets,
        sorted=pd.Categorical(secrets),
        raw=[line.encode() for line in secrets],
        nested=[{"a": (line,), line: {line}} for line in secrets],
    )
    events = events.rename(columns={"mine": f"mine {secrets[0]}"})
    events.index = pd.Index(secrets, name=secrets[1])
    calls = frames.tool_calls.set_index(["tool", frames.tool_calls.index], drop=False)
    done, _ = redact(Frames(frames.sessions, frames.messages, calls, events))
    assert planted.left(all_strings(done)) == []
    assert isinstance(done.file_events["sorted"].dtype, pd.CategoricalDtype)
    assert done.file_events["raw"].map(type).eq(bytes).all()
    assert done.tool_calls.index.nlevels == 2


def test_categories_that_become_one_are_one() -> None:
    frames = example()
    paths = ["/home/anan/a", "/home/anan/b"] * 3 + ["/home/anan/a"]
    events = frames.file_events.assign(file_path=pd.Categorical(paths))
    done, replaced = redact(Frames(frames.sessions, frames.messages, frames.tool_calls, events))
    (user,) = replaced.loc[replaced["where"] == "file_events.file_path", "mark"].unique()
    assert [*done.file_events["file_path"].cat.categories] == [f"/home/{user}/{n}" for n in "ab"]


def test_what_cannot_be_looked_through_is_replaced_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walking, "LONGEST", 1000)
    deep: Any = planted.TOKENS[0].secret
    for _ in range(100):
        deep = [deep]

    class Odd:
        secret = planted.TOKENS[0].secret

    frames = example()
    odd = [Odd(), deep, b"\xff\xfe\x00", "x" * 1001, {Odd(): 1}, {"a": Odd()}, 1.5]
    events = frames.file_events.assign(mine=pd.Series(odd, dtype=object))
    done, replaced = redact(Frames(frames.sessions, frames.messages, frames.tool_calls, events))
    *unread, number = done.file_events["mine"]
    assert number == 1.5
    assert all("[unread-" in repr(value) for value in unread)
    assert replaced.loc[replaced["kind"] == "unread", "count"].sum() == 6


class Login(NamedTuple):
    user: str
    password: str


SECRET = planted.TOKENS[6].secret
CELLS: list[Any] = [
    np.bytes_(SECRET.encode()),
    np.array([(SECRET,)], dtype=[("a", "U60")])[0],
    Login("ana", "opensesame77"),
    np.array([[SECRET, "x"], [SECRET, "y"]], dtype=object),
    np.array([SECRET, "a"]),
    np.array([SECRET.encode()]),
    np.array([[SECRET], None], dtype=object),
    np.array(SECRET, dtype=object),
    pd.Series([SECRET]),
    pd.DataFrame({"a": [SECRET]}),
    pd.Index([SECRET]),
    pd.arrays.SparseArray([1, 2]),
    [[SECRET, "a"]],
    type("Texts", (set,), {"__init__": lambda self, *_: None})((SECRET,)),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
def test_any_object_in_a_cell_is_gone_through_or_replaced(cell: Any) -> None:
    frames = example()
    column = np.empty(len(frames.file_events), dtype=object)
    column[0] = cell
    column[1] = np.array([1.5, np.nan])
    events = frames.file_events.assign(mine=column)
    done, _ = redact(Frames(frames.sessions, frames.messages, frames.tool_calls, events))
    after = done.file_events["mine"]
    assert SECRET not in repr(after[0])
    assert "opensesame77" not in repr(after[0])
    assert np.array_equal(after[1], column[1], equal_nan=True)
    if isinstance(cell, np.ndarray):
        assert after[0].shape == cell.shape
    if isinstance(cell, Login):
        assert type(after[0]) is Login


def test_cells_of_lists_stay_lists() -> None:
    """One row with one part in it is a list of one, as every other."""
    frames = example()
    messages = frames.messages.iloc[:1].assign(parts=[[{"type": "text", "text": SECRET}]])
    done, _ = redact(Frames(frames.sessions, messages, frames.tool_calls, frames.file_events))
    ((part,),) = done.messages["parts"]
    assert MARK.fullmatch(part["text"])


OURS = sorted({column.name for columns in COLUMNS.values() for column in columns})
FIXED_WORDS = [*OURS, *EVENT_TYPES, *STATUSES, *EVIDENCE, *ACTORS, *ROLES]


def test_what_is_ours_is_no_secret_though_a_name_or_a_path_says_it() -> None:
    frames = example()
    said = "\n".join(f"/home/{word}/x https://{word}.acme-corp.io" for word in FIXED_WORDS)
    events = frames.file_events.assign(error=said)
    given = Frames(frames.sessions, frames.messages, frames.tool_calls, events)
    done, _ = redact(given, names=[word.title() for word in FIXED_WORDS])
    for name in COLUMNS:
        assert [*getattr(done, name)] == [*getattr(given, name)]
    for name in ("event_type", "status", "evidence", "actor"):
        pd.testing.assert_series_equal(done.file_events[name], given.file_events[name])
    pd.testing.assert_series_equal(done.messages["role"], given.messages["role"])


def test_a_name_alone_is_one_name(tmp_path: Path) -> None:
    assert Marks("Ana Nowak", KEY).replaced("Nora met Ana Nowak", "").startswith("Nora met [name-")
    frames = example()
    events = frames.file_events.assign(error="Nora met Ana Nowak")
    given = Frames(frames.sessions, frames.messages, frames.tool_calls, events)
    ocs.export(given, tmp_path / "out", names="Ana Nowak")
    said = ocs.read_export(tmp_path / "out").file_events["error"]
    assert said.str.fullmatch(r"Nora met \[name-[0-9a-f]{8}\]").all()
    assert ocs.export(given, tmp_path / "out", names=["Ana Nowak"]).sessions == 0
    page = ocs.report(given, tmp_path / "out.html", names="Ana Nowak").path.read_text()
    assert "Nora met [name-" in page


def test_a_secret_in_the_name_of_a_column_is_not_in_the_list() -> None:
    frames = example()
    events = frames.file_events.assign(**{f"mine {SECRET}": SECRET})
    given = Frames(frames.sessions, frames.messages, frames.tool_calls, events)
    replaced = redact(given).replaced
    assert not replaced["where"].str.contains(SECRET, regex=False).any()
    assert replaced["where"].str.startswith("file_events.mine [token-").any()


def test_beginnings_of_keys_are_no_key_together() -> None:
    """Each begins one: a pattern that looks behind the next one as well reads all of it often."""
    key, begin = planted.private_key(), "-----BEGIN PRIVATE KEY-----\n"
    after = redacted(f"{begin}and text\n{key}")
    assert "and text" in after
    assert key.split("\n")[1] not in after


def test_a_name_beside_a_value_gives_it_away_in_json() -> None:
    marks = Marks((), KEY)
    given = {
        "env": {"DB_PASSWORD": "hunter22", "PATH": "/usr/bin", "apiToken": "9f8e7d6c5b4a"},
        "args": ["--password", "opensesame", "--verbose", "yes"],
        "list": [{"name": "A_SECRET", "value": "aB3dE6gH9k"}, {"name": "MODE", "value": "fast"}],
        "password": "password",
        "token": "access_token",
    }  # fmt: skip
    walking.Walk(marks.learn, marks.unread).value(given)
    done = walking.Walk(marks.replaced, marks.unread).value(given)
    assert MARK.fullmatch(done["env"].pop("DB_PASSWORD"))
    assert MARK.fullmatch(done["env"].pop("apiToken"))
    assert MARK.fullmatch(done["args"].pop(1))
    assert MARK.fullmatch(done["list"][0].pop("value"))
    assert done == {
        "env": {"PATH": "/usr/bin"},
        "args": ["--password", "--verbose", "yes"],
        "list": [{"name": "A_SECRET"}, {"name": "MODE", "value": "fast"}],
        "password": "password",
        "token": "access_token",
    }


def test_hashes_of_arguments_tell_only_which_were_the_same() -> None:
    frames = example()
    done, _ = redact(frames)
    before, after = frames.tool_calls["input_hash"], done.tool_calls["input_hash"]
    assert after.dtype == before.dtype
    assert sorted(after.unique()) == [*range(1, before.nunique() + 1)]
    assert (after.eq(after[1]) == before.eq(before[1])).all()


def test_empty_frames_stay_empty() -> None:
    empty = asyncio.run(ocs.OpencodeSessionService().frames(diffs=True, parts=True))
    for only in (False, True):
        done, replaced = redact(empty, structure_only=only)
        assert replaced.empty and list(replaced.dtypes.astype(str)) == [
            "str",
            "str",
            "int64",
            "str",
        ]
        for name in COLUMNS:
            pd.testing.assert_frame_equal(getattr(empty, name), getattr(done, name))


# -- properties --------------------------------------------------------------------------------

PIECES = [
    *(secret.line for secret in planted.ALL),
    *("[token-0123abcd]", "password=", "://", "@", "/home/", "\\n", '\\"', "%40", "\x1b[1m", "eyJ"),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "Bearer ", "Falcon", "&quot;"),
    *("token: ", '{"secret": "', '"}', " ", "\n", ":", "="),
]
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=8)
texts = pieces.map("".join)
lines = pieces.map("\n".join)  # run together, one's end may be another's beginning
nested = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | lines | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(lines, inner, max_size=4),
    max_leaves=8,
)


@given(texts)
@settings(max_examples=300)
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once
    assert redacted(once, key=b"another") == once


@given(nested)
def test_whatever_is_in_it_is_walked_or_replaced(value: Any) -> None:
    marks = Marks(planted.NAMES, KEY)
    walking.Walk(marks.learn, marks.unread).value(value)
    done = walking.Walk(marks.replaced, marks.unread).value(value)
    assert planted.left(strings(done)) == []


def test_the_order_of_rows_changes_no_mark(full_of_secrets: Frames) -> None:
    def turned(frames: Frames) -> Frames:
        return Frames(**{name: getattr(frames, name).iloc[::-1] for name in COLUMNS})

    straight, listed = redact(full_of_secrets, names=planted.NAMES, key=KEY)
    backwards, again = redact(turned(full_of_secrets), names=planted.NAMES, key=KEY)
    pd.testing.assert_frame_equal(listed, again)
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(straight, name), getattr(turned(backwards), name))


# -- ordinary code stays -----------------------------------------------------------------------

ORDINARY = """
token = self.tokens[position]
password = getpass.getpass("Password: ")
password: str = Field(min_length=8, description="the user's password")
API_KEY = os.environ["API_KEY"]
api_key=config.api_key, secret=settings.SECRET_KEY
export TOKEN=$(cat token.txt) PASSWORD=${PASSWORD:-changeme}
<input type="password" name="password" placeholder="your password">
"token": "string", "access_token": "<token>", "type": "bearer"
headers = {"Authorization": f"Bearer {token}"}
key = lambda row: row.name; keys = sorted(tokens, key=len)
x = a@b.T; react@18.2.0; actions/checkout@v4; @pytest.mark.asyncio
bypass="always or never 1" compass: "n0rth-east" PWD=/srv/shop2 OLDPWD=~/shop2 pwd: "C:\\a1b2"
INDEX_KEY=users_by_name_and_date; cache_key:user_12; <token>identifier</token> setToken("name")
threading.local(); import app.internal.models; console.log(host)
git clone git@github.com:opencode/opencode.git
https://docs.python.org/3/library/re.html http://localhost:8080/home http://127.0.0.1:5000
/home/dev/app/src/home/index.ts /usr/local/bin/python /root/.bashrc src/Users/list.tsx
sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==
d94c1f3a 0b3f4a5e6d7c8b9a0f1e2d3c4b5a69788796a5b4 ses_dfb94b0edffeI566j7sbRyceyc prt_2045a8b7
version 1.18.33, 10.0.0.0/8, 0.0.0.0:8000, 255.255.255.0, user@example.com
postgresql://user:password@localhost/test mysql://root@localhost
f"postgresql+asyncpg://{user}:{quote(password)}@{host}:5432/{name}" mysql://{s.user}:{s.db["pw"]}@{s.host}/
redis://:${REDIS_PASSWORD}@redis amqp://{{ user }}:{{ password }}@{{ host }} ftp://#{user}:#{pass}@h
postgresql://localhost:5432/shop mysql://db:3306/shop?user=app@x mongodb://localhost:27017/db?a=@b
https://unpkg.com:443/react@18.2.0/umd/react.js http://localhost:5173/@vite/client@2
git+ssh://git@github.com:opencode/opencode.git@v1.2 docker://alpine:3.19@sha256:abcdef
data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk
"""


@pytest.mark.parametrize("line", ORDINARY.strip().split("\n"))
def test_ordinary_code_is_left_alone(line: str) -> None:
    assert redacted(line) == line


def test_nothing_of_the_recordings_is_taken_for_a_secret(
    recordings: dict[str, Recording], trees: dict[str, Recording]
) -> None:
    """Scripted sessions have none: whatever is replaced in them is a false positive."""
    found = {}
    for name, recording in {**recordings, **trees}.items():
        frames = ocs.read_opencode(recording.database, diffs=True, parts=True)
        replaced = redact(frames).replaced
        if not replaced.empty:
            found[name] = replaced
    assert found == {}
