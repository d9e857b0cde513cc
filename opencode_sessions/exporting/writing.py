"""Sessions into a folder of Parquet files: those that changed since this exporter wrote them.

What an exporter has written it notes in a file of its own in the folder. Without that note, or
where two run at once under one name, a session is written once more than needed and counts once.
"""

import getpass
import logging
import platform
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa

from ..analytics import Frames
from ..analytics.arrow import TEXT, TYPES, Numbers
from ..analytics.columns import COLUMNS, TIME
from ..errors import ExportError
from ..shown import visible
from ..store import TableName
from .folders import Folder
from .formats import from_parquet, to_parquet
from .layout import AS_OF, EXPORTED, EXPORTERS, SALT_KEY, SUFFIX, WRITTEN, encoded, partition
from .secret import own_secret
from .tables import frame_of, table_of

log = logging.getLogger("opencode_sessions")
ROWS = 100_000  # of messages, calls and events in a file, about
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True, repr=False)
class ExportReport:
    """What an export has written, and how much of it there was to write."""

    place: str
    format: str
    exported: str = ""
    unchanged: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    files: int = 0
    bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows of no session, by frame: they cannot be told from others."""

    @property
    def sessions(self) -> int:
        """How many sessions were written."""
        return self.rows["sessions"]

    def __repr__(self) -> str:
        rows = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.rows.items())
        lines = [
            f"ExportReport: {visible(self.place)} ({self.format})",
            f"  written     {rows}; {self.files:,} files, {self.bytes / 1e6:,.1f} MB",
        ]
        if self.unchanged:
            lines.append(f"  unchanged   {self.unchanged:,} sessions")
        for name, count in self.left_out.items():
            lines.append(f"  left out    {count:,} {name.replace('_', ' ')} of no session")
        return "\n".join(lines)


class State(NamedTuple):
    """A session as it was, or is to be, written."""

    key: str
    """A digest of opencode's id of it, or its row id: whose it is in any export."""
    digest: str
    """One of all of its rows as they were before they were shared, and of the names hidden."""
    as_of: datetime | None


class Exporter:
    """One export into a folder, of as many frames as there are."""

    def __init__(
        self, folder: Folder, name: str | None, place: str, *, full: bool, shared: bool
    ) -> None:
        self._folder = folder
        who = _checked(name) or "\0".join((platform.node(), getpass.getuser(), place))
        secret = own_secret() if shared else b""
        # The note lies beside what was shared: without the secret neither its name nor what is in
        # it can be had by guessing.
        hidden = blake2b(who.encode(errors="replace"), digest_size=8, key=secret).hexdigest()
        self._note = f"{EXPORTERS}/{hidden if shared or name is None else name}{SUFFIX}"
        self._salt, self._written = self._noted()
        keyed = partial(blake2b, who.encode(errors="replace"), key=secret, salt=self._salt)
        self._key = keyed(person=b"key").digest()
        self.marks = keyed(person=b"marks").digest() if shared else None
        """The key of the marks of what is shared: the same as long as the note is there."""
        self._full = full
        self._number = 0
        exported = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:8]}"
        self.report = ExportReport(folder.place, "parquet", exported)

    def changed(self, frames: Frames, marked: str) -> tuple[list[State], dict[TableName, Numbers]]:
        """The sessions among these that the folder does not have as they are here.

        Args:
            frames: whole sessions.
            marked: what else the export depends on: with another text, they are written again.

        Returns:
            What they are, and by frame whether each row is one of theirs.
        """
        ids = frames.sessions["session_id"].astype("str")
        if ids.duplicated().any():
            raise ExportError(f"The frame sessions has {ids[ids.duplicated()].iloc[0]!r} twice.")
        for name, frame in by_name(frames):
            if count := int((~frame["session_id"].isin(ids)).sum()):
                self.report.left_out[name] = self.report.left_out.get(name, 0) + count
        states = [self._after(state) for state in _states(frames, ids, marked, self._key)]
        is_new = [
            self._full or state.digest != getattr(self._written.get(state.key), "digest", None)
            for state in states
        ]
        self.report.unchanged += len(states) - sum(is_new)
        rows = {name: frame["session_id"].isin(ids[is_new]) for name, frame in by_name(frames)}
        states = [state for state, new in zip(states, is_new, strict=True) if new]
        return states, {name: rows_of.to_numpy() for name, rows_of in rows.items()}

    def write(self, frames: Frames, states: Sequence[State]) -> None:
        """Writes these sessions; `states` has theirs, in the order of `frames.sessions`."""
        tables = {name: table_of(name, frame) for name, frame in by_name(frames)}
        as_of = pa.array([state.as_of for state in states], TYPES[TIME])
        tables["sessions"] = tables["sessions"].append_column(AS_OF, as_of)
        ids = frames.sessions["session_id"]
        session_of = {name: of_session(ids, frame) for name, frame in by_name(frames)}
        rows = sum(np.bincount(at[at >= 0], minlength=len(ids)) for at in session_of.values())
        days, file_of = _chunks(frames.sessions["created_at"], np.asarray(rows))
        parts: dict[TableName, tuple[pa.Table, Numbers]] = {}
        for name, table in tables.items():
            file = file_of[session_of[name]]
            order = np.argsort(file, kind="stable")
            ends = np.searchsorted(file[order], np.arange(len(days) + 1))
            parts[name] = table.take(pa.array(order)), ends
        for number, day in enumerate(days):
            cut = {
                name: table.slice(ends[number], ends[number + 1] - ends[number])
                for name, (table, ends) in parts.items()
            }
            self._write_files(day, cut)
        self._written |= {state.key: state for state in states}

    def finish(self, empty: Frames) -> ExportReport:
        """Notes what was written; in a folder with nothing in it, that there was nothing."""
        if not self.report.files and not self._folder.files("frame=sessions"):
            tables = {name: table_of(name, frame.iloc[:0]) for name, frame in by_name(empty)}
            nothing = pa.array([], TYPES[TIME])
            tables["sessions"] = tables["sessions"].append_column(AS_OF, nothing)
            self._write_files(None, tables)
        columns = zip(*self._written.values(), strict=True) if self._written else ((), (), ())
        types = (TEXT, TEXT, TYPES[TIME])
        arrays = [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)]
        table = pa.table(arrays, list(State._fields))
        self._folder.write(self._note, to_parquet(table, {SALT_KEY: self._salt.hex().encode()}))
        return self.report

    def _write_files(self, day: str | None, tables: Mapping[TableName, pa.Table]) -> None:
        file = f"{self.report.exported}-{self._number:04}{SUFFIX}"
        self._number += 1
        for name in WRITTEN:
            table = tables[name]
            exported = pa.array([self.report.exported] * len(table), TEXT)
            data = to_parquet(table.append_column(EXPORTED, encoded(exported)))
            self._folder.write(f"{partition(name, day)}/{file}", data)
            self.report.rows[name] += len(table)
            self.report.files += 1
            self.report.bytes += data.size

    def _noted(self) -> tuple[bytes, dict[str, State]]:
        """The salt of the note, and what it has; of one from before there was a salt, nothing."""
        data = self._folder.read(self._note)
        new = secrets.token_bytes(blake2b.SALT_SIZE), dict[str, State]()
        if data is None:
            return new
        try:
            table = from_parquet(data, [])
            salt = (table.schema.metadata or {}).get(SALT_KEY)
            if salt is None:
                return new
            rows = table.select(list(State._fields)).to_pylist()
            written = {row["key"]: State(**row) for row in rows}
            return bytes.fromhex(salt.decode())[: blake2b.SALT_SIZE], written
        except (pa.ArrowException, KeyError, ValueError) as error:
            log.warning(
                "%s/%s is damaged, all is written again: %s", self._folder.place, self._note, error
            )
            return new

    def _after(self, state: State) -> State:
        """What is written later counts as later, though a message may be gone since."""
        before = self._written.get(state.key)
        times = [one.as_of for one in (state, before) if one is not None and one.as_of is not None]
        return state._replace(as_of=max(times, default=None))


def _checked(said: str | None) -> str | None:
    """An exporter's name.

    Raises:
        ExportError: it is no name of a file.
    """
    if said is not None and not NAME.fullmatch(said):
        raise ExportError(f"{said!r} is no name for an exporter: up to 64 of A-Z a-z 0-9 . _ -")
    return said


def by_name(frames: Frames) -> Iterator[tuple[TableName, pd.DataFrame]]:
    """The four frames with their names."""
    return ((name, getattr(frames, name)) for name in COLUMNS)


def _states(frames: Frames, ids: "pd.Series[str]", marked: str, secret: bytes) -> list[State]:
    """What each session is, told by all of its rows; without the key it tells nothing."""

    def digest(text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        return blake2b(data, digest_size=16, key=secret).hexdigest()

    totals = np.zeros(len(ids), dtype=np.uint64)
    for number, (name, frame) in enumerate(by_name(frames)):
        plain = frame_of(name, table_of(name, frame), parse=False)  # what is JSON as text
        rows = pd.util.hash_pandas_object(plain, index=False).to_numpy()
        at = of_session(ids, frame)
        np.add.at(totals, at[at >= 0], rows[at >= 0] * np.uint64(2 * number + 3))
    kept = frames.sessions
    keys = kept["opencode_session_id"].astype("str").fillna(ids)
    times = frames.messages.groupby("session_id", observed=True)["time"].max()
    of_messages = ids.map(times) if len(times) else pd.Series(pd.NaT, index=ids.index)
    latest = pd.concat([kept["created_at"], kept["updated_at"], of_messages], axis=1).max(axis=1)
    return [
        State(
            digest(key),
            digest(f"{total:016x} {marked}"),
            None if pd.isna(at) else at.to_pydatetime(),
        )
        for key, total, at in zip(keys, totals.tolist(), latest, strict=True)
    ]


def of_session(ids: "pd.Series[Any]", frame: pd.DataFrame) -> Numbers:
    """The place of each row's session among these; -1 where it is none of them."""
    return pd.Index(ids.astype("str")).get_indexer(pd.Index(frame["session_id"].astype("str")))


def _chunks(created_at: "pd.Series[Any]", rows: Numbers) -> tuple[list[str | None], Numbers]:
    """Which sessions go into a file together: of one day, and not too many rows.

    Gives each file's day, and each session's file.
    """
    days = [None if pd.isna(day) else str(day) for day in created_at.dt.strftime("%Y-%m-%d")]
    of_file: list[str | None] = []
    current: dict[str | None, int] = {}
    held: list[int] = []
    file_of = np.empty(len(days), dtype=np.int64)
    for place, day in enumerate(days):
        file = current.get(day)
        if file is None or held[file] + rows[place] > ROWS:
            file = current[day] = len(of_file)
            of_file.append(day)
            held.append(0)
        held[file] += int(rows[place])
        file_of[place] = file
    return of_file, file_of
