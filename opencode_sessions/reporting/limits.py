"""How much of each text a report shows: a page that fits into a mail and opens at once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..shown import cut, number_of

BUDGET = 4_400_000  # bytes of all sessions together; mail servers and chats balk at more
DIFF_LETTERS = 5.5  # bytes of page for a letter of a change: its table, numbers and colours
TEXT_LETTERS = 1.15
# Bytes beside the texts: of the page and its scripts, of a message with its calls, of an event in
# the timeline that somebody can point at, of one in the picture for paper.
PAGE, MESSAGE, EVENT, MARK = 100_000, 500, 150, 170


class Limits(NamedTuple):
    """The most that is shown of a text, an input or output, and a change; and in all sessions of a
    page together of messages, of rows of files and of marks in the pictures for paper."""

    text: int
    output: int
    lines: int
    diff_lines: int
    messages: int = 4_000
    files: int = 1_200
    marks: int = 8_000
    is_live: bool = True
    """Whether a timeline can be zoomed and pointed at, beside its picture."""


BARE = Limits(text=120, output=0, lines=1, diff_lines=0, marks=2_000)
# From all one would look at, to a line each; then of fewer messages, and the pictures alone.
LEVELS = (
    Limits(text=12_000, output=8_000, lines=160, diff_lines=400),
    Limits(text=6_000, output=3_000, lines=60, diff_lines=160),
    Limits(text=3_000, output=1_200, lines=30, diff_lines=60),
    Limits(text=1_500, output=500, lines=12, diff_lines=24),
    Limits(text=500, output=120, lines=4, diff_lines=8, marks=4_000),
    BARE,
    BARE._replace(messages=1_500, files=600),
    BARE._replace(messages=500, files=200, marks=1_000),
    BARE._replace(messages=500, files=200, marks=1_000, is_live=False),
)


class Cut:
    """Cuts texts and sessions to a limit, and counts what it left out.

    `messages` and `events` are how many each session of the page has: of one session that many
    `messages`, `files` and `marks` are shown.
    """

    def __init__(self, limits: Limits, messages: Sequence[int], events: Sequence[int]) -> None:
        self.limits = limits
        self.messages = most_of_each(messages, limits.messages)
        self.files = most_of_each(events, limits.files)
        self.marks = most_of_each(events, limits.marks)
        self.places = self.letters = 0

    def text(self, text: str) -> tuple[str, str]:
        """The beginning of what somebody said, and a note of what is left out."""
        return self._cut(text, self.limits.text, 4 * self.limits.lines)

    def output(self, text: str) -> tuple[str, str]:
        """The beginning of an input or output, likewise."""
        return self._cut(text, self.limits.output, self.limits.lines)

    def leave_out(self, letters: int) -> None:
        """Counts a text that is left out whole, or in part elsewhere."""
        self.places += 1
        self.letters += letters

    def note(self) -> str:
        """What was left out of the page, in words; "" if nothing was."""
        if not self.places:
            return ""
        return (
            f"Long texts are cut: {self.letters:,} letters are left out in"
            f" {number_of(self.places, 'place')}, which say so. The session itself has them all."
        )

    def _cut(self, text: str, letters: int, lines: int) -> tuple[str, str]:
        shown, note = cut(text, letters, lines)
        if note:
            self.leave_out(len(text) - len(shown))
        return shown, note


def most_of_each(counts: Sequence[int], most: int) -> int:
    """Up to how many of each come to no more than `most` of all: what is small stays whole."""
    left = most
    for place, count in enumerate(sorted(counts)):
        each = left // (len(counts) - place)
        if count > each:
            return each
        left -= count
    return max(counts, default=0)


def level_for(
    texts: Iterable[int],
    outputs: Iterable[int],
    diffs: Iterable[int],
    messages: int,
    events: int,
) -> int:
    """The first level at which a page is likely to fit the budget: of texts of these many letters,
    and of these many messages and events."""
    texts, outputs, diffs = [*texts], [*outputs], [*diffs]
    for level, limits in enumerate(LEVELS):
        size = TEXT_LETTERS * sum(min(letters, limits.text) for letters in texts)
        size += TEXT_LETTERS * sum(min(letters, limits.output) for letters in outputs)
        size += DIFF_LETTERS * sum(min(letters, 45 * limits.diff_lines) for letters in diffs)
        size += MESSAGE * messages + EVENT * events
        size *= min(1, limits.messages / max(messages, 1))
        size += PAGE + MARK * min(events, limits.marks)
        if size <= BUDGET:
            return level
    return len(LEVELS) - 1
