"""What an import reads, as the rows it is to write: here, or in a process of its own.

Reading is work for one interpreter from end to end, and so is handing rows to a driver. In threads
of one process they take turns; many sessions are read by a second process while this one writes.
"""

import contextlib
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from typing import BinaryIO, NamedTuple

from .ahead import seldom_collected
from .errors import SourceError
from .models import Row
from .records import SessionRecord
from .rows import SessionRows, session_rows
from .sources import Problem, Source, unforeseen
from .store.values import clean, packed
from .wanted import Wanted

MANY = 50  # sessions: a process of its own takes half a second to start
CHUNK = 64 * 2**10  # bytes, of what is sent at once
CHUNKS = 256  # of what is read ahead
# The same modules as here, wherever they were found.
CHILD = (
    "import sys; sys.path[:] = filter(None, sys.path); import pickle; "
    "sys.path[:], folder = pickle.load(sys.stdin.buffer); "
    "from opencode_sessions import prepared; prepared.serve(folder)"
)


class Prepared(NamedTuple):
    """A session as it is to be stored, and how many of its values had to be replaced."""

    id: str
    rows: SessionRows
    scrubbed: int

    @property
    def session(self) -> Row:
        """Its own row."""
        return self.rows["sessions"][0]

    @property
    def size(self) -> int:
        """How many rows it has."""
        return sum(map(len, self.rows.values()))


class Notes(list[str]):
    """What else a source says of itself when all is read."""


Item = int | Problem | Prepared | Notes


def read(source: Source, wanted: Wanted, leave_out: Collection[str]) -> Iterator[Item]:
    """What a source gives: the number of sessions, each of them and each problem, then its notes.

    Raises:
        SourceError: nothing of it can be read, or it changed meanwhile.
    """
    for item in source.sessions(
        since=wanted.since, project=wanted.project, shell=wanted.shell, leave_out=leave_out
    ):
        if not isinstance(item, SessionRecord):
            yield item
            continue
        try:
            yield _prepared(item, source.kind, wanted.origin)
        except Exception as error:  # one session is no reason to lose the others
            yield unforeseen(item.id, error)
    yield Notes(source.notes())


def read_apart(source: Source, wanted: Wanted, leave_out: Collection[str]) -> Iterator[Item]:
    """What `read` gives, read by a process of its own, which is gone when this ends.

    Where no such process can be started it is read here.

    Raises:
        SourceError: as `read` does, or that process was ended in the middle.
    """
    has_begun = False
    try:
        with tempfile.TemporaryDirectory(prefix="opencode-sessions-") as folder:
            for item in _told(source, wanted, leave_out, folder):
                has_begun = True
                yield item
    except _Ended as error:
        if has_begun:
            raise SourceError(f"{source}: the process that read it ended ({error}).") from error
    else:
        return
    yield from read(source, wanted, leave_out)


class _Ended(Exception):
    """The process that reads is gone, or says what nobody understands."""


def _told(
    source: Source, wanted: Wanted, leave_out: Collection[str], folder: str
) -> Iterator[Item]:
    """What a process says that keeps its temporary files in this folder: it may be killed."""
    if not sys.executable or hasattr(sys, "frozen"):  # where Python is embedded, or in one file
        raise _Ended("there is no interpreter to start")
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError as error:  # Python was replaced by another while this one runs
        raise _Ended(str(error)) from error
    assert child.stdin and child.stdout
    try:
        with contextlib.suppress(OSError):  # it is gone: told below
            pickle.dump((sys.path, folder), child.stdin)
            pickle.dump((source, wanted, set(leave_out)), child.stdin)
            child.stdin.flush()  # but stays open: its end is ours
        while True:
            try:
                item = pickle.load(child.stdout)
            except Exception as error:
                _let_go(child)  # it may be waiting for us to read on
                raise _Ended(f"exit code {child.wait()}") from error
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        child.kill()
        _let_go(child)
        child.wait()


def _let_go(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        assert pipe
        with contextlib.suppress(OSError):  # what it did not take is nobody's any more
            pipe.close()


def serve(folder: str) -> None:
    """The other end of `read_apart`, with a folder for its temporary files."""
    tempfile.tempdir = folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the one who started this that stops it
    source, wanted, leave_out = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_other, args=(folder,), daemon=True).start()
    output, sys.stdout = sys.stdout.buffer, sys.stderr  # what is printed is none of the items
    with seldom_collected(), _Sender(output) as sender:
        try:
            for item in read(source, wanted, leave_out):
                pickle.dump(item, sender, pickle.HIGHEST_PROTOCOL)
            pickle.dump(None, sender)
        except Exception as error:
            pickle.dump(error, sender)


def _end_with_the_other(folder: str) -> None:
    """Ends when the one who started this is gone, who would have removed its temporary files."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    gone = f"{folder}-gone"
    with contextlib.suppress(OSError):
        os.rename(folder, gone)  # so that nothing is added to it meanwhile
        shutil.rmtree(gone, ignore_errors=True)
    os._exit(1)


class _Sender:
    """A pipe that is written to by a thread, so that reading goes on while the other end writes."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._chunks: queue.Queue[memoryview | None] = queue.Queue(CHUNKS)
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "_Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.put(None)
        self._thread.join()

    def write(self, chunk: bytes) -> None:
        """Takes what pickle writes; waits while too much is on its way."""
        for start in range(0, len(chunk), CHUNK):  # a long text comes as a whole
            self._chunks.put(memoryview(chunk)[start : start + CHUNK])

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # nobody reads any more: this ends at any moment
            while (chunk := self._chunks.get()) is not None:
                self._pipe.write(chunk)
                self._pipe.flush()


def _prepared(record: SessionRecord, source: str, origin: str | None) -> Prepared:
    rows, replaced = session_rows(record, source=source, origin=origin), 0
    for name, listed in rows.items():
        make = clean if name == "sessions" else packed
        cleaned = [make(row) for row in listed]
        rows[name] = [row for row, _count in cleaned]
        replaced += sum(count for _row, count in cleaned)
    return Prepared(record.id, rows, replaced)
