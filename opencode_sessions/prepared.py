"""What an import reads, as the rows it is to write: here, or in processes of their own.

Reading is work for one interpreter from end to end, and so is handing rows to a driver. In threads
of one process they take turns; many sessions are read by processes of their own while this one
writes. Two of them keep it busy.
"""

import heapq
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import BinaryIO, NamedTuple

from .ahead import seldom_collected
from .errors import SourceError
from .models import Row
from .records import EPOCH, SessionRecord
from .rows import SessionRows, session_rows
from .sources import Problem, Source, Untold, unforeseen
from .store.values import clean, packed
from .wanted import Wanted

MANY = 50  # sessions: a process of its own takes half a second to start
# Bytes sent at once: to be let in, a thread that sends or receives waits up to 5 ms each time.
CHUNK = 2**20
CHUNKS = 16  # of what each reads ahead
# The same modules as here, wherever they were found.
CHILD = (
    "import sys; sys.path[:] = filter(None, sys.path); import pickle; "
    "sys.path[:], folder = pickle.load(sys.stdin.buffer); "
    "from opencode_sessions import prepared; prepared.serve(folder)"
)
Child = subprocess.Popen[bytes]
Turn = tuple[datetime, str]
FIRST: Turn = datetime.min.replace(tzinfo=UTC), ""
LAST: Turn = datetime.max.replace(tzinfo=UTC), ""


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


Item = int | Problem | Prepared | Untold | Notes


@dataclass(frozen=True, slots=True)
class AllBut:
    """Every session but these, also one that nobody knows yet."""

    ids: frozenset[str]

    def __contains__(self, id: object) -> bool:
        return id not in self.ids


def _shares(source: Source, leave_out: frozenset[str]) -> list[Container[str]]:
    """What each reader leaves out, so that together they read what one would."""
    here: set[str] = set()
    there: set[str] = set()
    for neighbours in source.neighbourhoods():
        min(here, there, key=len).update(set(neighbours) - leave_out)
    return [leave_out | there, AllBut(frozenset(there))] if there else [leave_out]


def read(source: Source, wanted: Wanted, leave_out: Container[str]) -> Iterator[Item]:
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


def read_apart(source: Source, wanted: Wanted, leave_out: frozenset[str]) -> Iterator[Item]:
    """What `read` gives, read by processes of their own, which are gone when this ends.

    Each gives a number of sessions and may give an `Untold`: their sums are what `read` gives.
    Where none can be started all is read here.

    Raises:
        SourceError: as `read` does, or one of them was ended in the middle.
    """
    has_begun = False
    try:
        with ExitStack() as readers:
            started = {
                readers.enter_context(_reader()): share for share in _shares(source, leave_out)
            }
            for (child, folder), share in started.items():
                _ask(child, folder, (source, wanted, share))
            for item in _merged([_told(child) for child, _folder in started]):
                has_begun = True
                yield item
    except _Ended as error:
        if has_begun:
            raise SourceError(f"{source}: the process that read it ended ({error}).") from error
    else:
        return
    yield from read(source, wanted, leave_out)


class _Ended(Exception):
    """A process that reads is gone, or says what nobody understands."""


@contextmanager
def _reader() -> Iterator[tuple[Child, str]]:
    """A process that will read, and the folder of its temporary files: it may be killed."""
    if not sys.executable or hasattr(sys, "frozen"):  # where Python is embedded, or in one file
        raise _Ended("there is no interpreter to start")
    with tempfile.TemporaryDirectory(prefix="opencode-sessions-") as folder:
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=CHUNK,
                pipesize=CHUNK,
            )
        except OSError as error:  # Python was replaced by another while this one runs
            raise _Ended(str(error)) from error
        try:
            yield child, folder
        finally:
            child.kill()
            _let_go(child)
            child.wait()


def _ask(child: Child, folder: str, task: tuple[Source, Wanted, Container[str]]) -> None:
    """Tells a process what to read; all are asked before one is listened to."""
    assert child.stdin
    with suppress(OSError):  # it is gone, which shows when it should tell
        pickle.dump((sys.path, folder), child.stdin)
        pickle.dump(task, child.stdin)
        child.stdin.flush()  # but stays open: its end is ours


def _told(child: Child) -> Iterator[Item]:
    """What a process says."""
    assert child.stdout
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


def _let_go(child: Child) -> None:
    for pipe in (child.stdin, child.stdout):
        assert pipe
        with suppress(OSError):  # what it did not take is nobody's any more
            pipe.close()


def _merged(streams: list[Iterator[Item]]) -> Iterator[Item]:
    """The items of several as one would have given them; what all say of the source comes once."""
    problems: set[Problem] = set()
    notes: Notes | None = None
    for _turn, item in heapq.merge(*map(_timed, streams), key=itemgetter(0)):
        if isinstance(item, Notes):
            notes = item
        elif not isinstance(item, Problem):
            yield item
        elif item not in problems:
            problems.add(item)
            yield item
    if notes is not None:
        yield notes


def _timed(items: Iterator[Item]) -> Iterator[tuple[Turn, Item]]:
    """Each item in the turn of its session or the one before; what is known of all comes last."""
    turn = FIRST
    for item in items:
        if isinstance(item, Prepared):
            turn = max(turn, (item.session["created_at"] or EPOCH, item.id))
        yield LAST if isinstance(item, Notes | Untold) else turn, item


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
                sender.flush()
            pickle.dump(None, sender)
        except Exception as error:
            pickle.dump(error, sender)


def _end_with_the_other(folder: str) -> None:
    """Ends when the one who started this is gone, who would have removed its temporary files."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    gone = f"{folder}-gone"
    with suppress(OSError):
        os.rename(folder, gone)  # so that nothing is added to it meanwhile
        shutil.rmtree(gone, ignore_errors=True)
    os._exit(1)


class _Sender:
    """A pipe that is written to by a thread, so that reading goes on while the other end writes."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._held = bytearray()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(CHUNKS)
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "_Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.put(bytes(self._held))
        self._chunks.put(None)
        self._thread.join()

    def write(self, chunk: bytes) -> None:
        """Takes what pickle writes; waits while too much is on its way."""
        self._held += chunk
        while len(self._held) >= CHUNK:  # a long text comes as a whole
            self._chunks.put(bytes(self._held[:CHUNK]))
            del self._held[:CHUNK]

    def flush(self) -> None:
        """Sends what there is, if nothing else is on its way."""
        if self._held and self._chunks.empty():
            self._chunks.put(bytes(self._held))
            self._held.clear()

    def _send(self) -> None:
        with suppress(OSError):  # nobody reads any more: this ends at any moment
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
