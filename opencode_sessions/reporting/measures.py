"""The measures of each session that a report shows: as words, with what each was counted of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from ..analytics import (
    Frames,
    blind_edits,
    loops,
    redundant_reads,
    retries,
    session_summary,
    verification,
)
from ..showing.source import Row, is_known


class Measure(NamedTuple):
    """A number, what it is, and how it is counted."""

    number: str
    name: str
    about: str


class Measures:
    """The measures of all sessions of these frames, worked out at once."""

    def __init__(self, frames: Frames) -> None:
        self._summaries = _by_session(session_summary(frames))
        self._verified = _by_session(verification(frames))
        self._blind = _flags(blind_edits(frames), "is_blind")
        self._redundant = _flags(redundant_reads(frames), "is_redundant")
        self._retries = _sums(retries(frames), "failed_retries")
        self._loops = loops(frames)["session_id"].astype("str").value_counts().to_dict()

    def rename(self, new: Mapping[str, str]) -> None:
        """Goes over to other ids of the same sessions, as they have after redaction."""
        for name, held in vars(self).items():
            setattr(self, name, {new[id]: value for id, value in held.items() if id in new})

    def summary(self, session: str) -> Row:
        """What the session did, as `session_summary` says."""
        return self._summaries[session]

    def of(self, session: str) -> list[Measure]:
        """What there is to say of a session; a measure without a denominator is left out."""
        row = self._summaries[session]
        found = [
            _counted(row["turns"], "turn", "turns", "each a prompt"),
            _counted(row["calls"], "tool call", "tool calls", f"{_count(row['failed'])} failed"),
            _counted(
                row["files_changed"],
                "file changed",
                "files changed",
                f"{_count(row['files_read'])} read",
            ),
        ]
        if is_known(row["additions"]) and is_known(row["deletions"]):
            lines = f"+{row['additions']:,} \N{MINUS SIGN}{row['deletions']:,}"
            unknown = row["lines_unknown"]
            more = f"{unknown:,} more change{'s' if unknown > 1 else ''} unknown"
            about = more if unknown else "added, removed"
            found.append(Measure(lines, "lines", about))
        found += [*_time(row), *_money(row)]
        for flags, name, about in (
            (self._blind, "blind edits", "changes to what was not read before"),
            (self._redundant, "needless reads", "of what the context still had"),
        ):
            if session in flags:
                count, total = flags[session]
                found.append(Measure(f"{count:,} of {total:,}", name, about))
        for counts, one, many, about in (
            (self._retries, "failed retry", "failed retries", "changes tried again in vain"),
            (self._loops, "loop", "loops", "the same call again and again"),
        ):
            if count := counts.get(session, 0):
                found.append(_counted(count, one, many, about))
        if (checked := self._verified.get(session)) is not None:
            found += _checks(checked)
        return found


def _by_session(table: pd.DataFrame) -> dict[str, Row]:
    return {str(row["session_id"]): row for row in table.to_dict("records")}


def _flags(table: pd.DataFrame, flag: str) -> dict[str, tuple[int, int]]:
    said = table.dropna(subset=flag)
    groups = said[flag].astype("int64").groupby(said["session_id"].astype("str"))
    counts = groups.agg(["sum", "size"])
    return {str(id): (int(count), int(total)) for id, count, total in counts.itertuples()}


def _sums(table: pd.DataFrame, column: str) -> dict[str, int]:
    sums = table[column].astype("int64").groupby(table["session_id"].astype("str")).sum()
    return {str(id): int(count) for id, count in sums.items()}


def _checks(row: Row) -> list[Measure]:
    if not row["changes"]:
        return []
    failed = f"{row['failed_checks']:,} failed" if row["checks"] else "tests, builds, linters"
    found = [_counted(row["checks"], "check", "checks", failed)]
    if row["unverified_changes"]:
        found.append(
            _counted(
                row["unverified_changes"], "change at the end", "changes at the end", "not checked"
            )
        )
    return found


def _time(row: Row) -> list[Measure]:
    if not is_known(row["duration_s"]):
        return []
    return [Measure(lasting(row["active_s"]), "at work", f"in {lasting(row['duration_s'])}")]


def _money(row: Row) -> list[Measure]:
    found = []
    own, whole = row["own_cost_usd"], row["inclusive_cost_usd"]
    if is_known(own):
        more = is_known(whole) and whole > own
        about = f"${whole:,.2f} with subagents" if more else "US dollars"
        found.append(Measure(f"${own:,.2f}", "cost", about))
    tokens = [row[f"own_tokens_{name}"] for name in ("input", "cache_read", "cache_write")]
    seen = sum(int(count) for count in tokens if is_known(count))
    written = [row[f"own_tokens_{name}"] for name in ("output", "reasoning")]
    made = sum(int(count) for count in written if is_known(count))
    if seen or made:
        found.append(Measure(_large(seen + made), "tokens", f"{_large(made)} of them written"))
    return found


def lasting(seconds: Any) -> str:
    """A span of time, in its two largest units."""
    if not is_known(seconds):
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} days"


def _counted(count: Any, one: str, many: str, about: str) -> Measure:
    return Measure(_count(count), one if count == 1 else many, about)


def _count(number: Any) -> str:
    return f"{number:,}" if is_known(number) else "0"


def _large(count: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= 10 * size:
            return f"{count / size:,.0f} {unit}"
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,}"
