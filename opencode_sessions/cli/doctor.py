"""What `opencode-sessions doctor` does: what is where, what cannot be read, what opencode says.

Every source is read as an import would read it, into memory and without the texts; nothing is kept.
"""

import asyncio
import os
import shlex
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Never

from tqdm.auto import tqdm

from ..analytics import Frames, compare_with_opencode, load
from ..errors import SourceError
from ..import_report import ORDER
from ..matching import take_over_ids
from ..models import Row
from ..reading import Reader
from ..records import SessionRecord
from ..rows import SessionRows, session_rows
from ..sources import (
    Database,
    JsonFiles,
    Problem,
    Source,
    SourceChanged,
    StorageTree,
    Untold,
    find,
    together,
)
from ..sources.formats import LABELS, UNTOLD
from ..store import IdsTaken, Put, Step, StoreFailed
from ..store.memory import MemoryStore
from ..store.values import clean as storable
from .tables import clean

SHOWN = 5  # of a list, in a terminal
PLACES_SHOWN = 3  # of those with one problem
TRIES = 3  # of a source that is written to
TEXTS = ("content", "parts", "info", "input", "diff")  # columns that fill memory, not asked for
CENT = 0.005  # costs that differ by less are the same


@dataclass(slots=True)
class Found:
    """One source and what is in it; `sessions` says how many, `only_here` how many nowhere else.

    `untold` has the columns that its format cannot tell.
    """

    place: str
    format: str
    bytes: int
    sessions: int = 0
    only_here: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass(slots=True)
class InTwo:
    """Sessions of one source that are in another as well, from where an import takes them."""

    place: str
    taken_from: str
    sessions: int


@dataclass(slots=True)
class Totals:
    """What opencode says of its sessions, and what their messages and tool calls say.

    Of the sessions that changed files, `reported_zero` have 0 files in opencode's summary,
    `reported_nothing` have none. Costs are those of the sessions that opencode has a sum for;
    `copied_cost_usd` is the part of the difference that forks copied.
    """

    sessions: int
    changed_files: int
    reported_zero: int
    reported_nothing: int
    with_both_costs: int
    cost_differs: int
    reported_cost_usd: float
    cost_usd: float
    copied_cost_usd: float


@dataclass(slots=True)
class Diagnosis:
    """All that was found, and what could not be found."""

    sources: list[Found]
    not_found: list[str]
    in_two_places: list[InTwo]
    totals: Totals


def diagnose(paths: Sequence[Path]) -> Diagnosis:
    """Looks at these places, or at what opencode keeps on this machine.

    Raises:
        SourceError: there is nothing of opencode's at all; the message names where we looked.
    """
    found: list[Source] = []
    missing: list[SourceError] = []
    places: Sequence[Path | None] = paths or [None]
    for path in places:
        try:
            found += find(path)
        except SourceError as error:
            missing.append(error)
    if not found:
        raise SourceError(" ".join(map(str, missing))) from missing[0]
    sources = together(found)
    with tqdm(desc="read", unit="session", disable=not sys.stderr.isatty(), leave=False) as bar:
        return asyncio.run(_diagnosed(sources, list(map(str, missing)), bar))


async def _diagnosed(sources: list[Source], missing: list[str], bar: "tqdm[Never]") -> Diagnosis:
    reader = Reader(MemoryStore())
    places: dict[str, list[Found]] = {}  # of each session; an import takes it from the first
    every = []
    for source in sources:
        found, ids = await _read(source, reader, places, bar)
        every.append(found)
        for id in ids:
            places.setdefault(id, []).append(found)
    doubles: Counter[tuple[str, str]] = Counter()
    for first, *others in places.values():
        first.only_here += not others
        doubles.update((other.place, first.place) for other in others)
    in_two = [InTwo(place, first, count) for (place, first), count in doubles.items()]
    return Diagnosis(every, missing, in_two, _totals(await load(reader, progress=not bar.disable)))


async def _read(
    source: Source, reader: Reader, known: Container[str], bar: "tqdm[Never]"
) -> tuple[Found, set[str]]:
    """What is in a source, and its sessions' ids; those not known yet go into the store."""
    for attempt in range(TRIES):
        found, ids = _described(source), set()
        times: list[datetime] = []
        versions: Counter[str] = Counter()
        try:
            for item in source.sessions():
                if isinstance(item, Problem):
                    found.problems.append(item)
                elif isinstance(item, SessionRecord):
                    ids.add(item.id)
                    versions[item.version or "unknown"] += 1
                    times += [time for time in (item.created_at, item.updated_at) if time]
                    if item.id not in known:
                        try:
                            await _store(reader, item, source.kind)
                        except StoreFailed as error:
                            reason = f"could not be stored: {error}"
                            found.problems.append(Problem(f"session {item.id}", reason))
                    bar.update()
                elif isinstance(item, Untold):
                    found.notes.append(item.note)
            found.notes += source.notes()
        except SourceChanged as error:
            found.error = str(error)
            if attempt < TRIES - 1:
                continue
        except SourceError as error:
            found.error = str(error)
        break
    found.sessions, found.versions = len(ids), dict(versions.most_common())
    if times:
        found.first, found.last = min(times).isoformat(), max(times).isoformat()
    return found, ids


async def _store(reader: Reader, record: SessionRecord, source: str) -> None:
    rows = session_rows(record, source=source, origin=None)
    try:
        await reader.store.apply(_steps(rows))
    except IdsTaken as error:  # a session copied by hand
        take_over_ids(rows, {name: [] for name in ORDER}, error.ids)
        await reader.store.apply(_steps(rows))


def _steps(rows: SessionRows) -> list[Step]:
    return [Put(name, [_lean(row) for row in rows[name]]) for name in ORDER]


def _lean(row: Row) -> Row:
    said = {column: None if column in TEXTS else value for column, value in row.items()}
    return storable(said)[0]


def _described(source: Source) -> Found:
    match source:
        case Database(path=path):
            files = [path, path.with_name(f"{path.name}-wal")]
            return Found(str(path), "database", _bytes(files))
        case StorageTree(path=path):
            untold = list(UNTOLD["storage"])
            return Found(str(path), "JSON tree", _bytes(_files(path)), untold=untold)
        case JsonFiles(format=format, files=files, given=given):
            place, size = str(files[0]), _bytes(files)
            if given is not None:
                place, size = "standard input", len(given)
            elif len(files) > 1:
                folders = ", ".join(sorted({str(file.parent) for file in files}))
                place = f"{len(files)} files in {folders}"
            return Found(place, LABELS[format], size, untold=list(UNTOLD[format]))
    raise AssertionError(source)


def _files(data: Path) -> Iterator[Path]:
    """The files of the JSON trees in a data folder."""
    for tree in ("storage", "project"):
        for folder, _folders, names in os.walk(data / tree):
            yield from (Path(folder, name) for name in names)


def _bytes(files: Iterable[Path]) -> int:
    total = 0
    for file in files:
        with suppress(OSError):  # gone meanwhile, or never there
            total += file.lstat().st_size
    return total


def _totals(frames: Frames) -> Totals:
    compared, sessions = compare_with_opencode(frames), frames.sessions
    reported = compared.loc[compared["files"] > 0, "reported_files"]
    costs = sessions.set_index("session_id")[["cost_usd", "reported_cost_usd"]]
    both = costs.dropna()
    messages = frames.messages[frames.messages["session_id"].isin(both.index)]
    differs = (both["cost_usd"] - both["reported_cost_usd"]).abs() >= CENT
    return Totals(
        sessions=len(sessions),
        changed_files=len(reported),
        reported_zero=int((reported == 0).sum()),
        reported_nothing=int(reported.isna().sum()),
        with_both_costs=len(both),
        cost_differs=int(differs.sum()),
        reported_cost_usd=float(both["reported_cost_usd"].sum()),
        cost_usd=float(both["cost_usd"].sum()),
        copied_cost_usd=float(messages.loc[messages["is_fork_copy"], "cost_usd"].sum()),
    )


def print_diagnosis(diagnosis: Diagnosis, paths: Sequence[Path]) -> None:
    """Print it for people; long lists are cut."""
    lines = [line for found in diagnosis.sources for line in (*_source_lines(diagnosis, found), "")]
    if diagnosis.not_found:
        lines += ["Not found", *(f"  {reason}" for reason in diagnosis.not_found), ""]
    if diagnosis.in_two_places:
        lines += ["In two places, and imported once"]
        lines += [
            f"  {_n(two.sessions, 'session')} of {two.place}: taken from {two.taken_from}"
            for two in diagnosis.in_two_places
        ]
        lines += [""]
    if diagnosis.totals.sessions:
        lines += ["opencode's own totals", *_total_lines(diagnosis.totals), ""]
        if len(paths) <= SHOWN and not diagnosis.not_found:
            named = "".join(f" {shlex.quote(str(path))}" for path in paths)
            lines += [f"Next: opencode-sessions import{named}"]
    print("\n".join(map(clean, lines)).rstrip("\n"))


def _source_lines(diagnosis: Diagnosis, found: Found) -> Iterator[str]:
    yield found.place
    about = [found.format, _size(found.bytes)]
    if found.error is None or found.sessions:
        about.append(_n(found.sessions, "session"))
    if len(diagnosis.sources) > 1 and found.only_here and found.format != "database":
        # Newer versions of opencode do not take them over: here they are easily lost.
        is_all = found.only_here == found.sessions
        about[-1] += f" ({'' if is_all else f'{found.only_here:,} '}nowhere else)"
    if found.first and found.last:
        days = dict.fromkeys((found.first[:10], found.last[:10]))
        about.append(" to ".join(days))
    yield f"  {', '.join(about)}"
    if found.versions:
        versions = [f"{version} ({count})" for version, count in found.versions.items()]
        yield f"  opencode {_cut(versions, SHOWN)}"
    if found.error:
        yield f"  could not be read: {found.error}"
    if found.problems:
        yield f"  left out: {len(found.problems):,}"
        by_reason: dict[str, list[str]] = {}
        for problem in found.problems:
            by_reason.setdefault(problem.reason, []).append(problem.place)
        reasons = sorted(by_reason.items(), key=lambda item: -len(item[1]))
        for reason, places in reasons[:SHOWN]:
            yield f"    {len(places):,} because {reason}: {_cut(places, PLACES_SHOWN)}"
        if len(reasons) > SHOWN:
            yield f"    and {len(reasons) - SHOWN:,} more reasons; --json has all"
    if found.untold:
        yield f"  cannot tell: {_cut(found.untold, SHOWN)}"
    for note in found.notes:
        yield f"  note: {note}"


def _total_lines(totals: Totals) -> Iterator[str]:
    changed = _n(totals.changed_files, "session")
    wrong = [f"{totals.reported_zero:,} as 0 files"] if totals.reported_zero else []
    wrong += [f"{totals.reported_nothing:,} not at all"] if totals.reported_nothing else []
    if totals.changed_files:
        said = " and ".join(wrong) or "all with files"
        yield f"  files  {changed} changed some; opencode's summaries show {said}"
    else:
        yield "  files  no session changed one"
    if totals.with_both_costs:
        same = _n(totals.with_both_costs, "session")
        differs = f"other in {totals.cost_differs:,}" if totals.cost_differs else "the same in each"
        yield (
            f"  cost   ${totals.reported_cost_usd:,.2f} by opencode, ${totals.cost_usd:,.2f} by "
            f"their own messages, over {same}: {differs}"
        )
        if totals.copied_cost_usd >= CENT:
            yield f"         opencode counts ${totals.copied_cost_usd:,.2f} again in forks"
    else:
        yield "  cost   opencode keeps no sum for any of these sessions"


def _cut(items: Sequence[str], shown: int) -> str:
    more = len(items) - shown
    return ", ".join(items[:shown]) + (f", and {more:,} more" if more > 0 else "")


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
