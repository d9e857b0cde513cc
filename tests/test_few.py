"""Few rows: one session's, one file's, one message's, in one visit to the database."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from handmade import WRITTEN, said
from hypothesis import example, given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.analytics import few, load
from opencode_sessions.analytics.arrow import REPEATED, coded, tabled, types
from opencode_sessions.analytics.building import OF_MESSAGE, TOLD, build, sessions_of
from opencode_sessions.analytics.choosing import stored_columns
from opencode_sessions.analytics.columns import COLUMNS
from opencode_sessions.store import NotAtOnce, Store, Texts, engine
from opencode_sessions.store.sql import SqlStore
from opencode_sessions.store.sqlite_reading import SqliteReader


async def test_one_session_is_one_and_not_its_letters(service: ocs.OpencodeSessionService) -> None:
    await said(service, "1")
    asked = [await load(service, sessions=of) for of in ("ses_1", ["ses_1"])]
    assert len(asked[0].file_events) == 1
    for name in COLUMNS:
        pd.testing.assert_frame_equal(
            *(getattr(frames, name) for frames in asked), check_exact=True
        )


@pytest.mark.parametrize("path", ["src/\ud800.py", "src/a\0b.py"])
async def test_a_file_is_found_by_what_no_database_holds(
    service: ocs.OpencodeSessionService, path: str
) -> None:
    """As an agent wrote it, and as it was stored."""
    session = await service.get_or_create_session("ses_1", workdir="/w")
    message = await service.persist_message(session, "assistant", "1")
    await service.persist_file_events(message, [WRITTEN | {"input": {"filePath": path}}])
    shown = (await service.file_events())["file_path"].tolist()
    assert shown == [path.translate({0xD800: 0xFFFD, 0: 0xFFFD})]
    for asked in (path, *shown):
        assert (await service.file_events(file_path=asked))["file_path"].tolist() == shown


async def test_few_rows_are_one_visit_to_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await ocs.open(tmp_path / "x.db") as svc:
        await said(svc, "1", "2")
        last = (await svc.messages())["message_id"].iloc[-1]
        visits = []
        run = SqliteReader.run

        async def counted(reader: SqliteReader, work: Any) -> Any:
            visits.append(work)
            return await run(reader, work)

        monkeypatch.setattr(SqliteReader, "run", counted)
        monkeypatch.setattr(engine, "transaction", None)
        monkeypatch.setattr(svc.store, "_transaction", None)
        for its in ({"file_path": "a.py"}, {"session": "ses_1", "diffs": True}):
            assert list((await svc.file_events(**its))["file_path"]) == ["a.py", "a.py"]
        assert len(await svc.messages("ses_1", parts=True)) == 2
        assert list((await svc.message(last))["message_id"]) == [last]
        assert len(visits) == 4


@pytest.mark.parametrize(
    "changed",
    [
        "duration_s = 0.1234567",
        "duration_s = 1e300",
        "command = 'a' || char(0, 10, 34, 92) || 'b'",
        "new_file_path = file_path",  # found by each of the two
        "message_id = 'nowhere'",
    ],
)
async def test_events_whatever_they_hold(tmp_path: Path, changed: str) -> None:
    async with await ocs.open(tmp_path / "x.db") as svc:
        await said(svc, "1", "2")
        with closing(sqlite3.connect(tmp_path / "x.db")) as other:
            other.execute("UPDATE opencode_messages SET agent_name = 'plan', model = 'm' || seq")
            other.execute(f"UPDATE opencode_file_events SET {changed} WHERE seq = 1")
            other.commit()
        svc.store.whole = lambda: None  # type: ignore[method-assign]
        whole = (await load(svc)).file_events
        pd.testing.assert_frame_equal(
            await svc.file_events(file_path="a.py"), whole, check_exact=True
        )
        pd.testing.assert_frame_equal(await svc.file_events("ses_1"), whole, check_exact=True)
        assert len(whole) == 2


@given(
    st.lists(st.none() | st.text('a,"[]', max_size=3), max_size=3),
    st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=3),
    st.integers(1, 4),
)
@example([","], [0], 2)  # half of such a text looks like all of it
def test_what_is_alike_is_read_as_it_is(
    texts: list[str | None], numbers: list[int | None], times: int
) -> None:
    stored: dict[str, list[Any]] = {"tool": texts, "error": texts, "turn": numbers}
    for name, some in stored.items():
        values = some * times
        batch = Texts({name: orjson.dumps(values)}, {})
        typed = types("file_events", [name])
        found = tabled(batch, typed, {})
        assert found.schema.field(name).type == typed[name]
        assert found[name].to_pylist() == values


@given(
    st.lists(st.lists(st.none() | st.sampled_from("abcd"), max_size=4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 4)), max_size=6),
)
@example([[]], [(1, 0, 2), (2, 0, 2)])  # a dictionary, and a longer one that begins there
def test_slices_of_texts_are_numbered_as_they_come(
    texts: list[list[str | None]], slices: list[tuple[int, int, int]]
) -> None:
    """Whether they share a dictionary, or a part of one, or none."""
    encoded = [pa.array(each, pa.string()).dictionary_encode() for each in texts]
    shared = pa.array(["a", "b", "c", "d"])
    for start, count in ((0, 2), (0, 3), (1, 2), (2, 2)):
        indices = pa.array([count - 1, 0, None, 1], pa.int32())
        encoded.append(pa.DictionaryArray.from_arrays(indices, shared.slice(start, count)))
    chunks = [encoded[which % len(encoded)].slice(*where) for which, *where in slices]
    column = pa.chunked_array(chunks, REPEATED)
    codes, values = coded(column)
    assert [values[code] if code >= 0 else None for code in codes] == column.to_pylist()
    assert len(values) == len({*values})


WORDS = st.none() | st.sampled_from(["", "a", ",", '"', "é"])
FEW: dict[str, st.SearchStrategy[Any]] = {
    "session_id": st.sampled_from(["ses_1", "ses_2"]),
    "seq": st.none() | st.integers(0, 3),
    "turn": st.none() | st.integers(-(2**31), 2**31 - 1),
    "output_bytes": st.none() | st.integers(-(2**63), 2**63 - 1),
    "is_new_file": st.none() | st.integers(0, 1),
    "is_undone": st.none() | st.integers(0, 1),
    "duration_s": st.none() | st.integers(-(10**15), 10**15),
    "created_at": st.none() | st.datetimes().map(lambda time: time.isoformat(" ")),
    "file_path": st.none() | st.sampled_from(["a.py", "/w/a.py", "./b", ""]),
    **dict.fromkeys(["tool", "status", "error", "agent_name"], WORDS),
}


@given(st.data(), st.integers(0, 4))
def test_few_rows_are_as_many(data: st.DataObject, rows: int) -> None:
    """One file's events and all events come to their frame in two ways."""
    columns = [*stored_columns("file_events", optional=True), *OF_MESSAGE]
    typed = types("file_events", columns)
    drawn = {
        name: data.draw(st.lists(FEW.get(name, st.none()), min_size=rows, max_size=rows))
        for name in columns
    }
    drawn["id"] = [f"prt_{number}" for number in range(rows)]
    texts = Texts({name: orjson.dumps(values) for name, values in drawn.items()}, {})
    empty = dict.fromkeys(TOLD)
    places = {"ses_2": "/w", "ses_1": "/x"}
    sessions = sessions_of(
        [empty | {"id": id, "workdir": place} for id, place in places.items()], None
    )

    def place(id: str) -> list[Any]:
        row = drawn["id"].index(id)
        of = [drawn[name][row] for name in ("session_id", "seq", "created_at", "id")]
        return [(value is None, value) for value in of]  # none comes last, and is like none

    found, table = few.from_texts(texts, typed), tabled(texts, typed, {})
    some = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), dtype=bool)
    for events, expected in (
        (found, table),
        (few.taken(found, np.flatnonzero(some)), table.filter(pa.array(some))),
    ):
        frame = build("file_events", events, sessions)
        pd.testing.assert_frame_equal(
            frame, build("file_events", expected, sessions), check_exact=True
        )
        assert list(frame["event_id"]) == sorted(frame["event_id"], key=place)


async def test_what_is_done_to_a_frame_is_done_to_no_other(
    service: ocs.OpencodeSessionService,
) -> None:
    await said(service, "1", "2")
    expected = await service.file_events()
    frame = await service.file_events(file_path="a.py")
    frame.columns.name = "column"
    for column in range(frame.shape[1]):
        frame.iloc[0, column] = frame.iloc[1, column]
    assert frame["seq"].nunique() == 1
    for found in (await service.file_events(file_path="a.py"), await service.file_events()):
        assert found.columns.name is None
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize(
    ("name", "value"), [("turn", "1"), ("turn", 2**31), ("tool", 1), ("created_at", "soon")]
)
def test_few_rows_of_another_type_are_read_row_by_row(name: str, value: object) -> None:
    batch = Texts({"turn": b"[1]", name: orjson.dumps([value])}, {})
    with pytest.raises(NotAtOnce):
        few.from_texts(batch, types("file_events", list(batch.columns)))


@pytest.mark.parametrize(
    "changed",
    [
        "cost_usd = 0.1 + 0.2",  # no millionth: each comes with the row it is of
        "cost_usd = 1.5e-9 * seq",
        "cost_usd = CASE seq WHEN 1 THEN 0.12345678 END",
        "parts = NULL",
        """parts = '[NaN, "\\u0000", 1e400, "é\\ud83d\\ude00"]'""",
        "content = char(0, 10, 34, 92) || 'é'",
        "tokens_input = 'many'",  # read row by row, or refused as all of them are
        "parts = x'5b5d'",
    ],
)
async def test_messages_whatever_they_hold(
    tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await ocs.open(tmp_path / "x.db") as svc:
        await said(svc, *map(str, range(9)))
        with closing(sqlite3.connect(tmp_path / "x.db")) as other:
            other.execute(f"UPDATE opencode_messages SET {changed} WHERE seq % 3 > 0")
            other.commit()

        async def read() -> pd.DataFrame | str:
            try:
                return await svc.messages("ses_1", parts=True)
            except ocs.PersistenceError as error:
                return str(error)

        found = await read()

        async def row_by_row(*_: object) -> None:
            raise NotAtOnce

        monkeypatch.setattr(SqlStore, "texts", row_by_row)
        expected = await read()
        if isinstance(found, str):
            assert found == expected
            assert f"{changed.partition(' ')[0]}: " in found
        else:
            pd.testing.assert_frame_equal(found, expected, check_exact=True)


async def test_what_is_read_together_is_of_one_moment(tmp_path: Path) -> None:
    async with await ocs.open(tmp_path / "x.db") as svc:
        await said(svc, "1")

        async def twice(store: Store) -> list[int]:
            counts = []
            for _ in range(2):
                counts.append(len(await store.select("messages", ["id"])))
                with closing(sqlite3.connect(tmp_path / "x.db")) as other:
                    other.execute("DELETE FROM opencode_messages")
                    other.commit()
            return counts

        assert await svc.store.reading(twice) == [1, 1]
        assert await svc.store.reading(twice) == [0, 0]


async def test_what_fails_among_other_reads_says_so_and_holds_nothing(tmp_path: Path) -> None:
    async with await ocs.open(tmp_path / "x.db") as svc:
        await said(svc, "1")

        async def broken(store: Store) -> None:
            await store.select("messages", ["id"])
            raise LookupError

        with pytest.raises(LookupError):
            await svc.store.reading(broken)
        with closing(sqlite3.connect(tmp_path / "x.db")) as other:
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert not busy, "nobody reads from the log"
            other.execute("DROP TABLE opencode_file_events")
        with pytest.raises(ocs.SchemaError, match="no such table"):
            await svc.file_events(file_path="a.py")
    assert os.listdir(tmp_path) == ["x.db"], "the last to close it leaves no log"
