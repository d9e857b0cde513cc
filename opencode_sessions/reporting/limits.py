"""How much of each text a report shows: a page that fits into a mail and opens at once."""

from collections.abc import Iterable
from typing import NamedTuple

from ..shown import cut, number_of

BUDGET = 4_400_000  # bytes of all sessions together; mail servers and chats balk at more
DIFF_LETTERS = 5.5  # bytes of page for a letter of a change: its table, numbers and colours
TEXT_LETTERS = 1.15


class Limits(NamedTuple):
    """The most that is shown of a text, an input or output, and a change."""

    text: int
    output: int
    lines: int
    diff_lines: int


# From all one would look at, to a line each.
LEVELS = (
    Limits(text=12_000, output=8_000, lines=160, diff_lines=400),
    Limits(text=6_000, output=3_000, lines=60, diff_lines=160),
    Limits(text=3_000, output=1_200, lines=30, diff_lines=60),
    Limits(text=1_500, output=500, lines=12, diff_lines=24),
    Limits(text=500, output=120, lines=4, diff_lines=8),
    Limits(text=120, output=0, lines=1, diff_lines=0),
)


class Cut:
    """Cuts texts to a limit, and counts what it left out."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
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


def level_for(
    texts: Iterable[int], outputs: Iterable[int], diffs: Iterable[int], fixed: int
) -> int:
    """The first level at which texts of these many letters are likely to fit the budget."""
    texts, outputs, diffs = [*texts], [*outputs], [*diffs]
    for level, limits in enumerate(LEVELS):
        size = fixed + TEXT_LETTERS * sum(min(letters, limits.text) for letters in texts)
        size += TEXT_LETTERS * sum(min(letters, limits.output) for letters in outputs)
        size += DIFF_LETTERS * sum(min(letters, 45 * limits.diff_lines) for letters in diffs)
        if size <= BUDGET:
            return level
    return len(LEVELS) - 1
