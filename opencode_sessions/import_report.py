"""What an import says of itself: how many rows of each kind, what it left out, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .shown import escaped, visible
from .sources import Problem
from .store import TableName

ORDER: tuple[TableName, ...] = ("sessions", "messages", "tool_calls", "file_events")
PROBLEMS_SHOWN = 5
# What a problem's place begins with says what was skipped; else it was a part.
SKIPPED: dict[str, TableName | None] = {
    "message": "messages",
    "session_message": "messages",
    "snapshots": None,  # less is known, but nothing is left out
    **dict.fromkeys(("session", "file", "folder", "source", "standard"), "sessions"),
}


@dataclass(slots=True)
class Count:
    """How many rows of a kind an import met."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.new + self.changed + self.unchanged + self.skipped


@dataclass(slots=True, repr=False)
class ImportReport:
    """What an import read and stored, and what it had to leave out and why."""

    sources: list[str] = field(default_factory=list)
    sessions: Count = field(default_factory=Count)
    messages: Count = field(default_factory=Count)
    tool_calls: Count = field(default_factory=Count)
    file_events: Count = field(default_factory=Count)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scrubbed: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        read = ", ".join(map(visible, self.sources)) or "nothing read"
        lines = [f"ImportReport: {read} ({self.seconds:.1f} s)"]
        lines.append(f"  {'':<12}{'new':>9}{'changed':>9}{'unchanged':>11}{'skipped':>9}")
        for name, count in self._counts():
            numbers = f"{count.new:>9,}{count.changed:>9,}{count.unchanged:>11,}{count.skipped:>9,}"
            lines.append(f"  {name:<12}{numbers}")
        return "\n".join(lines + [f"  {line}" for line in self._remarks()])

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th>{name}</th>" for name in ("", "new", "changed", "unchanged", "skipped")
        )
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th>"
            + "".join(f"<td>{n:,}</td>" for n in (c.new, c.changed, c.unchanged, c.skipped))
            + "</tr>"
            for name, c in self._counts()
        )
        title = escaped(f"Imported {', '.join(self.sources) or 'nothing'} in {self.seconds:.1f} s")
        remarks = "".join(f"<li>{escaped(line)}</li>" for line in self._remarks())
        listed = f"<ul>{remarks}</ul>" if remarks else ""
        table = f"<table><thead><tr>{head}</tr></thead>{rows}</table>"
        return f"<div style='overflow-wrap:anywhere'><p>{title}</p>{table}{listed}</div>"

    def skip(self, problem: Problem) -> None:
        """Notes something that could not be read or stored."""
        self.problems.append(problem)
        if name := SKIPPED.get(problem.place.split()[0], "tool_calls"):
            count: Count = getattr(self, name)
            count.skipped += 1

    def go_on_from(self, failed: "ImportReport") -> None:
        """Counts what a try that failed had stored already: this one found it unchanged."""
        for name in ORDER:
            count, before = getattr(self, name), getattr(failed, name)
            count.new += before.new
            count.changed += before.changed
            count.unchanged = max(count.unchanged - before.new - before.changed, 0)

    def add(self, part: "ImportReport") -> None:
        """Adds what another import did."""
        for name in ORDER:
            total, one = getattr(self, name), getattr(part, name)
            for kind in Count.__slots__:
                setattr(total, kind, getattr(total, kind) + getattr(one, kind))
        self.sources += part.sources
        self.problems += part.problems
        self.notes += part.notes
        self.scrubbed += part.scrubbed

    def _counts(self) -> list[tuple[str, Count]]:
        return [(name.replace("_", " "), getattr(self, name)) for name in ORDER]

    def _remarks(self) -> Iterator[str]:
        for problem in self.problems[:PROBLEMS_SHOWN]:
            yield visible(f"skipped {problem.place}: {problem.reason}")
        if (more := len(self.problems) - PROBLEMS_SHOWN) > 0:
            yield f"and {more} more in .problems"
        if self.scrubbed:
            yield f"{self.scrubbed} values no database can hold were replaced"
        yield from map(visible, self.notes)
