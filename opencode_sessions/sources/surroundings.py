"""What lies around a session: opencode's snapshots, and what other sessions did meanwhile."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from ..changes import Message, Pair, Work, works
from ..errors import SourceError
from ..links import link_of
from ..loose import as_dict, as_number, as_text
from ..noted import TreeChange
from ..records import session_record
from .snapshots import SECONDS, Snapshots
from .source import Item, Problem, unforeseen

Json = dict[str, Any]

REMEMBERED = 64  # sessions whose work is kept
KEPT_BYTES = 16 * 2**20  # of JSON: what was read for a neighbour is not read again in its own turn
MOST_TOGETHER = 32  # a session that is open for weeks makes neighbours of all
LAST_WRITE_MS = 5000.0  # a session's last answer may end a little after its last update


class Loaded(NamedTuple):
    """What was read of one session: its messages, what is wrong with some, its bytes of JSON.

    `messages` is None where they cannot be read at all.
    """

    messages: list[Message] | None
    problems: list[Problem]
    size: int


class _Span(NamedTuple):
    id: str
    directory: str | None
    worktree: str | None
    start_ms: float
    end_ms: float


class Surroundings:
    """What a source's sessions have around them.

    Args:
        snapshots: those of its data folder, if it is known.
        sessions: the info of each session of the source and its worktree, wanted or not.
        load: reads a session by its id.
    """

    def __init__(
        self,
        snapshots: Snapshots | None,
        sessions: Iterable[tuple[Json, str | None]],
        load: Callable[[str], Loaded],
    ) -> None:
        self.snapshots = snapshots
        self._load = load
        self._loaded: dict[str, Loaded] = {}  # the one used last comes last
        self._kept = 0  # bytes of them
        self._spans: dict[str | None, list[_Span]] = defaultdict(list)
        for info, worktree in sessions:
            self._spans[_place(info, worktree)].append(_span(info, worktree))
        self._works = lru_cache(REMEMBERED)(
            lambda span: _works(span, self._read(span.id).messages or [])
        )

    def session(self, info: Json, worktree: str | None, shell: bool) -> Iterator[Item]:
        """One session, after what is wrong with it; what nobody foresaw in it costs no other.

        Raises:
            SourceError: all of the source is meant.
        """
        try:
            messages, problems, _size = self._read(info["id"])
            yield from problems
            if messages is not None:
                witness = Surrounding(self, info, worktree)
                late = self.snapshots.late if self.snapshots else 0
                record = session_record(
                    info, messages, worktree=worktree, shell=shell, witness=witness
                )
                if self.snapshots and self.snapshots.late > late:
                    reason = f"git did not answer in {SECONDS:.0f} s: they are asked again"
                    yield Problem(f"snapshots of {info['id']}", reason)
                yield record
        except SourceError:
            raise
        except Exception as error:
            yield unforeseen(info["id"], error)

    def _read(self, id: str) -> Loaded:
        """A session as it is in the source; of those read last some are kept."""
        found = self._loaded.pop(id, None)
        if found is None:
            found = self._load(id)
            self._kept += found.size
        self._loaded[id] = found
        while self._kept > KEPT_BYTES:
            self._kept -= self._loaded.pop(next(iter(self._loaded))).size
        return found

    def neighbours(self, info: Json, worktree: str | None) -> list[_Span]:
        """The other sessions of its worktree at work in the time of this one."""
        spans = self._spans[_place(info, worktree)]
        own = [span for span in spans if span.id == info["id"]]
        return [
            span
            for span in spans
            for mine in own
            if span.id != mine.id and span.start_ms <= mine.end_ms and span.end_ms >= mine.start_ms
        ]

    def work(self, span: _Span) -> tuple[Work, ...]:
        """What a neighbour did."""
        return self._works(span)


@dataclass
class Surrounding:
    """What lies around one session."""

    around: Surroundings
    info: Json
    worktree: str | None

    def trees(self, root: str, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[TreeChange]]:
        """What changed between trees of this worktree, as far as they are there."""
        if self.around.snapshots is None:
            return {}
        return self.around.snapshots.changes(as_text(self.info.get("projectID")), root, pairs)

    def others(self, start_ms: float, end_ms: float) -> Iterator[Work]:
        """What other sessions did in the same worktree in this time."""
        for span in self._neighbours:
            if span.start_ms <= end_ms and span.end_ms >= start_ms:
                for work in self.around.work(span):
                    if work.start_ms <= end_ms and work.end_ms >= start_ms:
                        yield work

    @cached_property
    def _neighbours(self) -> list[_Span]:
        return self.around.neighbours(self.info, self.worktree)


def neighbourhoods(sessions: Iterable[tuple[Json, str | None]]) -> list[list[str]]:
    """The ids of these sessions, those that were at work in one worktree at one time together."""
    placed = [(_span(*session), _place(*session)) for session in sessions]
    found: list[list[_Span]] = []
    last: dict[str | None, list[_Span]] = {}
    for span, place in sorted(placed, key=lambda one: one[0].start_ms):
        group = last.get(place, [])
        if len(group) in (0, MOST_TOGETHER) or max(one.end_ms for one in group) < span.start_ms:
            last[place] = group = []
            found.append(group)
        group.append(span)
    return [[span.id for span in group] for group in found]


def _span(info: Json, worktree: str | None) -> _Span:
    time = as_dict(info.get("time"))
    start = as_number(time.get("created")) or 0.0
    end = max(as_number(time.get("updated")) or start, start) + LAST_WRITE_MS
    return _Span(str(info["id"]), as_text(info.get("directory")), worktree, start, end)


def _works(span: _Span, messages: Iterable[Message]) -> tuple[Work, ...]:
    messages, directory = list(messages), span.directory
    if link := link_of(directory, span.worktree, messages):
        messages = [link.followed_by(message) for message in messages]
        directory = link.followed(directory)
    return tuple(works(messages, directory))


def _place(info: Json, worktree: str | None) -> str | None:
    """Where a session works: sessions without git share the worktree "/", not their files."""
    directory = as_text(info.get("directory"))
    return directory if worktree in (None, "/") else worktree
